/** The frame decoder on whatever a guest may send: the same frames, and the same refusal, in whatever pieces. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { FrameType } from "../../src/agent/protocol/frame.ts";
import { decodeJson, encodeFrame, FrameDecoder, ProtocolError } from "../../src/agent/protocol/frame.ts";

const SEED = 20_311;

interface Seen {
  readonly frames: readonly string[];
  readonly refusal: string | undefined;
}

/** Copies what it is given, so that a decoder that keeps a chunk and is surprised by its reuse would show. */
function decode(chunks: readonly Buffer[]): Seen {
  const decoder = new FrameDecoder();
  const frames: string[] = [];
  try {
    for (const chunk of chunks)
      for (const { type, id, payload } of decoder.decode(Buffer.from(chunk)))
        frames.push(`${type} ${id} ${payload.toString("hex")}`);
    return { frames, refusal: undefined };
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    return { frames, refusal: error.message };
  }
}

function cut(bytes: Buffer, places: readonly number[]): Buffer[] {
  const ends = [...places.map((place) => place % (bytes.length + 1)), bytes.length].sort((a, b) => a - b);
  return ends.map((end, index) => bytes.subarray(ends[index - 1] ?? 0, end));
}

const payload = fc.oneof(
  { weight: 8, arbitrary: fc.uint8Array({ minLength: 1, maxLength: 200 }) },
  {
    weight: 1,
    arbitrary: fc.integer({ min: 1, max: 65_536 }).map((size) => new Uint8Array(size).fill(size)),
  },
);
const id = fc.integer({ min: 1, max: 0xffff_ffff });
const withPayload = fc
  .tuple(fc.constantFrom(3, 5), id, payload)
  .filter(([type, , bytes]) => type === 5 || bytes.length >= 2);
const frame = fc.oneof(
  withPayload.map(([type, stream, bytes]) => encodeFrame(type as FrameType, stream, bytes)),
  fc.tuple(id, fc.uint8Array({ minLength: 4, maxLength: 4 })).map(([n, bytes]) => encodeFrame(6, n, bytes)),
  id.map((n) => encodeFrame(7, n)),
  fc.uint8Array({ minLength: 2, maxLength: 300 }).map((bytes) => encodeFrame(4, 0, bytes)),
);
const conversation = fc.array(frame, { maxLength: 12 }).map((frames) => Buffer.concat(frames));
const places = fc.array(fc.nat(), { maxLength: 40 });
const edits = fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { minLength: 1, maxLength: 6 });

function edited(bytes: Buffer, changes: readonly (readonly [number, number])[]): Buffer {
  const copy = Buffer.from(bytes);
  for (const [place, value] of changes) if (copy.length > 0) copy[place % copy.length] = value;
  return copy;
}

describe("frames in pieces", () => {
  it("are those of the whole", () => {
    const property = fc.property(conversation, places, (bytes, cuts) => {
      const whole = decode([bytes]);
      expect(whole.refusal).toBeUndefined();
      expect(decode(cut(bytes, cuts))).toEqual(whole);
    });
    fc.assert(property, { seed: SEED, numRuns: 1_500 });
  });

  it("are refused alike when bytes are changed", () => {
    let refused = 0;
    const property = fc.property(conversation, edits, places, (bytes, changes, cuts) => {
      const damaged = edited(bytes, changes);
      const whole = decode([damaged]);
      if (whole.refusal !== undefined) refused++;
      expect(decode(cut(damaged, cuts))).toEqual(whole);
    });
    fc.assert(property, { seed: SEED + 1, numRuns: 3_000 });
    expect(refused).toBeGreaterThan(500);
  });

  it("are refused alike when they are noise", () => {
    const noise = fc.uint8Array({ maxLength: 400 }).map((bytes) => Buffer.from(bytes));
    const property = fc.property(noise, places, (bytes, cuts) => {
      expect(decode(cut(bytes, cuts))).toEqual(decode([bytes]));
    });
    fc.assert(property, { seed: SEED + 2, numRuns: 3_000 });
  });

  it("are the same cut at every place, and byte by byte", () => {
    const [bytes = Buffer.alloc(0)] = fc.sample(
      conversation.filter(({ length }) => length > 300 && length < 1_000),
      { seed: SEED + 3, numRuns: 1 },
    );
    const whole = decode([bytes]);
    for (let place = 0; place <= bytes.length; place++) expect(decode(cut(bytes, [place]))).toEqual(whole);
    expect(decode(Array.from(bytes, (byte) => Buffer.of(byte)))).toEqual(whole);
  });
});

describe("JSON in frames", () => {
  const refusalOf = (bytes: Uint8Array): string | undefined => {
    try {
      decodeJson({ type: 4, id: 0, payload: Buffer.from(bytes) });
      return undefined;
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      return error.message;
    }
  };

  it("is an object, or refused; never anything else", () => {
    const text = fc.oneof(
      fc.json().map((json) => Buffer.from(json)),
      fc.json().map((json) => Buffer.from(json.replace(/[,:]/, ""))),
      fc.tuple(fc.json(), edits).map(([json, changes]) => edited(Buffer.from(json), changes)),
      fc.uint8Array({ maxLength: 60 }),
      fc
        .string({ unit: fc.constantFrom("[", "]", "{", "}", '"', ",", ":", "\\", "a", "1") })
        .map((json) => Buffer.from(json)),
    );
    const property = fc.property(text, (bytes) => {
      const refusal = refusalOf(bytes);
      const asked =
        refusal === undefined
          ? /^\{[^]*\}$/.test(Buffer.from(bytes).toString().trim())
          : !/\p{C}/u.test(refusal);
      expect(asked).toBe(true);
    });
    fc.assert(property, { seed: SEED + 4, numRuns: 5_000 });
  });

  it("is counted as deep as it is, whatever its strings hold", () => {
    const words = fc.string({ unit: fc.constantFrom("[", "]", "{", "}", '"', "\\") });
    const property = fc.property(fc.integer({ min: 1, max: 80 }), words, (levels, word) => {
      const inner = JSON.stringify({ [word]: word });
      const bytes = Buffer.from(`${'{"a":'.repeat(levels - 1)}${inner}${"}".repeat(levels - 1)}`);
      expect(refusalOf(bytes) === undefined).toBe(levels <= 64);
    });
    fc.assert(property, { seed: SEED + 5, numRuns: 500 });
  });
});
