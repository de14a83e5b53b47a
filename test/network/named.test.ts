/** Networks with names, between guests that are played here: the real sockets, locks and leases. */
import { spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  createNetwork,
  inspectNetwork,
  listNetworks,
  pruneNetworks,
  removeNetwork,
} from "../../src/container/networks.ts";
import { formatAddress } from "../../src/network/address.ts";
import { DnsForwarder } from "../../src/network/dns/forward.ts";
import { NetworkNames } from "../../src/network/dns/names.ts";
import { GATEWAY_MAC } from "../../src/network/frames/path.ts";
import { leaseDir, parseLease, parseMember } from "../../src/network/named/leases.ts";
import { parseRecord } from "../../src/network/named/record.ts";
import type { Network } from "../../src/network/network.ts";
import { ipFrame } from "../../src/network/packet/build.ts";
import type { Packet } from "../../src/network/packet/packet.ts";
import { readArp, readNeighbour } from "../../src/network/packet/neighbours.ts";
import { startUserNetwork } from "../../src/network/user-mode.ts";
import type { UserNetworkOptions } from "../../src/network/user-mode.ts";
import { compileRepository } from "../support/compiled.ts";
import type { Paths } from "../../src/util/paths.ts";
import { address, FrameEnd, parse } from "./frames.ts";

let dir: string;
let paths: Paths;
const open: Network[] = [];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "flamebox-named-"));
  paths = { dataDir: join(dir, "data"), runtimeDir: join(dir, "run") };
});
afterEach(async () => {
  await Promise.all(open.splice(0).map(async (network) => await network[Symbol.asyncDispose]()));
  rmSync(dir, { recursive: true, force: true });
});

interface Guest {
  readonly frames: FrameEnd;
  readonly network: Network;
  readonly mac: Buffer;
  readonly ipv4: string;
  readonly ipv6: string;
}

let ids = 0;

async function enter(
  network: string,
  name: string,
  options: Partial<UserNetworkOptions> & { address?: string; aliases?: string[] } = {},
): Promise<Guest> {
  const { address: asked, aliases = [], ...rest } = options;
  const containerId = (++ids).toString(16).padStart(12, "a");
  const membership = { paths, network, containerId, name, hostname: `${name}-host`, aliases, address: asked };
  const started = await startUserNetwork({ membership, ...rest });
  open.push(started);
  const frames = new FrameEnd();
  started.attach(frames);
  const [ipv4 = "", ipv6 = ""] = started.guest.addresses.map((one) => one.replace(/\/.*$/, ""));
  return {
    frames,
    network: started,
    mac: Buffer.from(started.guest.mac.replaceAll(":", ""), "hex"),
    ipv4,
    ipv6,
  };
}

interface Sent {
  readonly mac?: Buffer;
  readonly toMac?: Buffer;
  readonly source?: string;
  readonly port?: number;
}

function datagram(from: Guest, to: Guest | string, text: string | Buffer, sent: Sent = {}): Buffer {
  const destination = typeof to === "string" ? to : to.ipv4;
  const toMac = sent.toMac ?? (typeof to === "string" ? GATEWAY_MAC : to.mac);
  const body = Buffer.from(text as string);
  const head = Buffer.alloc(8);
  head.writeUInt16BE(5_000, 0);
  head.writeUInt16BE(sent.port ?? 6_000, 2);
  head.writeUInt16BE(8 + body.length, 4);
  const ends = { source: address(sent.source ?? from.ipv4), destination: address(destination) };
  const link = { sourceMac: sent.mac ?? from.mac, destinationMac: toMac };
  return ipFrame(link, ends, 17, Buffer.concat([head, body]), 6);
}

async function hears(to: Guest, text: string): Promise<boolean> {
  return await to.frames
    .next((packet) => packet.protocol === 17 && packet.payload.toString() === text, 3_000)
    .then(
      () => true,
      () => false,
    );
}

/** What every member is told of a new one. */
function announces(packet: Packet): boolean {
  const said = packet.kind === "arp" ? readArp(packet) : readNeighbour(packet);
  return said !== undefined && said.sender === said.target;
}

function isArpAnswer(packet: Packet): boolean {
  return packet.kind === "arp" && !announces(packet);
}

