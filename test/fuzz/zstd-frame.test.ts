/** The framing of zstd, fuzzed: what zstd makes passes however it is cut, and what passes is nobody else's format. */
import { execFileSync } from "node:child_process";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { FrameWalker } from "../../src/formats/compression/zstd-frame.ts";

const seed = 20_261_129;

function zstd(bytes: Uint8Array, ...args: string[]): Buffer {
  return execFileSync("zstd", ["-q", "-c", ...args], { input: bytes });
}

/** The code of the error; undefined when all of it passes. */
function refusalOf(bytes: Uint8Array, chunkBytes = bytes.length || 1): string | undefined {
  const walker = new FrameWalker();
  try {
    for (let at = 0; at < bytes.length; at += chunkBytes) walker.push(bytes.subarray(at, at + chunkBytes));
    return undefined;
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  }
}

const data = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 2_654_435_761) >>> ((i >> 12) & 15)));
const frames = [
  zstd(data),
  zstd(data, "--no-check", "-1"),
  zstd(data, "-19", "--long=20"),
  zstd(Buffer.alloc(0)),
  zstd(Buffer.alloc(500_000)),
  zstd(data.subarray(0, 10), "--no-check"),
  Buffer.from("502a4d180300000061626328b52ffd2000010000", "hex"),
];
const others = ["gzip", "xz", "lzma", "lz4"].map((format) => zstd(data, `--format=${format}`));

describe("frames of zstd", () => {
  test("pass, one behind the other, cut anywhere", () => {
    const property = fc.property(
      fc.array(fc.constantFrom(...frames), { minLength: 1, maxLength: 4 }),
      fc.integer({ min: 1, max: 100_000 }),
      (chosen, chunkBytes) => {
        expect(refusalOf(Buffer.concat(chosen), chunkBytes)).toBeUndefined();
      },
    );
    fc.assert(property, { seed, numRuns: 60 });
  });

  test("followed by another format do not", () => {
    const property = fc.property(
      fc.constantFrom(...frames),
      fc.constantFrom(...others, gzipSync(data)),
      (frame, other) => {
        expect([Buffer.concat([frame, other]), other].map((bytes) => refusalOf(bytes))).toEqual([
          "zstd-corrupt",
          "zstd-corrupt",
        ]);
      },
    );
    fc.assert(property, { seed, numRuns: 40 });
  });

  test("with changed bytes: the same verdict for every cut, and no error but the named one", () => {
    const property = fc.property(
      fc.constantFrom(...frames),
      fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { minLength: 1, maxLength: 3 }),
      fc.integer({ min: 1, max: 5000 }),
      (frame, changes, chunkBytes) => {
        const bytes = Buffer.from(frame);
        for (const [at, value] of changes) bytes[at % Math.min(bytes.length, 40)] = value;
        const whole = refusalOf(bytes);
        expect(refusalOf(bytes, chunkBytes)).toBe(whole);
        expect([undefined, "zstd-corrupt"]).toContain(whole);
      },
    );
    fc.assert(property, { seed, numRuns: 400 });
  });
});
