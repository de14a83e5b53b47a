import { describe, expect, it } from "vitest";
import { ownBatches } from "../../src/formats/compression/batch.ts";
import { release } from "../../src/formats/compression/release.ts";

const KIB = 1024;

describe("release", () => {
  it("frees a buffer with its last piece", () => {
    const bytes = new Uint8Array(256 * KIB);
    release(bytes.subarray(0, 128 * KIB));
    expect(bytes.byteLength).toBe(256 * KIB);
    release(bytes.subarray(128 * KIB));
    expect(bytes.byteLength).toBe(0);
  });

  it.each([
    ["a small buffer", () => new Uint8Array(KIB)],
    ["a piece of Node's pool", () => Buffer.allocUnsafe(KIB)],
    ["a buffer that threads share", () => new Uint8Array(new SharedArrayBuffer(256 * KIB))],
  ])("leaves %s", (_name, make) => {
    const bytes = make();
    const { byteLength } = bytes;
    release(bytes);
    expect(bytes.byteLength).toBe(byteLength);
  });
});

describe("ownBatches", () => {
  it("shares nothing with its source, however the chunks come", async () => {
    const chunks = [10, 0, 300 * KIB, 1, 70 * KIB].map((length, n) => new Uint8Array(length).fill(n + 1));
    const expected = Buffer.concat(chunks);
    async function* source(): AsyncGenerator<Uint8Array> {
      yield* chunks;
    }
    const parts: Uint8Array[] = [];
    for await (const batch of ownBatches(source(), { batchBytes: 64 * KIB })) {
      expect(batch.buffer.byteLength).toBe(batch.byteLength);
      parts.push(Uint8Array.from(batch));
      batch.fill(0);
    }
    expect(Buffer.concat(parts).equals(expected)).toBe(true);
    expect(Buffer.concat(chunks).equals(expected)).toBe(true);
  });

  it("frees large chunks when they are its own", async () => {
    const chunks = [64 * KIB, 1000, 128 * KIB].map((length, n) => new Uint8Array(length).fill(n + 1));
    const expected = Buffer.concat(chunks);
    async function* source(): AsyncGenerator<Uint8Array> {
      yield* chunks;
    }
    const parts: Uint8Array[] = [];
    for await (const batch of ownBatches(source(), { ownsInput: true })) parts.push(batch);
    expect(Buffer.concat(parts).equals(expected)).toBe(true);
    expect(chunks.map(({ byteLength }) => byteLength)).toEqual([0, 1000, 0]);
  });
});