function heardBy(guest: Guest): Buffer[] {
  return guest.frames.frames.filter((frame) => !announces(parse(frame)));
}

function arpFor(from: Guest, target: string): Buffer {
  const body = Buffer.alloc(28);
  Buffer.from([0, 1, 8, 0, 6, 4, 0, 1]).copy(body);
  from.mac.copy(body, 8);
  body.writeUInt32BE(address(from.ipv4) as number, 14);
  body.writeUInt32BE(address(target) as number, 24);
  return Buffer.concat([
    Buffer.from([0, 0, 0, 42]),
    Buffer.alloc(6, 0xff),
    from.mac,
    Buffer.from([8, 6]),
    body,
  ]);
}

describe("records", () => {
  it("are made, listed, shown and removed", async () => {
    const made = await createNetwork("shop", { paths, labels: { tier: "1" } });
    expect(made).toMatchObject({ name: "shop", internal: false, labels: { tier: "1" }, members: [] });
    expect(made.gateway).toBe(made.subnet.replace(/0\/24$/, "1"));
    await createNetwork("vault", { paths, internal: true, subnet: "10.200.1.77/24" });
    expect((await listNetworks({ paths })).map(({ name, subnet }) => [name, subnet])).toEqual([
      ["shop", made.subnet],
      ["vault", "10.200.1.0/24"],
    ]);
    await removeNetwork("shop", { paths });
    await expect(inspectNetwork("shop", { paths })).rejects.toMatchObject({ code: "network-missing" });
    expect((await pruneNetworks({ paths })).map(({ name }) => name)).toEqual(["vault"]);
  });

  it("made at once have different subnets", async () => {
    const names = Array.from({ length: 20 }, (_, i) => `n${i}`);
    const made = await Promise.all(names.map(async (name) => await createNetwork(name, { paths })));
    expect(new Set(made.map(({ subnet }) => subnet)).size).toBe(20);
    await expect(createNetwork("n7", { paths })).rejects.toMatchObject({ code: "network-exists" });
  });

  it.each([
    ["", {}],
    ["-a", {}],
    ["a/b", {}],
    ["..", {}],
    ["none", {}],
    ["host", {}],
    ["a".repeat(64), {}],
    ["ä", {}],
    ["a", { subnet: "10.0.0.0/8" }],
    ["a", { subnet: "10.0.0.0/30" }],
    ["a", { subnet: "fd00::/64" }],
    ["a", { subnet: "x" }],
    ["a", { subnet: "10.99.0.0/16" }],
  ])("refuse %j %j", async (name, options) => {
    await createNetwork("taken", { paths, subnet: "10.99.3.0/24" });
    await expect(createNetwork(name, { paths, ...options })).rejects.toMatchObject({
      code: "invalid-network",
    });
  });

  const good = {
    id: "0".repeat(32),
    createdAt: "2024-01-01T00:00:00Z",
    subnet: "10.87.0.0/24",
    ipv6Subnet: "fd01::/64",
    internal: false,
    labels: {},
  };
  it.each<[string, unknown]>([
    ["nothing", undefined],
    ["no object", 7],
    ["null", null],
    ["no id", { ...good, id: undefined }],
    ["an id with a path", { ...good, id: "../../../../../../../../etc/passwd" }],
    ["no date", { ...good, createdAt: "soon" }],
    ["no subnet", { ...good, subnet: "10.87.0.0" }],
    ["a wide subnet", { ...good, subnet: "0.0.0.0/0" }],
    ["an IPv4 subnet for IPv6", { ...good, ipv6Subnet: "10.0.0.0/24" }],
    ["no word on the way out", { ...good, internal: "no" }],
    ["no labels", { ...good, labels: null }],
  ])("are not read with %s", (_name, value) => {
    expect(parseRecord(JSON.stringify(value) ?? "{", "a")).toBeUndefined();
    expect(parseRecord(JSON.stringify(good), "a")).toMatchObject({ name: "a" });
  });
});

