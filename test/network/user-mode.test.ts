import { describe, expect, it } from "vitest";
import { chooseGuestSubnet } from "../../src/network/host-address.ts";
import { lastReason } from "../../src/network/passt.ts";

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
  ] as const)("keeps clear of %s", (_name, taken, address) => {
    const subnet = chooseGuestSubnet(taken.map(([one, netmask]) => ({ address: one, netmask })));
    expect(subnet.address).toBe(address);
    expect(subnet.gateway).toBe(address.replace(/15$/, "2"));
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
