/** The encoded messages that the guest's implementation is tested against, too. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { encodeFrame, FrameDecoder, FrameType, ProtocolError } from "../../src/agent/protocol/frame.ts";

interface Vector {
  readonly name: string;
  readonly hex: string;
  readonly frames?: readonly {
    readonly type: string;
    readonly id: number;
    readonly payloadText?: string;
    readonly payloadHex?: string;
  }[];
  readonly error?: string;
}

const vectors = JSON.parse(
  readFileSync(new URL("../../protocol/vectors/frames.json", import.meta.url), "utf8"),
) as readonly Vector[];
const typeOf = (name: string): FrameType => FrameType[name.toLowerCase() as keyof typeof FrameType];

describe("protocol/vectors/frames.json", () => {
  const valid = vectors.flatMap(({ name, hex, frames }) =>
    frames === undefined ? [] : [{ name, hex, frames }],
  );
  const malformed = vectors.filter(({ error }) => error !== undefined);

  it("has rows of both kinds", () => {
    expect(valid.length).toBeGreaterThan(10);
    expect(malformed.length).toBeGreaterThan(10);
  });

  it.each(valid)("$name: decodes and encodes", ({ hex, frames }) => {
    const expected = frames.map(({ type, id, payloadText, payloadHex }) => ({
      type: typeOf(type),
      id,
      payload: payloadText === undefined ? Buffer.from(payloadHex ?? "", "hex") : Buffer.from(payloadText),
    }));
    const bytes = Buffer.from(hex, "hex");
    const decoded = Array.from(new FrameDecoder().decode(bytes), (frame) => ({
      ...frame,
      payload: Buffer.from(frame.payload),
    }));
    expect(decoded).toEqual(expected);
    const encoded = expected.map(({ type, id, payload }) => encodeFrame(type, id, payload));
    expect(Buffer.concat(encoded).toString("hex")).toBe(hex);
  });

  it.each(malformed)("$name: is refused", ({ hex }) => {
    expect(() => [...new FrameDecoder().decode(Buffer.from(hex, "hex"))]).toThrow(ProtocolError);
  });
});
