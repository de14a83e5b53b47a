import { afterEach, describe, expect, it } from "vitest";
import { FramePath, GATEWAY_MAC } from "../../src/network/frames/path.ts";
import type { FramePathOptions } from "../../src/network/frames/path.ts";
import { cidr, formatAddress } from "../../src/network/address.ts";
import { checksum } from "../../src/network/packet/build.ts";
import { Policy } from "../../src/network/policy/policy.ts";
import type { EgressOptions } from "../../src/network/policy/policy.ts";
import { Refusals } from "../../src/network/policy/refusals.ts";
import type { Refusal } from "../../src/network/policy/refusals.ts";
import { address, arp, echo, FrameEnd, GUEST, MAC, parse, solicitation, tcp, udp } from "./frames.ts";
import { probes } from "./probes.ts";

const HOST = [address("192.0.2.2"), address("fd00::2")];
const RESOLVER = "192.0.2.2";

interface Opened {
  readonly guest: FrameEnd;
  readonly uplink: FrameEnd;
  readonly refused: Refusal[];
  readonly path: FramePath;
  readonly isOpen: () => boolean;
}

const opened: FramePath[] = [];
afterEach(() => {
  for (const path of opened.splice(0)) path.destroy();
});

function open(egress: EgressOptions = {}, options: Partial<FramePathOptions> = {}): Opened {
  const [guest, uplink] = [new FrameEnd(), new FrameEnd()];
  const refused: Refusal[] = [];
  let isOpen = false;
  const path = new FramePath(guest, {
    policy: new Policy({ egress, resolvers: [address(RESOLVER)], isHost: (one) => HOST.includes(one) }),
    refusals: new Refusals((refusal) => refused.push(refusal)),
    mac: MAC,
    addresses: [address(GUEST[4]), address(GUEST[6])],
    gateways: [address("10.0.2.2"), address("fd66:6c61:6d65::2")],
    subnets: [cidr("10.0.2.0/24"), cidr("fd66:6c61:6d65::/64")],
    hostGateway: false,
    ipv6: true,
    uplinkBytes: 190_000,
    openUplink: () => {
      isOpen = true;
      return uplink;
    },
    ...options,
  });
  opened.push(path);
  return { guest, uplink, refused, path, isOpen: () => isOpen };
}

const SENTINEL = udp({ to: "198.51.100.200", port: 7 }, "sentinel");
const isSentinel = (frame: Buffer): boolean => frame.equals(SENTINEL);

const isOfGuest = (frame: Buffer): boolean =>
  frame.readUInt16BE(16) !== 0x0806 && parse(frame).icmpType !== 136;

/** Whatever reached the uplink of these frames; announcements are not of the guest. */
async function outOf({ guest, uplink }: Opened, frames: readonly Buffer[]): Promise<Buffer[]> {
  guest.give(Buffer.concat([...frames, SENTINEL]));
  const until = Date.now() + 5_000;
  while (!uplink.frames.some(isSentinel)) {
    if (Date.now() > until) throw new Error("the last frame did not come out");
    await new Promise((resolve) => setImmediate(resolve));
  }
  const out = uplink.frames.splice(0).filter((frame) => !isSentinel(frame));
  return out.filter(isOfGuest);
}

describe("what a guest may send", () => {
  it.each(probes)("%s is %s", async (_name, outcome, frame) => {
    const there = open();
    const out = await outOf(there, [frame]);
    expect(out).toEqual(outcome === "passes" ? [frame] : []);
    expect(there.refused.length).toBe(outcome === "refused" ? 1 : 0);
    // A reset, or "prohibited": the guest does not wait for what will not come.
    const replies = there.guest.frames.map(parse);
    expect(replies.length).toBe(outcome === "refused" ? 1 : 0);
    for (const reply of replies)
      expect([3, 1].includes(reply.icmpType) || (reply.tcpFlags & 4) !== 0).toBe(true);
  });

  it("has a probe for everything", () => {
    expect(probes.filter(([, outcome]) => outcome !== "passes").length).toBeGreaterThan(100);
  });
});

/** What has to be zero over a whole segment with its pseudo-header. */
function transportSum(packet: ReturnType<typeof parse>): number {
  const { data, at, transportAt, endAt, protocol, version } = packet;
  const segment = data.subarray(at + transportAt, at + endAt);
  if (version === 4 && protocol === 1) return checksum([segment]);
  const ends = version === 4 ? data.subarray(at + 26, at + 34) : data.subarray(at + 22, at + 54);
  const tail = Buffer.from([0, 0, segment.length >> 8, segment.length & 0xff, 0, 0, 0, protocol]);
  return checksum([ends, tail, segment]);
}

