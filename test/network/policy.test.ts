import { describe, expect, it } from "vitest";
import { contains, embeddedV4, formatAddress, parseAddress, parseCidr } from "../../src/network/address.ts";
import { NameTable } from "../../src/network/policy/names.ts";
import { Policy } from "../../src/network/policy/policy.ts";
import type { EgressOptions } from "../../src/network/policy/policy.ts";
import { parseRule } from "../../src/network/policy/rules.ts";
import { describeRefusal, Refusals } from "../../src/network/policy/refusals.ts";
import { address } from "./frames.ts";

describe("addresses", () => {
  it.each([
    ["192.0.2.1", "192.0.2.1"],
    ["255.255.255.255", "255.255.255.255"],
    ["::", "::"],
    ["::1", "::1"],
    ["FE80::1", "fe80::1"],
    ["1:0:0:2:0:0:0:3", "1:0:0:2::3"],
    ["1:0:2:3:4:5:6:7", "1:0:2:3:4:5:6:7"],
    ["1::", "1::"],
    ["::ffff:192.0.2.1", "::ffff:c000:201"],
    ["2001:db8::192.0.2.1", "2001:db8::c000:201"],
  ])("%s is written %s", (text, written) => {
    expect(formatAddress(address(text))).toBe(written);
  });

  it.each([
    "",
    "1.2.3",
    "1.2.3.4.5",
    "256.0.0.1",
    "fe80::1%eth0",
    "::1::",
    "example.com",
    "0x7f.1",
    "1.2.3.4 ",
  ])("%j is none", (text) => {
    expect(parseAddress(text)).toBeUndefined();
  });

  it.each([
    ["10.0.0.0/8", "10.255.0.1", true],
    ["10.0.0.0/8", "11.0.0.0", false],
    ["0.0.0.0/0", "255.1.2.3", true],
    ["0.0.0.0/0", "::1", false],
    ["192.0.2.128/25", "192.0.2.127", false],
    ["fd00::/7", "fc00::1", true],
    ["2001:db8::/33", "2001:db8:8000::", false],
    ["::/0", "2001:db8::1", true],
    ["192.0.2.1", "192.0.2.1", true],
  ])("%s has %s: %s", (network, one, has) => {
    const parsed = parseCidr(network);
    expect(parsed && contains(parsed, address(one))).toBe(has);
  });

  it.each(["10.0.0.0/33", "fd00::/129", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/8/8", "/8", "x/8"])(
    "%j is no network",
    (text) => {
      expect(parseCidr(text)).toBeUndefined();
    },
  );

  it("finds the IPv4 address in each embedding", () => {
    for (const text of ["::ffff:1.2.3.4", "64:ff9b::102:304", "2002:102:304::1", "2001:0:9:9::fefd:fcfb"])
      expect(embeddedV4(address(text)).map(formatAddress)).toContain("1.2.3.4");
    expect(embeddedV4(address("2001:db8::1"))).toEqual([]);
  });
});

describe("rules", () => {
  it.each([
    ["*", { kind: "any" }, undefined, undefined],
    ["*:53/udp", { kind: "any" }, [[53, 53]], "udp"],
    ["10.0.0.0/8", { kind: "network" }, undefined, undefined],
    [
      "10.0.0.0/8:80-90,443/TCP",
      { kind: "network" },
      [
        [80, 90],
        [443, 443],
      ],
      "tcp",
    ],
    ["fd00::/8", { kind: "network" }, undefined, undefined],
    ["[fd00::/8]:443", { kind: "network" }, [[443, 443]], undefined],
    ["[fd00::1]/64:443", { kind: "network" }, [[443, 443]], undefined],
    ["::1/icmp", { kind: "network" }, undefined, "icmp"],
    ["Example.COM.", { kind: "name", name: "example.com", subdomains: false }, undefined, undefined],
    ["*.example.com:443", { kind: "name", name: "example.com", subdomains: true }, [[443, 443]], undefined],
    ["localhost/tcp", { kind: "name", name: "localhost", subdomains: false }, undefined, "tcp"],
  ])("%s", (text, target, ports, transport) => {
    const rule = parseRule(text);
    expect(rule).toMatchObject({ text, target });
    expect(rule.ports).toEqual(ports);
    expect(rule.transport).toBe(transport);
  });

  it.each([
    "",
    ":80",
    "10.0.0.0/33",
    "10.0.0.256",
    "1.2.3",
    "0x7f000001",
    "127.1:80",
    "a..b",
    "-a.test",
    "a_.test-",
    "*.*.test",
    "*a.test",
    "exa mple.com",
    "example.com:0",
    "example.com:65536",
    "example.com:90-80",
    "example.com:80,",
    "example.com:http",
    "10.0.0.0/8/sctp",
    "*:80/icmp",
    "[fd00::1:443",
    `${"a".repeat(64)}.test`,
    "a.".repeat(130),
    "x".repeat(500),
    "a\nb",
    "münchen.de",
  ])("%j is none", (text) => {
    expect(() => parseRule(text)).toThrow(expect.objectContaining({ code: "invalid-rule" }));
  });
});

const HOST = "192.0.2.2";

function policyOf(egress: EgressOptions, names: readonly (readonly [string, string])[] = []): Policy {
  const policy = new Policy({
    egress,
    resolvers: ["192.0.2.53", "169.254.20.10", "127.0.0.1", "::1", "0.0.0.0", HOST].map(address),
    isHost: (one) => one === address(HOST),
    now: () => 0,
  });
  for (const [name, one] of names) policy.learn({ name, address: address(one), ttlSeconds: 60 });
  return policy;
}

const TCP = 6;
const UDP = 17;
const ICMP = 1;

describe("a policy", () => {
  const named = [["www.example.com", "198.51.100.1"]] as const;
  it.each<[string, EgressOptions, number, string, number, boolean]>([
    ["nothing said", {}, TCP, "198.51.100.1", 80, true],
    ["nothing allowed", { policy: "deny" }, TCP, "198.51.100.1", 80, false],
    ["nothing allowed, not even names", { policy: "deny" }, UDP, "192.0.2.53", 53, false],
    ["something allowed is all else denied", { allow: ["10.0.0.0/8"] }, TCP, "198.51.100.1", 80, false],
    ["a network", { allow: ["198.51.100.0/24"] }, TCP, "198.51.100.1", 80, true],
    ["a network's port", { allow: ["198.51.100.0/24:443"] }, TCP, "198.51.100.1", 80, false],
    ["a range of ports", { allow: ["198.51.100.0/24:79-81"] }, TCP, "198.51.100.1", 80, true],
    ["a protocol", { allow: ["198.51.100.0/24/udp"] }, TCP, "198.51.100.1", 80, false],
    ["ports, and an echo", { allow: ["198.51.100.0/24:80"] }, ICMP, "198.51.100.1", 0, false],
    ["echo", { allow: ["*/icmp"] }, ICMP, "198.51.100.1", 0, true],
    ["denied beats allowed", { allow: ["*"], deny: ["198.51.100.1"] }, TCP, "198.51.100.1", 80, false],
    ["denied with the rest allowed", { deny: ["198.51.100.1:80"] }, TCP, "198.51.100.1", 81, true],
    ["denied in IPv6's words", { deny: ["198.51.100.1"] }, TCP, "64:ff9b::198.51.100.1", 80, false],
    ["allowed in IPv6's words is not", { allow: ["198.51.100.1"] }, TCP, "64:ff9b::198.51.100.1", 80, false],
    ["a name", { allow: ["www.example.com"] }, TCP, "198.51.100.1", 80, true],
    ["a domain", { allow: ["*.example.com"] }, TCP, "198.51.100.1", 80, true],
    ["a domain is not its subdomains", { allow: ["example.com"] }, TCP, "198.51.100.1", 80, false],
    [
      "subdomains are not a domain that ends alike",
      { allow: ["*.ample.com"] },
      TCP,
      "198.51.100.1",
      80,
      false,
    ],
    ["a denied name", { deny: ["*.example.com"] }, TCP, "198.51.100.1", 80, false],
    ["names need DNS", { allow: ["example.com"] }, UDP, "192.0.2.53", 53, true],
    ["and no other DNS", { deny: ["example.com"] }, UDP, "198.51.100.9", 53, false],
    [
      "unless it is named",
      { deny: ["example.com"], allow: ["198.51.100.9:53"] },
      UDP,
      "198.51.100.9",
      53,
      true,
    ],
    ["a resolver on the host", {}, UDP, HOST, 53, true],
    ["a resolver on the host, and another port", {}, UDP, HOST, 54, false],
    ["a link-local resolver", {}, TCP, "169.254.20.10", 53, true],
    ["a resolver on the loopback", {}, UDP, "127.0.0.1", 53, false],
    ["a resolver on the IPv6 loopback", {}, UDP, "::1", 53, false],
    ["a resolver on 0.0.0.0", {}, UDP, "0.0.0.0", 53, false],
    ["everything is not the host", { allow: ["*"] }, TCP, HOST, 80, false],
    ["all addresses are not the host", { allow: ["0.0.0.0/0"] }, TCP, HOST, 80, false],
    ["its network is not the host", { allow: ["192.0.2.0/24"] }, TCP, HOST, 80, false],
    ["the host", { allow: [HOST] }, TCP, HOST, 80, true],
    ["the host's port", { policy: "allow", allow: [`${HOST}:5432`] }, TCP, HOST, 80, false],
    ["the host by a name", { allow: ["www.example.com"] }, TCP, HOST, 80, false],
    ["link-local", { policy: "allow", allow: ["169.254.0.0/16"] }, TCP, "169.254.169.254", 80, true],
    ["everything is not link-local", { allow: ["*", "128.0.0.0/1"] }, TCP, "169.254.169.254", 80, false],
    ["the loopback never", { allow: ["127.0.0.1"] }, TCP, "127.0.0.1", 80, false],
    ["IPv6 loopback never", { allow: ["::1"] }, TCP, "::1", 80, false],
    ["multicast never", { allow: ["224.0.0.1"] }, UDP, "224.0.0.1", 80, false],
    ["an unknown protocol", { allow: ["198.51.100.1/tcp"] }, 132, "198.51.100.1", 0, false],
  ])("%s", (_name, egress, protocol, to, port, allowed) => {
    const host = [["www.example.com", HOST]] as const;
    const policy = policyOf(egress, [...named, ...host]);
    expect(policy.judge(protocol, address(to), port, true).allowed).toBe(allowed);
    // The same again, from what is remembered.
    expect(policy.judge(protocol, address(to), port, true).allowed).toBe(allowed);
  });

  it("lets a connection go on when the name's time is over, and no other begin", () => {
    let now = 0;
    const policy = new Policy({
      egress: { allow: ["a.test"] },
      resolvers: [],
      isHost: () => false,
      now: () => now,
    });
    policy.learn({ name: "a.test", address: address("198.51.100.1"), ttlSeconds: 300 });
    const judge = (begins: boolean) => policy.judge(TCP, address("198.51.100.1"), 443, begins).allowed;
    expect(judge(true)).toBe(true);
    now = 299_000;
    expect(judge(true)).toBe(true);
    now = 301_000;
    expect(judge(false)).toBe(true);
    expect(judge(true)).toBe(false);
    expect(judge(false)).toBe(false);
  });

  it.each<[string, EgressOptions, string, boolean]>([
    ["everybody's without rules", {}, "a.test", true],
    ["a name that is allowed", { allow: ["a.test"] }, "a.test", true],
    ["another", { allow: ["a.test"] }, "b.test", false],
    ["anything, where anything goes", { allow: ["a.test", "*:443"] }, "b.test", true],
    ["a name that is denied", { deny: ["*.test"] }, "b.test", false],
    ["another than that", { deny: ["*.test"] }, "b.example", true],
  ])("on asking for %s", (_name, egress, name, may) => {
    expect(policyOf(egress).mayAsk(name)).toBe(may);
  });
});

describe("what DNS has said", () => {
  it("is bounded in addresses, names and time", () => {
    let now = 0;
    const table = new NameTable(() => now);
    for (let i = 0; i < 10_000; i++) table.learn({ name: "a", address: i, ttlSeconds: 60 });
    for (let i = 0; i < 100; i++) table.learn({ name: `n${i}`, address: 9_999, ttlSeconds: 0xffff_ffff });
    expect(table.size).toBe(4_096);
    expect(table.of(9_999)).toHaveLength(8);
    expect(table.of(1)).toEqual([]);
    now = 3_600_001;
    expect(table.of(9_999)).toEqual([]);
  });
});

describe("refusals", () => {
  it("come again when a minute has passed, with the number of those that were not told", () => {
    let now = 0;
    const told: string[] = [];
    const refusals = new Refusals(
      (refusal) => told.push(describeRefusal(refusal)),
      () => now,
    );
    const add = (port: number) =>
      refusals.add(String(port), () => ({
        protocol: "tcp",
        address: "2001:db8::1",
        port,
        names: ["a.test"],
        reason: "no",
      }));
    for (let port = 1; port <= 50; port++) add(port);
    now = 60_001;
    add(1);
    add(99);
    expect(told).toHaveLength(21);
    expect(told[0]).toBe("refused: tcp [2001:db8::1]:1 (a.test): no");
    expect(told[20]).toBe("refused: tcp [2001:db8::1]:99 (a.test): no; 30 others before it");
  });
});
