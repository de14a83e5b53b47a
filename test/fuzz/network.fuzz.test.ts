/** A guest's frames, its questions to DNS and the answers: whatever comes, nothing is thrown, and nothing gets out. */
import fc from "fast-check";
import { expect, it } from "vitest";
import { cidr, contains, formatAddress } from "../../src/network/address.ts";
import { addressesOf, readMessage } from "../../src/network/dns/message.ts";
import { DnsWatch } from "../../src/network/dns/watch.ts";
import { FramePath } from "../../src/network/frames/path.ts";
import { NetworkError } from "../../src/network/network.ts";
import { parseRule } from "../../src/network/policy/rules.ts";
import { Policy } from "../../src/network/policy/policy.ts";
import { Refusals } from "../../src/network/policy/refusals.ts";
import { Packet } from "../../src/network/packet/packet.ts";
import {
  address,
  arp,
  echo,
  FrameEnd,
  GUEST,
  MAC,
  parse,
  solicitation,
  tcp,
  udp,
} from "../network/frames.ts";

const seeds = [
  arp("10.0.2.2"),
  solicitation("fd66:6c61:6d65::2"),
  tcp({ to: "198.51.100.1" }),
  tcp({ to: "2001:db8::1" }),
  udp({ to: "192.0.2.53", port: 53 }, Buffer.from("123401000001000000000000016104746573740000010001", "hex")),
  udp({ to: "2001:db8::1" }),
  echo({ to: "10.0.2.2" }),
  echo({ to: "2001:db8::1" }),
  tcp({ to: "127.0.0.1" }),
];

/** A good frame with some bytes of it changed, and perhaps cut. */
const mutated = fc
  .tuple(
    fc.constantFrom(...seeds),
    fc.array(fc.tuple(fc.nat(120), fc.nat(255)), { maxLength: 8 }),
    fc.option(fc.nat(120), { nil: undefined }),
  )
  .map(([seed, changes, size]) => {
    const frame = Buffer.from(seed.subarray(0, size === undefined ? seed.length : 4 + size));
    for (const [at, value] of changes) if (4 + at < frame.length) frame[4 + at] = value;
    if (frame.length < 4) return Buffer.alloc(4);
    frame.writeUInt32BE(frame.length - 4);
    return frame;
  });

const random = fc.uint8Array({ maxLength: 200 }).map((bytes) => {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
});

const FORBIDDEN = ["127.0.0.0/8", "0.0.0.0/8", "169.254.0.0/16", "192.0.2.2/32", "224.0.0.0/3"].map(cidr);

it("no frame gets out that is for the host, or not from the guest", () => {
  fc.assert(
    fc.property(fc.array(fc.oneof(mutated, random), { maxLength: 30 }), (frames) => {
      const [guest, uplink] = [new FrameEnd(), new FrameEnd()];
      const path = new FramePath(guest, {
        policy: new Policy({
          egress: { policy: "allow", deny: ["a.test"] },
          resolvers: [address("192.0.2.53")],
          isHost: (one) => one === address("192.0.2.2"),
        }),
        refusals: new Refusals(() => {}),
        mac: MAC,
        addresses: [address(GUEST[4]), address(GUEST[6])],
        gateways: [address("10.0.2.2"), address("fd66:6c61:6d65::2")],
        subnets: [cidr("10.0.2.0/24"), cidr("fd66:6c61:6d65::/64")],
        hostGateway: false,
        ipv6: true,
        uplinkBytes: 190_000,
        responder: { ask: (_query, reply) => reply(Buffer.from("x")) },
        openUplink: () => uplink,
      });
      // As a socket would, but at once.
      guest.emit("data", Buffer.concat(frames));
      expect(guest.destroyed).toBe(false);
      const out = uplink.frames.map(parse).filter(({ kind, icmpType }) => kind === "ip" && icmpType !== 136);
      const sources = out.map(({ source }) => formatAddress(source));
      expect(sources.filter((source) => source !== GUEST[4] && source !== GUEST[6])).toEqual([]);
      const forbidden = out.filter(({ destination }) => FORBIDDEN.some((one) => contains(one, destination)));
      expect(forbidden).toEqual([]);
      path.destroy();
    }),
    { seed: 20_264, numRuns: 1_500 },
  );
});

it("a packet's offsets are within its frame", () => {
  fc.assert(
    fc.property(fc.oneof(mutated, random), fc.nat(250), (frame, there) => {
      const packet = new Packet();
      const end = Math.min(frame.length, 4 + there);
      packet.parse(frame, 4, end, frame.length - 4);
      if (packet.kind !== "ip") return;
      expect(packet.transportAt).toBeLessThanOrEqual(packet.payloadAt);
      expect(packet.payloadAt).toBeLessThanOrEqual(packet.endAt);
      expect(packet.endAt).toBeLessThanOrEqual(packet.frameBytes);
    }),
    { seed: 20_265, numRuns: 5_000 },
  );
});

it("a DNS message is read or not, in bounded time", () => {
  const policy = new Policy({ egress: { allow: ["a.test"] }, resolvers: [], isHost: () => false });
  const watch = new DnsWatch(policy);
  const seed =
    "123481800001000200000000016104746573740000010001c00c000500010000003c0004016201c0c00c000100010000003c0004c6336401";
  const message = fc.oneof(
    fc.uint8Array({ maxLength: 600 }).map((bytes) => Buffer.from(bytes)),
    fc.array(fc.tuple(fc.nat(60), fc.nat(255)), { maxLength: 6 }).map((changes) => {
      const bytes = Buffer.from(seed, "hex");
      for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value;
      return bytes;
    }),
  );
  fc.assert(
    fc.property(message, (bytes) => {
      const read = readMessage(bytes);
      expect(read?.question.name.length ?? 0).toBeLessThanOrEqual(254);
      expect((read === undefined ? [] : addressesOf(bytes, read)).length).toBeLessThanOrEqual(256);
      watch.ask(parse(udp({ to: "192.0.2.53", port: 53 }, bytes)));
      watch.answer(parse(udp({ from: "192.0.2.53", to: GUEST[4], sourcePort: 53 }, bytes)));
      watch.answer(
        parse(tcp({ from: "192.0.2.53", to: GUEST[4], sourcePort: 53 }, { payload: bytes, flags: 24 })),
      );
      expect(watch.questionCount).toBeLessThanOrEqual(1_024);
    }),
    { seed: 20_266, numRuns: 5_000 },
  );
});

it("a rule is read or refused", () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.stringMatching(/^[*a-c.0-9:/[\]-]{0,40}$/)), (text) => {
      let said: unknown;
      try {
        said = parseRule(text).text;
      } catch (error) {
        said = error instanceof NetworkError && error.code;
      }
      expect([text, "invalid-rule"]).toContain(said);
    }),
    { seed: 20_267, numRuns: 5_000 },
  );
});

it("an address is what it was written as", () => {
  fc.assert(
    fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), (text) => {
      const parsed = address(text);
      expect(address(formatAddress(parsed))).toBe(parsed);
    }),
    { seed: 20_268, numRuns: 3_000 },
  );
});