describe("refusals", () => {
  it.each([
    [
      "a connection",
      tcp({ to: "127.0.0.1", port: 80 }, { sequence: 41 }),
      { flags: 20, sequence: 0, ack: 42 },
    ],
    [
      "data",
      tcp({ to: "127.0.0.1" }, { flags: 24, acknowledged: 77, payload: "abc" }),
      { flags: 4, sequence: 77, ack: 0 },
    ],
    ["an IPv6 connection", tcp({ to: "::1" }, { sequence: 0xffff_ffff }), { flags: 20, sequence: 0, ack: 0 }],
  ])("reset %s", async (_name, frame, { flags, sequence, ack }) => {
    const there = open();
    await outOf(there, [frame]);
    const [reply] = there.guest.frames.map(parse);
    const asked = parse(frame);
    expect(reply).toMatchObject({ source: asked.destination, destination: asked.source, tcpFlags: flags });
    const at = (reply?.at ?? 0) + (reply?.transportAt ?? 0);
    expect([reply?.data.readUInt32BE(at + 4), reply?.data.readUInt32BE(at + 8)]).toEqual([sequence, ack]);
    expect(reply && transportSum(reply)).toBe(0);
  });

  it("do not answer a reset, nor an error with an error", async () => {
    const there = open();
    await outOf(there, [tcp({ to: "127.0.0.1" }, { flags: 4 }), echo({ to: "127.0.0.1" }, 3)]);
    expect(there.guest.frames).toEqual([]);
  });

  it.each([
    ["IPv4", udp({ to: "169.254.169.254", port: 80 }), 3, 13],
    ["IPv6", udp({ to: "fd00:ec2::254", port: 80 }), 1, 1],
  ])("say prohibited in %s, and quote the packet", async (_name, frame, type, code) => {
    const there = open();
    await outOf(there, [frame]);
    const [reply] = there.guest.frames.map(parse);
    const start = (reply?.at ?? 0) + (reply?.transportAt ?? 0);
    expect([reply?.data[start], reply?.data[start + 1]]).toEqual([type, code]);
    expect(reply?.data.subarray(start + 8).equals(frame.subarray(18))).toBe(true);
    expect(reply && transportSum(reply)).toBe(0);
  });

  it("are told with address, port and reason, once for each, and not without end", async () => {
    const there = open();
    const same = Array.from({ length: 5 }, () => tcp({ to: "169.254.169.254", port: 80 }));
    const more = Array.from({ length: 100 }, (_, i) => udp({ to: "127.0.0.1", port: i + 1 }));
    await outOf(there, [...same, ...more]);
    expect(there.refused[0]).toEqual({
      protocol: "tcp",
      address: "169.254.169.254",
      port: 80,
      names: [],
      reason: "it is link-local",
      untold: 0,
    });
    expect(there.refused.length).toBe(20);
  });
});

describe("the gateway", () => {
  it.each([
    ["ARP", arp("10.0.2.2")],
    ["neighbour discovery", solicitation("fd66:6c61:6d65::2")],
  ])("is found by %s, without passt", async (_name, question) => {
    const { guest, isOpen } = open();
    guest.give(question);
    const reply = await guest.next((packet) => packet.kind === "arp" || packet.icmpType === 136);
    expect(reply.sourceMac.equals(GATEWAY_MAC)).toBe(true);
    expect(isOpen()).toBe(false);
  });

  it.each([
    ["IPv4", echo({ to: "10.0.2.2" }), 0],
    ["IPv6", echo({ to: "fd66:6c61:6d65::2" }), 129],
  ])("answers an echo of %s", async (_name, request, type) => {
    const { guest } = open();
    guest.give(request);
    const reply = await guest.next(({ icmpType }) => icmpType === type);
    expect(reply.data.subarray(-8).equals(request.subarray(-8))).toBe(true);
    expect(transportSum(reply)).toBe(0);
  });

  it("stands for the host when that was asked for, and nothing else does", async () => {
    const there = open({ policy: "deny" }, { hostGateway: true });
    const wanted = tcp({ to: "10.0.2.2", port: 5_432 });
    const frames = [wanted, tcp({ to: "127.0.0.1", port: 5_432 }), tcp({ to: "192.0.2.2", port: 5_432 })];
    there.guest.give(Buffer.concat(frames));
    await there.uplink.next(({ destination }) => destination === address("10.0.2.2"));
    expect(there.refused.map((refusal) => refusal.address)).toEqual(["127.0.0.1", "192.0.2.2"]);
  });

  it("answers for names that are asked there", async () => {
    const responder = {
      ask: (query: Buffer, reply: (answer: Buffer) => void) => reply(Buffer.from(`re: ${query.length}`)),
    };
    const { guest } = open({}, { responder });
    guest.give(udp({ to: "10.0.2.2", port: 53 }, query("example.com")));
    const reply = await guest.next(({ sourcePort }) => sourcePort === 53);
    expect(reply.payload.toString()).toBe("re: 29");
    expect(transportSum(reply)).toBe(0);
  });
});

