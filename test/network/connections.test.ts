import { describe, expect, it } from "vitest";
import { Connections } from "../../src/network/frames/connections.ts";
import { checksum } from "../../src/network/packet/build.ts";
import { address, GUEST, parse, tcp } from "./frames.ts";

const CLIENT = "198.51.100.1";
const ACK = 16;

/** With options, and a window. */
function segment(flags: number, window: number, options: readonly number[] = [], payload = ""): Buffer {
  const plain = parse(
    tcp(
      { to: CLIENT, sourcePort: 80, port: 40_000 },
      { flags, payload: Buffer.concat([Buffer.from(options), Buffer.from(payload)]) },
    ),
  );
  const { data, at, transportAt } = plain;
  const start = at + transportAt;
  data.writeUInt8(0x50 + ((options.length / 4) << 4), start + 12);
  data.writeUInt16BE(window, start + 14);
  data.writeUInt16BE(0, start + 16);
  data.writeUInt16BE(sumOf(data), start + 16);
  return data;
}

function sumOf(frame: Buffer): number {
  const { at, transportAt, endAt } = parse(frame);
  const body = frame.subarray(at + transportAt, at + endAt);
  const tail = Buffer.from([0, 6, body.length >> 8, body.length & 0xff]);
  return checksum([frame.subarray(at + 26, at + 34), tail, body]);
}

function windowOf(frame: Buffer): number {
  const { data, at, transportAt } = parse(frame);
  return data.readUInt16BE(at + transportAt + 14);
}

function make() {
  const sent: Buffer[] = [];
  const clock = { ms: 0 };
  const connections = new Connections(
    3 * 65_436,
    (frame) => sent.push(frame),
    () => clock.ms,
  );
  const say = (frame: Buffer): Buffer => {
    connections.guestSaid(parse(frame));
    return frame;
  };
  return { sent, clock, connections, say };
}

const SCALE_6 = [2, 4, 0xff, 0xc8, 1, 3, 3, 6];

describe("a window that is larger than the socket", () => {
  it.each<[string, number, number[], number, number]>([
    ["is cut", 18, SCALE_6, 40_000, 3_067],
    ["that fits is left", 18, SCALE_6, 3_000, 3_000],
    ["without a scale is left", 18, [2, 4, 0xff, 0xc8], 65_535, 65_535],
    ["with the largest scale has one at least", 2, [3, 3, 14, 0], 65_535, 11],
    ["after a damaged option is left", 18, [9, 0, 0, 0], 65_535, 65_535],
    ["after an option that is too long is left", 18, [3, 40, 6, 0], 65_535, 65_535],
  ])("%s", (_name, flags, options, window, expected) => {
    const { say, connections } = make();
    expect(windowOf(say(segment(flags, 65_535, options)))).toBe(65_535);
    const frame = say(segment(ACK, window));
    expect(windowOf(frame)).toBe(expected);
    expect(sumOf(frame)).toBe(0);
    connections[Symbol.dispose]();
  });

  it("of a connection whose beginning was not seen is left", () => {
    const { say, connections } = make();
    expect(windowOf(say(segment(ACK, 65_535)))).toBe(65_535);
    connections[Symbol.dispose]();
  });
});

describe("the last acknowledgement", () => {
  it("is said again, later and later, until passt says something or it is enough", () => {
    const { say, sent, clock, connections } = make();
    const frame = say(segment(ACK, 1_000));
    for (let ms = 0; ms < 60_000; ms += 100) {
      clock.ms = ms;
      connections.tick();
    }
    expect(sent).toHaveLength(7);
    for (const one of sent) expect(one.equals(frame)).toBe(true);
    connections[Symbol.dispose]();
  });

  it.each<[string, Buffer | undefined]>([
    ["data of the guest's, which it says again itself", segment(24, 1_000, [], "data")],
    ["the end", segment(17, 1_000)],
    ["a reset", segment(4, 0)],
    ["passt's answer", undefined],
  ])("is not said again behind %s", (_name, next) => {
    const { say, sent, clock, connections } = make();
    say(segment(ACK, 1_000));
    if (next === undefined)
      connections.passtSaid(
        parse(tcp({ from: CLIENT, to: GUEST[4], sourcePort: 40_000, port: 80 }, { flags: 24 })),
      );
    else say(next);
    clock.ms = 1_000;
    connections.tick();
    expect(sent).toEqual([]);
    connections[Symbol.dispose]();
  });

  it("and the connections that are known are bounded", () => {
    const { connections } = make();
    for (let i = 0; i < 10_000; i++)
      connections.guestSaid(
        parse(tcp({ to: CLIENT, sourcePort: 1 + (i % 60_000), port: 80 }, { flags: ACK })),
      );
    expect(connections.size).toBe(4_096);
    expect(address(CLIENT)).toBeTypeOf("number");
    connections[Symbol.dispose]();
  });
});
