import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Frame } from "../../src/agent/protocol/frame.ts";
import {
  decodeJson,
  encodeCredit,
  encodeFrame,
  encodeJson,
  FrameDecoder,
  FrameType,
  ProtocolError,
} from "../../src/agent/protocol/frame.ts";

function decodeAll(chunks: readonly Buffer[]): { type: number; id: number; payload: string }[] {
  const decoder = new FrameDecoder();
  const frames: { type: number; id: number; payload: string }[] = [];
  for (const chunk of chunks)
    for (const { type, id, payload } of decoder.decode(chunk))
      frames.push({ type, id, payload: payload.toString("hex") });
  return frames;
}

function header(fields: {
  length?: number;
  type?: number;
  flags?: number;
  reserved?: number;
  id?: number;
}): Buffer {
  const bytes = Buffer.alloc(12);
  bytes.writeUInt32LE(fields.length ?? 0, 0);
  bytes.writeUInt8(fields.type ?? FrameType.eof, 4);
  bytes.writeUInt8(fields.flags ?? 0, 5);
  bytes.writeUInt16LE(fields.reserved ?? 0, 6);
  bytes.writeUInt32LE(fields.id ?? 1, 8);
  return bytes;
}

describe("frames", () => {
  it("are the same in any pieces", () => {
    const frames = [
      encodeJson(FrameType.hello, 0, { generation: 1 }),
      encodeFrame(FrameType.data, 7, Buffer.alloc(65_536, 1)),
      encodeCredit(7, 4096),
      encodeFrame(FrameType.eof, 7),
      encodeFrame(FrameType.reset, 8, Buffer.from("gone")),
    ];
    const whole = Buffer.concat(frames);
    const expected = decodeAll([whole]);
    expect(expected.map(({ type }) => type)).toEqual([1, 5, 6, 7, 8]);
    const bytes = Array.from(whole, (_byte, index) => whole.subarray(index, index + 1));
    expect(decodeAll(bytes)).toEqual(expected);
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: whole.length - 1 }), { maxLength: 30 }), (cuts) => {
        const places = [0, ...cuts.sort((a, b) => a - b), whole.length];
        const chunks = places.slice(1).map((end, index) => whole.subarray(places[index], end));
        expect(decodeAll(chunks)).toEqual(expected);
      }),
      { seed: 20_263, numRuns: 300 },
    );
  });

  it.each([
    ["type 0", header({ type: 0 })],
    ["type 9", header({ type: 9 })],
    ["flags", header({ flags: 1 })],
    ["reserved bytes", header({ reserved: 1 })],
    ["HELLO with an id", header({ type: FrameType.hello, length: 2, id: 1 })],
    ["EVENT with an id", header({ type: FrameType.event, length: 2, id: 1 })],
    ["DATA without an id", header({ type: FrameType.data, length: 1, id: 0 })],
    ["empty DATA", header({ type: FrameType.data, length: 0 })],
    ["DATA over 64 KiB", header({ type: FrameType.data, length: 65_537 })],
    ["DATA of 4 GiB", header({ type: FrameType.data, length: 0xffff_ffff })],
    ["RESPONSE over 4 MiB", header({ type: FrameType.response, length: (4 << 20) + 1 })],
    ["HELLO over 64 KiB", header({ type: FrameType.hello, length: 65_537, id: 0 })],
    ["CREDIT of 3 bytes", header({ type: FrameType.credit, length: 3 })],
    ["CREDIT of 8 bytes", header({ type: FrameType.credit, length: 8 })],
    ["EOF with a payload", header({ type: FrameType.eof, length: 1 })],
    ["RESET with a long reason", header({ type: FrameType.reset, length: 1_025 })],
  ])("refuses %s by the header alone", (_name, bytes) => {
    expect(() => decodeAll([bytes])).toThrow(ProtocolError);
  });

  it("puts a large frame together that comes byte by byte", () => {
    const payload = Buffer.alloc(100_000, "ab");
    const bytes = encodeFrame(FrameType.response, 1, payload);
    const chunks = Array.from(bytes, (byte) => Buffer.of(byte));
    expect(decodeAll(chunks)).toEqual([
      { type: FrameType.response, id: 1, payload: payload.toString("hex") },
    ]);
  });

  it("throws nothing but its own error, whatever comes", () => {
    const property = fc.property(fc.array(fc.uint8Array({ maxLength: 64 }), { maxLength: 20 }), (chunks) => {
      try {
        decodeAll(chunks.map((chunk) => Buffer.from(chunk)));
      } catch (error) {
        if (!(error instanceof ProtocolError)) throw error;
      }
    });
    expect(() => fc.assert(property, { seed: 20_264, numRuns: 3_000 })).not.toThrow();
  });
});

describe("JSON in frames", () => {
  const frame = (text: string | Uint8Array): Frame => ({
    type: FrameType.event,
    id: 0,
    payload: Buffer.from(text),
  });

  it("may nest 64 levels, and brackets in strings do not count", () => {
    const nested = (levels: number): string => `${'{"a":'.repeat(levels - 1)}{}${"}".repeat(levels - 1)}`;
    expect(decodeJson(frame(nested(64)))).toBeTypeOf("object");
    expect(() => decodeJson(frame(nested(65)))).toThrow(ProtocolError);
    expect(decodeJson(frame(`{"a":"${"[{".repeat(500)}\\"${"[".repeat(100)}"}`))).toBeTypeOf("object");
  });

  it.each([
    ["nothing like JSON", "hello"],
    ["half of it", '{"a":'],
    ["an array", "[1]"],
    ["a string", '"x"'],
    ["null", "null"],
    ["bytes that are not UTF-8", Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d])],
    ["a million brackets", "[".repeat(1_000_000)],
  ])("refuses %s", (_name, text) => {
    expect(() => decodeJson(frame(text))).toThrow(ProtocolError);
  });

  it("cannot change the prototype", () => {
    const value = decodeJson(frame('{"__proto__": {"polluted": true}}'));
    expect(Object.getPrototypeOf(value)).toBe(Object.prototype);
    expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
  });
});
