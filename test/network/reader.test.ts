import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FrameReader } from "../../src/network/frames/reader.ts";
import type { Packet } from "../../src/network/packet/packet.ts";
import { arp, echo, tcp, udp } from "./frames.ts";

/** The last bytes are numbered, so that a byte out of place shows. */
function large(to: string, sizeBytes: number): Buffer {
  return udp({ to }, Buffer.from(Array.from({ length: sizeBytes }, (_, i) => i & 0xff)));
}

function cut(frame: Buffer, sizeBytes: number): Buffer {
  const copy = Buffer.from(frame.subarray(0, 4 + sizeBytes));
  copy.writeUInt32BE(sizeBytes);
  return copy;
}

const frames: readonly (readonly [name: string, frame: Buffer])[] = [
  ["ARP", arp("10.0.2.2")],
  ["TCP", tcp({ to: "192.0.2.1" })],
  ["TCP of IPv6", tcp({ to: "2001:db8::1" })],
  ["UDP without a payload", udp({ to: "192.0.2.1" }, "")],
  ["a large one", large("192.0.2.2", 9_000)],
  ["as large as it gets", large("192.0.2.2", 65_507)],
  ["echo", echo({ to: "192.0.2.3" })],
  ["less than an Ethernet header", cut(arp("10.0.2.2"), 13)],
  ["nothing", cut(arp("10.0.2.2"), 0)],
];

/** By where they go, in the order in which they came. */
function read(chunks: readonly Buffer[], place = (packet: Packet) => String(packet.destination)) {
  const runs: [string, Buffer][] = [];
  const sinks = new Map<string, { deliver: (pieces: readonly Buffer[]) => void }>();
  const reader = new FrameReader((packet) => {
    const where = place(packet);
    if (where === "drop") return undefined;
    const sink = sinks.get(where) ?? {
      deliver: (pieces: readonly Buffer[]) => void runs.push([where, Buffer.concat(pieces)]),
    };
    sinks.set(where, sink);
    return sink;
  });
  for (const chunk of chunks) reader.push(chunk);
  return runs;
}

function chunksOf(whole: Buffer, cuts: readonly number[]): Buffer[] {
  const places = [...new Set([0, ...cuts.map((place) => place % (whole.length + 1)), whole.length])];
  return places.toSorted((a, b) => a - b).map((place, i, all) => whole.subarray(place, all[i + 1]));
}

describe("FrameReader", () => {
  it("gives every frame to its sink, whole, however the stream is cut", () => {
    fc.assert(
      fc.property(
        fc.array(fc.nat(frames.length - 1), { minLength: 1, maxLength: 12 }),
        fc.array(fc.nat(200_000), { maxLength: 40 }),
        (indexes, cuts) => {
          const bodies = indexes.map((index) => frames[index]?.[1] ?? Buffer.alloc(0));
          const sizes = (packet: Packet) => (packet.frameBytes % 3 === 0 ? "drop" : `${packet.frameBytes}`);
          const runs = read(chunksOf(Buffer.concat(bodies), cuts), sizes);
          const kept = bodies.filter((body) => (body.length - 4) % 3 !== 0);
          expect(Buffer.concat(runs.map(([, run]) => run)).equals(Buffer.concat(kept))).toBe(true);
          for (const [where, run] of runs)
            for (let at = 0; at < run.length; at += 4 + run.readUInt32BE(at))
              expect(String(run.readUInt32BE(at))).toBe(where);
        },
      ),
      { seed: 20_261, numRuns: 300 },
    );
  });

  it("says the same byte by byte", () => {
    const whole = Buffer.concat(frames.filter(([, { length }]) => length < 1_000).map(([, bytes]) => bytes));
    const joined = (chunks: readonly Buffer[]) => Buffer.concat(read(chunks).map(([, run]) => run));
    expect(joined([...whole].map((byte) => Buffer.of(byte))).equals(joined([whole]))).toBe(true);
    expect(joined([whole]).equals(whole)).toBe(true);
  });

  it("joins neighbours that go the same way", () => {
    const one = udp({ to: "192.0.2.1" });
    expect(read([Buffer.concat([one, one, one, arp("10.0.2.2"), one])], ({ kind }) => kind)).toHaveLength(3);
  });

  it.each([
    ["a frame larger than any", 65_554],
    ["a frame of 4 GiB", 0xffff_ffff],
  ])("refuses %s before its bytes come", (_name, sizeBytes) => {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(sizeBytes);
    expect(() => read([length])).toThrow(expect.objectContaining({ code: "network-failed" }));
  });
});
