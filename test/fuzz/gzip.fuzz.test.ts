/** What zlib inflates comes out the same, however it is cut; damaged gzip is the fuzz target `gzip`. */
import { gunzipSync } from "node:zlib";
import fc from "fast-check";
import { expect, it } from "vitest";
import { gunzip } from "../../src/formats/compression/gzip.ts";
import { members } from "./targets/compression.ts";

const SEED = 20_241_123;

async function* cut(data: Uint8Array, sizes: readonly number[]): AsyncGenerator<Uint8Array> {
  for (let at = 0, i = 0; at < data.length; i++) {
    const size = sizes[i % sizes.length] as number;
    yield data.subarray(at, at + size);
    at += size;
  }
}

async function inflated(data: Uint8Array, sizes: readonly number[]): Promise<Buffer> {
  const out: Uint8Array[] = [];
  for await (const chunk of gunzip(cut(data, sizes), undefined)) out.push(chunk);
  return Buffer.concat(out);
}

const sizes = fc.array(fc.integer({ min: 1, max: 3000 }), { minLength: 1, maxLength: 6 });
const padding = fc.integer({ min: 0, max: 50 }).map((length) => Buffer.alloc(length));

it("inflates what zlib inflates, however it is cut", async () => {
  await fc.assert(
    fc.asyncProperty(members, padding, sizes, async (data, zeros, chunkSizes) => {
      const got = await inflated(Buffer.concat([data, zeros]), chunkSizes);
      expect(got.equals(gunzipSync(data))).toBe(true);
    }),
    { seed: SEED, numRuns: 300 },
  );
});