describe("leases", () => {
  const member = {
    containerId: "0123456789ab",
    hostname: "h",
    aliases: [],
    mac: "52:54:00:00:00:01",
    ipv4: "10.87.0.2",
    ipv6: "fd01::2",
  };
  const holder = { pid: 1, startTicks: 1, bootId: "x" };
  it.each<[string, unknown]>([
    ["nothing", undefined],
    ["no member", { holder }],
    ["no holder", { member }],
    ["a pid in words", { member, holder: { ...holder, pid: "1" } }],
    ["an id that is none", { member: { ...member, containerId: "../x" }, holder }],
    ["a MAC that is none", { member: { ...member, mac: "x" }, holder }],
    ["IPv6 for IPv4", { member: { ...member, ipv4: "fd01::2" }, holder }],
    ["aliases without end", { member: { ...member, aliases: Array(100).fill("a") }, holder }],
    ["an alias that is none", { member: { ...member, aliases: [1] }, holder }],
  ])("are not read with %s", (_name, value) => {
    expect(parseLease(JSON.stringify(value) ?? "{", 2)).toBeUndefined();
    expect(parseLease(JSON.stringify({ member, holder }), 2)?.member).toEqual(member);
    expect(parseMember(value)).toBeUndefined();
  });

  it("give each its own address, that which was asked for, and none twice", async () => {
    await createNetwork("shop", { paths, subnet: "10.200.9.0/28" });
    const asked = await enter("shop", "a", { address: "10.200.9.7" });
    expect(asked.ipv4).toBe("10.200.9.7");
    const rest = await Promise.all(Array.from({ length: 12 }, async (_, i) => await enter("shop", `m${i}`)));
    expect(new Set(rest.map(({ ipv4 }) => ipv4)).size).toBe(12);
    expect(rest.map(({ ipv4 }) => ipv4)).not.toContain("10.200.9.1");
    await expect(enter("shop", "b")).rejects.toMatchObject({ code: "network-full" });
    await expect(enter("shop", "b", { address: "10.200.9.7" })).rejects.toMatchObject({
      code: "address-in-use",
    });
    for (const wrong of ["10.200.9.0", "10.200.9.1", "10.200.9.15", "10.200.8.3", "fd00::1", "x"])
      await expect(enter("shop", "b", { address: wrong })).rejects.toMatchObject({ code: "invalid-address" });
    await expect(removeNetwork("shop", { paths })).rejects.toMatchObject({ code: "network-in-use" });
  });

  it("end with a killed process, whose rest the next command collects", async () => {
    using compiled = compileRepository(["src", "test/network/named-child.ts"]);
    const record = await createNetwork("shop", { paths });
    const witness = await enter("shop", "witness");
    const script = compiled.url("test/network/named-child.ts").pathname;
    const child = spawn(process.execPath, [script, dir, "shop", "0123456789ab"], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const [said] = (await once(child.stdout, "data")) as [Buffer];
    expect((await inspectNetwork("shop", { paths })).members.map(({ name }) => name)).toEqual([
      "witness",
      "child",
    ]);
    const taken = said.toString().trim().replace(/\/.*$/, "");
    witness.frames.give(arpFor(witness, taken));
    await witness.frames.next(isArpAnswer);
    child.kill("SIGKILL");
    await once(child, "close");
    expect((await listNetworks({ paths }))[0]?.members.map(({ name }) => name)).toEqual(["witness"]);
    expect(readdirSync(leaseDir(paths, record)).toSorted()).toEqual(["2.json", "2.sock"]);
    witness.frames.give(arpFor(witness, taken));
    await expect(witness.frames.next(isArpAnswer, 300)).rejects.toThrow("no such frame");
    expect((await enter("shop", "next")).ipv4).toBe(taken);
  });

  it("leave nothing when they end by themselves", async () => {
    const record = await createNetwork("shop", { paths });
    const guest = await enter("shop", "a");
    await guest.network[Symbol.asyncDispose]();
    expect(readdirSync(leaseDir(paths, record))).toEqual([]);
    await removeNetwork("shop", { paths });
    expect(existsSync(leaseDir(paths, record))).toBe(false);
  });

  it("do not mind a long path", async () => {
    const long = join(dir, "r".repeat(120));
    mkdirSync(long);
    paths = { ...paths, runtimeDir: long };
    await createNetwork("shop", { paths });
    const [a, b] = [await enter("shop", "a"), await enter("shop", "b")];
    a.frames.give(datagram(a, b, "over there"));
    expect(await hears(b, "over there")).toBe(true);
  });
});

describe("members", () => {
  it("hear each other, whoever came first, and nobody else does", async () => {
    await Promise.all([createNetwork("shop", { paths }), createNetwork("other", { paths })]);
    const [a, b, c] = await Promise.all(["a", "b", "c"].map(async (name) => await enter("shop", name)));
    const stranger = await enter("other", "stranger");
    if (a === undefined || b === undefined || c === undefined) throw new Error("nobody");
    for (const [from, to] of [
      [a, b],
      [b, a],
      [a, c],
      [c, a],
      [b, c],
      [c, b],
    ] as const) {
      const text = `${from.ipv4} to ${to.ipv4}`;
      from.frames.give(datagram(from, to, text));
      expect(await hears(to, text)).toBe(true);
    }
    a.frames.give(datagram(a, { ...b, ipv4: b.ipv6 }, "by IPv6", { source: a.ipv6 }));
    expect(await hears(b, "by IPv6")).toBe(true);
    const other = { policy: "deny" } as const;
    const denied = await enter("shop", "denied", { egress: other });
    denied.frames.give(datagram(denied, a, "within the network, whatever the policy"));
    expect(await hears(a, "within the network, whatever the policy")).toBe(true);
    a.frames.give(datagram(a, stranger, "to a stranger"));
    stranger.frames.give(datagram(stranger, a, "from a stranger"));
    expect(await hears(stranger, "to a stranger")).toBe(false);
    expect(a.frames.frames.some((frame) => frame.includes("from a stranger"))).toBe(false);
  });

  it("are found by ARP as long as they are there, and nobody else is", async () => {
    await createNetwork("shop", { paths });
    const [a, b] = [await enter("shop", "a"), await enter("shop", "b")];
    a.frames.give(Buffer.concat([arpFor(a, "10.87.0.200"), arpFor(a, b.ipv4)]));
    expect((await a.frames.next(isArpAnswer)).sourceMac.equals(b.mac)).toBe(true);
    expect(heardBy(a)).toEqual([]);
    await b.network[Symbol.asyncDispose]();
    const refused = datagram(a, b, "anybody?");
    for (let tries = 0; tries < 50; tries++) {
      a.frames.give(refused);
      if (await a.frames.next(({ icmpType }) => icmpType === 3, 100).catch(() => undefined)) return;
    }
    throw new Error("it was not refused");
  });

  it("have the MAC of their address, whoever had it before, and tell another to those who are there", async () => {
    await createNetwork("shop", { paths });
    const [a, b] = [await enter("shop", "a"), await enter("shop", "b")];
    expect(a.mac.readUInt32BE(2)).toBe(address(a.ipv4));
    expect(b.network.guest.mac).not.toBe(a.network.guest.mac);
    await b.network[Symbol.asyncDispose]();
    const next = await enter("shop", "next");
    expect([next.ipv4, next.network.guest.mac]).toEqual([b.ipv4, b.network.guest.mac]);
    await next.network[Symbol.asyncDispose]();
    const other = await enter("shop", "other", { mac: "52:54:00:12:34:56" });
    expect(other.ipv4).toBe(b.ipv4);
    const isOf = (packet: Packet): boolean => announces(packet) && packet.sourceMac.equals(other.mac);
    const arp = await a.frames.next((packet) => packet.kind === "arp" && isOf(packet));
    expect(readArp(arp)?.sender).toBe(address(other.ipv4));
    const advertisement = await a.frames.next((packet) => packet.kind === "ip" && isOf(packet));
    expect(readNeighbour(advertisement)?.target).toBe(address(other.ipv6));
  });

  it.each<[string, (a: Guest, b: Guest, c: Guest) => Sent]>([
    ["another's IP address", (_a, _b, c) => ({ source: c.ipv4 })],
    ["the gateway's IP address", (a) => ({ source: a.ipv4.replace(/\d+$/, "1") })],
    ["another's MAC address", (_a, _b, c) => ({ mac: c.mac })],
    ["the receiver's MAC address", (_a, b) => ({ mac: b.mac })],
    ["a broadcast for one", () => ({ toMac: Buffer.alloc(6, 0xff) })],
  ])("do not speak with %s", async (_name, forge) => {
    await createNetwork("shop", { paths });
    const [a, b, c] = [await enter("shop", "a"), await enter("shop", "b"), await enter("shop", "c")];
    a.frames.give(Buffer.concat([datagram(a, b, "forged", forge(a, b, c)), datagram(a, b, "honest")]));
    expect(await hears(b, "honest")).toBe(true);
    expect(b.frames.frames.some((frame) => frame.includes("forged"))).toBe(false);
  });

  it("check what a process sends for another", async () => {
    const record = await createNetwork("shop", { paths });
    const [a, b] = [await enter("shop", "a"), await enter("shop", "b")];
    const slot = a.ipv4.split(".").at(-1) ?? "";
    const socket = connect(join(leaseDir(paths, record), `${slot}.sock`));
    const forged: Guest = {
      ...b,
      ipv4: a.ipv4.replace(/\d+$/, "99"),
      ipv6: "fd99::99",
      mac: Buffer.from("525400999999", "hex"),
    };
    const greeting = {
      containerId: "f".repeat(12),
      hostname: "f",
      aliases: [],
      mac: "52:54:00:99:99:99",
      ipv4: forged.ipv4,
      ipv6: forged.ipv6,
    };
    const text = Buffer.from(JSON.stringify(greeting));
    const length = Buffer.alloc(4);
    length.writeUInt32BE(text.length);
    const frames = [
      datagram(forged, a, "in the name of b", { source: b.ipv4 }),
      datagram(forged, a, "from b's interface", { mac: b.mac }),
      datagram(forged, b, "for another"),
      datagram(forged, { ...a, ipv4: "127.0.0.1" }, "for the loopback"),
      arpFor(forged, a.ipv4),
      datagram(forged, a, "as it is"),
    ];
    const whole = Buffer.concat([length, text, ...frames]);
    for (let at = 0; at < whole.length; at += 100) socket.write(whole.subarray(at, at + 100));
    expect(await hears(a, "as it is")).toBe(true);
    expect(heardBy(a)).toEqual([]);
    socket.destroy();
  });

  it.each<[string, Buffer]>([
    ["a greeting without end", Buffer.from([0xff, 0xff, 0xff, 0xff])],
    ["a greeting that is no JSON", Buffer.from([0, 0, 0, 2, 0x7b, 0x7b])],
    ["a greeting of nobody", Buffer.from([0, 0, 0, 2, 0x7b, 0x7d])],
  ])("hang up at %s", async (_name, bytes) => {
    const record = await createNetwork("shop", { paths });
    const a = await enter("shop", "a");
    const socket = connect(join(leaseDir(paths, record), `${a.ipv4.split(".").at(-1)}.sock`));
    socket.resume().on("error", () => {});
    socket.write(bytes);
    await once(socket, "close");
    expect(socket.destroyed).toBe(true);
  });
});

function question(name: string, type = 1): Buffer {
  const labels = name.split(".").map((label) => Buffer.concat([Buffer.of(label.length), Buffer.from(label)]));
  return Buffer.concat([
    Buffer.from([7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]),
    ...labels,
    Buffer.from([0, 0, type, 0, 1]),
  ]);
}

/** The addresses of an answer, or its code. */
async function ask(guest: Guest, name: string, type = 1): Promise<string[] | number> {
  const gateway = guest.network.guest.gateways[0] ?? "";
  guest.frames.give(datagram(guest, gateway, question(name, type), { port: 53 }));
  const { payload } = await guest.frames.next(({ sourcePort }) => sourcePort === 53);
  const size = type === 28 ? 16 : 4;
  const count = payload.readUInt16BE(6);
  if (count === 0) return payload.readUInt16BE(2) & 15;
  const found: string[] = [];
  for (let i = 0, at = question(name).length; i < count; i++, at += 12 + size) {
    const bytes = payload.subarray(at + 12, at + 12 + size);
    found.push(formatAddress(type === 28 ? bytes.toString("latin1") : bytes.readUInt32BE(0)));
  }
  return found.toSorted();
}

describe("names", () => {
  it("are a container's name, host name, id and aliases, of those who are there", async () => {
    await createNetwork("shop", { paths, internal: true });
    const a = await enter("shop", "a");
    expect(a.network.resolvers.servers).toEqual([a.network.guest.gateways[0]]);
    expect(await ask(a, "db")).toBe(3);
    const db = await enter("shop", "db", { aliases: ["store", "shared"] });
    const second = await enter("shop", "db2", { aliases: ["shared"] });
    const id =
      (await inspectNetwork("shop", { paths })).members.find(({ name }) => name === "db")?.containerId ?? "";
    for (const name of ["db", "DB", "db.shop", "db-host", "store", id, "a.shop".replace("a", "store")])
      expect(await ask(a, name)).toEqual([db.ipv4]);
    expect(await ask(a, "a")).toEqual([a.ipv4]);
    expect(await ask(a, "db", 28)).toEqual([db.ipv6]);
    expect(await ask(a, "shared")).toEqual([db.ipv4, second.ipv4].toSorted());
    // A name that is there, and a type that it has not: not "no such name".
    expect(await ask(a, "db", 15)).toBe(0);
    expect(await ask(a, "example.com")).toBe(3);
    await second.network[Symbol.asyncDispose]();
    for (let tries = 0; ; tries++) {
      const left = await ask(a, "shared");
      if (Array.isArray(left) && left.length === 1) break;
      if (tries > 50) throw new Error("it is still known");
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  });

  it("lead back from addresses", () => {
    const member = {
      containerId: "0123456789ab",
      name: "db",
      hostname: "h",
      aliases: [],
      mac: "",
      ipv4: "10.87.0.2",
      ipv6: "fd01::2",
    };
    const names = new NetworkNames("shop", () => [member], undefined);
    for (const asked of ["2.0.87.10.in-addr.arpa", `2.${"0.".repeat(27)}1.0.d.f.ip6.arpa`])
      expect(names.answer(question(asked, 12))?.includes(Buffer.from("\x02db\x04shop\0", "latin1"))).toBe(
        true,
      );
    expect(names.answer(question("3.0.87.10.in-addr.arpa", 12))).toBeUndefined();
  });

  it("that are no container's are asked of the next server that answers", async () => {
    const [silent, server] = [createSocket("udp4"), createSocket("udp4")];
    silent.bind(0, "127.0.0.1");
    await once(silent, "listening");
    const { port } = silent.address();
    server.bind(port, "127.0.0.2");
    await once(server, "listening");
    server.on("message", (query, from) => {
      // One of another question first: it is none.
      server.send(Buffer.concat([Buffer.from([9, 9]), query.subarray(2)]), from.port, from.address);
      server.send(Buffer.concat([query, Buffer.from("answer")]), from.port, from.address);
    });
    const forwarder = new DnsForwarder(["127.0.0.1", "127.0.0.2"], port);
    const answer = await new Promise<Buffer>((resolve) => forwarder.ask(question("example.com"), resolve));
    expect(answer.subarray(-6).toString()).toBe("answer");
    const none = new DnsForwarder([], port);
    const failed = await new Promise<Buffer>((resolve) => none.ask(question("example.com"), resolve));
    expect(failed.readUInt16BE(2) & 15).toBe(2);
    forwarder.dispose();
    silent.close();
    server.close();
  });
});

describe("an internal network", () => {
  it("has no way out, and says so", async () => {
    await createNetwork("vault", { paths, internal: true });
    const a = await enter("vault", "a");
    a.frames.give(datagram(a, "198.51.100.1", "out"));
    expect((await a.frames.next(({ icmpType }) => icmpType === 3)).icmpType).toBe(3);
    const ports = [{ hostAddress: "127.0.0.1", hostPort: 0, containerPort: 80, protocol: "tcp" as const }];
    await expect(enter("vault", "b", { ports })).rejects.toMatchObject({ code: "invalid-port" });
  });
});

it("a record that is damaged is passed over, and its network is missing", async () => {
  await createNetwork("shop", { paths });
  writeFileSync(join(paths.dataDir, "networks", "bad.json"), "{");
  expect((await listNetworks({ paths })).map(({ name }) => name)).toEqual(["shop"]);
  await expect(inspectNetwork("shap", { paths })).rejects.toMatchObject({
    code: "network-missing",
    hint: "did you mean shop?",
  });
  expect(parse(Buffer.alloc(4)).kind).toBe("malformed");
});