describe("clients of published ports", () => {
  it.each([
    ["the host's own address", "192.0.2.2"],
    ["the gateway, for the host's loopback", "10.0.2.2"],
    ["a link-local address", "169.254.7.7"],
  ])("are answered at %s, whatever the policy", async (_name, client) => {
    const there = open({ policy: "deny" });
    there.path.connectUplink();
    const ends = { from: client, to: GUEST[4], sourcePort: 40_000, port: 80 };
    there.uplink.give(Buffer.concat([tcp(ends), udp(ends)]));
    await there.guest.next(({ protocol }) => protocol === 17);
    const back = { to: client, sourcePort: 80, port: 40_000 };
    const answers = [tcp(back, { flags: 18 }), udp(back), tcp(back, { flags: 16 })];
    const others = [
      tcp(back),
      tcp({ ...back, port: 40_001 }, { flags: 18 }),
      udp({ ...back, sourcePort: 81 }),
    ];
    there.guest.give(Buffer.concat([...answers, ...others, answers[1] ?? Buffer.alloc(0)]));
    for (const answer of [...answers, answers[1]])
      expect((await there.uplink.next(({ kind, icmpType }) => kind === "ip" && icmpType < 0)).data).toEqual(
        answer,
      );
    expect(there.refused.length).toBeGreaterThan(0);
  });

  it("on the host's IPv6 loopback come from the gateway, and passt's own addresses are seen by passt only", async () => {
    const there = open({ policy: "deny" });
    there.path.connectUplink();
    const [passt, guest] = ["fe80::fc:ff:fe00:1", "fe80::1234"];
    there.uplink.give(tcp({ from: passt, to: guest, sourcePort: 40_000, port: 80 }));
    const came = await there.guest.next(({ tcpFlags }) => tcpFlags === 2);
    expect([came.source, came.destination]).toEqual([address("fd66:6c61:6d65::2"), address(GUEST[6])]);
    expect(transportSum(came)).toBe(0);
    there.guest.give(tcp({ to: "fd66:6c61:6d65::2", sourcePort: 80, port: 40_000 }, { flags: 18 }));
    const went = await there.uplink.next(({ tcpFlags }) => tcpFlags === 18);
    expect([went.source, went.destination]).toEqual([address(guest), address(passt)]);
    expect(transportSum(went)).toBe(0);
    expect(there.refused).toEqual([]);
  });
});

