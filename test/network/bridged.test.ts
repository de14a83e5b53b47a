/** What passes between a guest and a network of the host's that it is a part of, frame by frame. */
import { afterEach, describe, expect, it } from "vitest";
import { cidr, formatAddress } from "../../src/network/address.ts";
import { BridgedPath, linkLocalOf } from "../../src/network/frames/bridged.ts";
import { ethernetFrame, ipFrame } from "../../src/network/packet/build.ts";
import { PROTOCOL } from "../../src/network/packet/packet.ts";
import type { EgressOptions } from "../../src/network/policy/policy.ts";
import { Policy } from "../../src/network/policy/policy.ts";
import type { Refusal } from "../../src/network/policy/refusals.ts";
import { Refusals } from "../../src/network/policy/refusals.ts";
import { address, arp, echo, FrameEnd, GUEST, MAC, other, solicitation, tcp, udp } from "./frames.ts";

const GATEWAY = "10.0.2.1";
const OTHER_MAC = Buffer.from("525400654321", "hex");
const LINK_LOCAL = formatAddress(linkLocalOf(MAC));

interface Opened {
  readonly guest: FrameEnd;
  readonly uplink: FrameEnd;
  readonly refused: Refusal[];
}

const opened: BridgedPath[] = [];
afterEach(() => {
  for (const path of opened.splice(0)) path.destroy();
});

function open(egress: EgressOptions = {}): Opened {
  const [guest, uplink] = [new FrameEnd(), new FrameEnd()];
  const refused: Refusal[] = [];
  const path = new BridgedPath(guest, uplink, {
    // The gateway is this host, and on the guest's own link.
    policy: new Policy({
      egress,
      resolvers: [address(GATEWAY)],
      isHost: (one) => one === address("192.0.2.2"),
    }),
    refusals: new Refusals((refusal) => refused.push(refusal)),
    mac: MAC,
    addresses: [address(GUEST[4]), address(GUEST[6])],
    subnets: [cidr("10.0.2.0/24"), cidr("fd66:6c61:6d65::/64")],
  });
  opened.push(path);
  return { guest, uplink, refused };
}

const SENTINEL = udp({ to: "198.51.100.200", port: 7 }, "sentinel");

async function through(
  from: FrameEnd,
  to: FrameEnd,
  frames: readonly Buffer[],
  sentinel: Buffer,
): Promise<Buffer[]> {
  from.give(Buffer.concat([...frames, sentinel]));
  await to.next(({ data, at }) => data.subarray(at - 4).equals(sentinel));
  return to.frames.splice(0);
}

const out = async ({ guest, uplink }: Opened, ...frames: Buffer[]) =>
  await through(guest, uplink, frames, SENTINEL);

/** The guest's frames the other way round: to it, from somebody on its link. */
function inward(frame: Buffer, { to = MAC, from = OTHER_MAC }: { to?: Buffer; from?: Buffer } = {}): Buffer {
  const turned = Buffer.from(frame);
  to.copy(turned, 4);
  from.copy(turned, 10);
  return turned;
}
const IN_SENTINEL = inward(udp({ from: GATEWAY, to: GUEST[4], port: 7 }, "sentinel"));
const inside = async ({ guest, uplink }: Opened, ...frames: Buffer[]) =>
  await through(uplink, guest, frames, IN_SENTINEL);

function changed(frame: Buffer, at: number, ...bytes: number[]): Buffer {
  const copy = Buffer.from(frame);
  Buffer.from(bytes).copy(copy, at);
  return copy;
}

function neighbour(type: number, from: string, target = "fd66:6c61:6d65::1"): Buffer {
  const body = Buffer.concat([
    Buffer.from([type, 0, 0, 0, 0, 0, 0, 0]),
    Buffer.from(address(target) as string, "latin1"),
    Buffer.from([1, 1]),
    MAC,
  ]);
  const ends = { source: address(from), destination: address("ff02::1") };
  return ipFrame({ sourceMac: MAC, destinationMac: OTHER_MAC }, ends, PROTOCOL.icmpv6, body, 2);
}

