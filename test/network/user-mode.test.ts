import { describe, expect, it } from "vitest";
import { chooseGuestSubnet, hasIpv6Route } from "../../src/network/host-address.ts";
import { lastReason } from "../../src/network/passt.ts";
import { address } from "./frames.ts";

describe("chooseGuestSubnet", () => {
  it.each([
    ["a host on no network", [], "10.0.2.15"],
    ["a host elsewhere", [["192.0.2.2", "255.255.255.0"]], "10.0.2.15"],
    ["a host that is a guest of the same kind", [["10.0.2.15", "255.255.255.0"]], "10.0.3.15"],
    ["a host within a wider network", [["10.9.8.7", "255.0.0.0"]], "192.168.127.15"],
    ["an address of the subnet alone", [["10.0.2.77", "255.255.255.255"]], "10.0.3.15"],
    [
      "several networks",
      [
        ["10.0.1.1", "255.255.252.0"],
        ["192.168.1.1", "255.255.0.0"],
      ],
      "172.31.254.15",
    ],
    ["a network of everything", [["198.51.100.1", "0.0.0.0"]], "10.0.2.15"],
  ] as const)("keeps clear of %s", (_name, taken, expected) => {
    const subnet = chooseGuestSubnet(taken.map(([one, netmask]) => ({ address: one, netmask })));
    expect(subnet.address).toBe(expected);
    expect(subnet.gateway).toBe(expected.replace(/15$/, "2"));
  });
});

describe("a way out by IPv6", () => {
  const zeros = "0".repeat(32);
  const route = (destination: string, length: string, flags: string, name: string) =>
    `${destination} ${length} ${zeros} 00 fd000000000000000000000000000001 00000400 00000001 00000000 ${flags} ${name}`;
  it.each([
    ["none at all", "", false],
    ["the kernel's own, which rejects", route(zeros, "00", "00200200", "lo"), false],
    ["one that rejects", route(zeros, "00", "00000203", "eth0"), false],
    ["a network only", route("fd".padEnd(32, "0"), "40", "00000001", "eth0"), false],
    [
      "a default route",
      `${route("fd".padEnd(32, "0"), "40", "00000001", "eth0")}\n${route(zeros, "00", "00000003", "    eth0")}\n`,
      true,
    ],
  ])("%s", (_name, routes, has) => {
    expect(hasIpv6Route(routes)).toBe(has);
  });
});

describe("what is chosen for IPv6", () => {
  it.each([
    ["a host without", [], undefined],
    ["a host elsewhere", ["2001:db8::1"], "fd66:6c61:6d65::15"],
    ["a host that is a guest of the same kind", ["fd66:6c61:6d65::15"], "fd66:6c61:6d65:1::15"],
  ] as const)("keeps clear of %s", (_name, taken, chosen) => {
    expect(chooseGuestSubnet([], taken.map(address)).ipv6?.address).toBe(chosen);
  });
});

describe("lastReason", () => {
  it.each([
    ["nothing", "", undefined],
    [
      "noise only",
      "Failed to send 47 bytes to syslog\nDon't run as root. Changing to nobody...\n",
      undefined,
    ],
    [
      "a reason among noise",
      "Don't run as root. Changing to nobody...\nFailed to send 67 bytes to syslog\n" +
        "Failed to bind any port for '-t 127.0.0.1/80', exiting\nFailed to send 9 bytes to syslog\n",
      "Failed to bind any port for '-t 127.0.0.1/80', exiting",
    ],
    ["several reasons", "first\n\nlast\n", "last"],
  ])("finds it in %s", (_name, stderr, reason) => {
    expect(lastReason(stderr)).toBe(reason);
  });
});