/** A question in DNS's own bytes, of type A unless another is asked for. */
function query(name: string, { id = 0x1234, type = 1 } = {}): Buffer {
  const labels = name.split(".").map((label) => Buffer.concat([Buffer.of(label.length), Buffer.from(label)]));
  const head = Buffer.from([id >> 8, id & 0xff, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
  return Buffer.concat([head, ...labels, Buffer.from([0, 0, type, 0, 1])]);
}

function answerTo(question: Buffer, ip: string, ttlSeconds = 60): Buffer {
  const head = Buffer.from(question);
  head.writeUInt16BE(0x8180, 2);
  head.writeUInt16BE(1, 6);
  const ttl = Buffer.alloc(4);
  ttl.writeUInt32BE(ttlSeconds);
  const record = Buffer.concat([
    Buffer.from([0xc0, 12, 0, 1, 0, 1]),
    ttl,
    Buffer.from([0, 4]),
    Buffer.from(ip.split(".").map(Number)),
  ]);
  return Buffer.concat([head, record]);
}

describe("rules with names", () => {
  const ask = (name: string, sourcePort = 4_000) => udp({ to: RESOLVER, port: 53, sourcePort }, query(name));
  const reply = (bytes: Buffer, port = 4_000) =>
    udp({ from: RESOLVER, to: GUEST[4], sourcePort: 53, port }, bytes);

  it("hold for the addresses that DNS gave, and for nothing before", async () => {
    const there = open({ allow: ["*.example.com:443"] });
    const wanted = tcp({ to: "198.51.100.9", port: 443 });
    there.guest.give(Buffer.concat([wanted, ask("www.example.com")]));
    await there.uplink.next(({ destinationPort }) => destinationPort === 53);
    expect(there.refused.map(({ reason }) => reason)).toEqual(["no rule allows it"]);
    there.uplink.give(reply(answerTo(query("www.example.com"), "198.51.100.9")));
    await there.guest.next(({ sourcePort }) => sourcePort === 53);
    there.guest.give(Buffer.concat([tcp({ to: "198.51.100.9", port: 80 }), wanted]));
    const out = await there.uplink.next(({ protocol }) => protocol === 6);
    expect(out.destinationPort).toBe(443);
    expect(there.refused.at(-1)).toMatchObject({ port: 80, names: ["www.example.com"] });
  });

  it.each([
    ["an answer that nobody asked for", "www.example.com", 4_001, "198.51.100.9"],
    ["an answer to another question", "api.example.com", 4_000, "198.51.100.9"],
    ["an answer that names the loopback", "www.example.com", 4_000, "127.0.0.1"],
    ["an answer that names the host", "www.example.com", 4_000, "192.0.2.2"],
    ["an answer that names metadata", "www.example.com", 4_000, "169.254.169.254"],
  ])("do not believe %s", async (_name, name, port, ip) => {
    const there = open({ allow: ["*.example.com"] });
    there.guest.give(ask("www.example.com"));
    await there.uplink.next(({ destinationPort }) => destinationPort === 53);
    there.uplink.give(reply(answerTo(query(name), ip), port));
    await there.guest.next(({ sourcePort }) => sourcePort === 53);
    there.guest.give(tcp({ to: ip, port: 443 }));
    await there.guest.next(({ tcpFlags }) => tcpFlags === 20);
    expect(there.refused.length).toBe(1);
  });

  it("answer questions for other names at once, and do not pass them on", async () => {
    const there = open({ allow: ["example.com"] });
    there.guest.give(Buffer.concat([ask("secret.attacker.test"), ask("example.com")]));
    const refused = await there.guest.next(({ sourcePort }) => sourcePort === 53);
    expect(refused.payload.readUInt16BE(2) & 0x800f).toBe(0x8003);
    const passed = await there.uplink.next(({ destinationPort }) => destinationPort === 53);
    expect(passed.payload.includes("example")).toBe(true);
    expect(there.refused).toMatchObject([{ protocol: "dns", names: ["secret.attacker.test"] }]);
  });

  it.each([
    ["another resolver", udp({ to: "198.51.100.53", port: 53 }, query("example.com"))],
    ["DNS over TLS", tcp({ to: "198.51.100.53", port: 853 })],
    [
      "half a question over TCP",
      tcp({ to: RESOLVER, port: 53 }, { flags: 24, payload: Buffer.from([0, 40, 1, 2]) }),
    ],
  ])("leave no way around by %s", async (_name, frame) => {
    const there = open({ deny: ["example.com"] });
    there.guest.give(frame);
    await there.guest.next(({ icmpType, tcpFlags }) => icmpType === 3 || (tcpFlags & 4) !== 0);
    expect(there.uplink.frames.filter(isOfGuest)).toEqual([]);
  });

  it("learn from answers over TCP, however they are cut", async () => {
    const there = open({ allow: ["example.com"] });
    const question = query("example.com");
    const framed = (bytes: Buffer) =>
      Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 0xff]), bytes]);
    const to = { to: RESOLVER, port: 53 };
    there.guest.give(Buffer.concat([tcp(to), tcp(to, { flags: 24, payload: framed(question) })]));
    await there.uplink.next(({ tcpFlags }) => tcpFlags === 24);
    const answer = framed(answerTo(question, "198.51.100.9"));
    const from = { from: RESOLVER, to: GUEST[4], sourcePort: 53, port: 4_000 };
    const pieces = [answer.subarray(0, 1), answer.subarray(1, 30), answer.subarray(30)];
    let sequence = 501;
    const segments = pieces.map((payload) => {
      const segment = tcp(from, { flags: 24, sequence, payload });
      sequence += payload.length;
      return segment;
    });
    there.uplink.give(Buffer.concat([tcp(from, { flags: 18, sequence: 500 }), ...segments]));
    await there.guest.next(({ data, at, endAt }) => data.subarray(at, at + endAt).includes(pieces[2] ?? "?"));
    there.guest.give(tcp({ to: "198.51.100.9", port: 443 }));
    expect(
      formatAddress((await there.uplink.next(({ destinationPort }) => destinationPort === 443)).destination),
    ).toBe("198.51.100.9");
  });
});

describe("a stream of frames", () => {
  it("ends with a frame larger than any", async () => {
    const { guest, uplink, path } = open();
    path.connectUplink();
    const ended = new Promise((resolve) => uplink.once("close", resolve));
    guest.give(Buffer.from([0xff, 0xff, 0xff, 0xff]));
    await ended;
    expect(guest.destroyed).toBe(true);
  });
});