describe("a guest's frame", () => {
  it.each<[string, Buffer, "passes" | "dropped" | "refused"]>([
    ["to the gateway", tcp({ to: GATEWAY }), "passes"],
    ["to a neighbour", udp({ to: "10.0.2.77" }), "passes"],
    ["to anywhere", tcp({ to: "198.51.100.1" }), "passes"],
    ["to anywhere by IPv6", tcp({ to: "2001:db8::1" }), "passes"],
    ["of another protocol", other({ to: "198.51.100.1" }), "passes"],
    ["that is an echo", echo({ to: GATEWAY }), "passes"],
    ["that says that a port is closed", echo({ to: GATEWAY }, 3), "passes"],
    ["that redirects others", echo({ to: GATEWAY }, 5), "dropped"],
    ["to another address of the host", tcp({ to: "192.0.2.2" }), "refused"],
    ["to the host's loopback", tcp({ to: "127.0.0.1" }), "refused"],
    ["to a cloud's metadata", tcp({ to: "169.254.169.254" }), "refused"],
    ["to everybody", udp({ to: "255.255.255.255" }), "dropped"],
    ["to everybody of the subnet", udp({ to: "10.0.2.255" }), "dropped"],
    ["to a group", udp({ to: "224.0.0.251" }), "dropped"],
    ["from another address", tcp({ from: "10.0.2.16", to: GATEWAY }), "dropped"],
    ["from another MAC", changed(tcp({ to: GATEWAY }), 10, 2, 0, 0, 0, 0, 9), "dropped"],
    ["that is a fragment", changed(udp({ to: GATEWAY }), 24, 0x20, 0), "dropped"],
    ["that asks for the gateway", arp(GATEWAY), "passes"],
    ["that announces itself", arp(GUEST[4], { operation: 2 }), "passes"],
    ["that probes its own address", arp(GUEST[4], { sender: "0.0.0.0" }), "passes"],
    ["that probes another's address", arp(GATEWAY, { sender: "0.0.0.0" }), "dropped"],
    ["that says it is the gateway", arp(GUEST[4], { sender: GATEWAY, operation: 2 }), "dropped"],
    ["that asks in the gateway's name", arp("10.0.2.77", { sender: GATEWAY }), "dropped"],
    ["with another MAC in its ARP", changed(arp(GATEWAY), 26, 2, 0, 0, 0, 0, 9), "dropped"],
    ["that asks for a neighbour by IPv6", solicitation("fd66:6c61:6d65::1"), "passes"],
    ["that asks from its link-local address", neighbour(135, LINK_LOCAL), "passes"],
    ["that asks from another's link-local address", neighbour(135, "fe80::1"), "dropped"],
    ["that probes its own IPv6 address", neighbour(135, "::", GUEST[6]), "passes"],
    ["that probes another's IPv6 address", neighbour(135, "::"), "dropped"],
    ["that advertises itself", neighbour(136, GUEST[6], GUEST[6]), "passes"],
    ["that advertises another's address", neighbour(136, GUEST[6]), "dropped"],
    ["that is a router's", neighbour(134, LINK_LOCAL), "dropped"],
    ["that asks for routers", neighbour(133, LINK_LOCAL), "dropped"],
    ["that redirects by IPv6", neighbour(137, LINK_LOCAL), "dropped"],
    ["that says to which groups it listens", neighbour(143, LINK_LOCAL), "passes"],
    ["of another's groups", neighbour(143, "fe80::1"), "dropped"],
    [
      "of another kind",
      ethernetFrame({ sourceMac: MAC, destinationMac: OTHER_MAC }, 0x88cc, Buffer.alloc(46)),
      "dropped",
    ],
  ])("%s", async (_name, frame, outcome) => {
    const there = open();
    expect(await out(there, frame)).toEqual(outcome === "passes" ? [frame] : []);
    expect([there.refused.length, there.guest.frames.length]).toEqual(
      outcome === "refused" ? [1, 1] : [0, 0],
    );
  });

  it("goes only where rules let it, and DNS to the resolver", async () => {
    const there = open({ allow: ["10.0.2.77"] });
    const [allowed, denied] = [tcp({ to: "10.0.2.77" }), tcp({ to: "10.0.2.78" })];
    expect(await through(there.guest, there.uplink, [denied], allowed)).toEqual([]);
    expect(there.refused.map(({ address: where }) => where)).toEqual(["10.0.2.78"]);
  });

  it("goes to whoever has called, where it may not go by itself", async () => {
    const there = open();
    const client = "192.0.2.2";
    const answer = tcp({ to: client, port: 5_000, sourcePort: 80 }, { flags: 18 });
    expect(await out(there, answer)).toEqual([]);
    await inside(there, inward(tcp({ from: client, to: GUEST[4], port: 80, sourcePort: 5_000 })));
    expect(await out(there, answer)).toEqual([answer]);
    expect(await out(there, tcp({ to: client, port: 5_000, sourcePort: 80 }))).toEqual([]);
  });
});

describe("a frame for the guest", () => {
  const mine = { from: GATEWAY, to: GUEST[4] };
  it.each<[string, Buffer, boolean]>([
    ["from the gateway", inward(tcp(mine)), true],
    ["from anywhere", inward(udp({ from: "198.51.100.1", to: GUEST[4] })), true],
    [
      "that is flooded, and another's",
      inward(tcp({ from: GATEWAY, to: "10.0.2.77" }), { to: OTHER_MAC }),
      false,
    ],
    ["for everybody", inward(udp({ from: GATEWAY, to: "255.255.255.255" })), false],
    ["that asks for it", inward(arp(GUEST[4], { sender: GATEWAY })), true],
    ["that is a piece of a datagram", changed(inward(udp(mine)), 24, 0x20, 0), true],
    [
      "that is a piece of another's datagram",
      changed(inward(udp({ from: GATEWAY, to: "10.0.2.77" })), 24, 0x20, 0),
      false,
    ],
    ["that is cut short", inward(udp(mine)).subarray(0, 20), false],
    ["that asks for it by IPv6", inward(neighbour(135, "fe80::1", GUEST[6])), true],
    ["that is a router's", inward(neighbour(134, "fe80::1")), false],
    ["that redirects", inward(neighbour(137, "fe80::1")), false],
  ])("%s", async (_name, frame, passes) => {
    const there = open();
    const whole = Buffer.from(frame);
    whole.writeUInt32BE(whole.length - 4, 0);
    expect(await inside(there, whole)).toEqual(passes ? [whole] : []);
  });
});

it("a stream that is none ends both sides", async () => {
  const { guest, uplink } = open();
  const closed = new Promise((resolve) => uplink.once("close", resolve));
  guest.give(Buffer.from([0xff, 0xff, 0xff, 0xff, 1]));
  await closed;
  expect(guest.destroyed).toBe(true);
});
