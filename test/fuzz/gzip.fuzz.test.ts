/** What zlib inflates comes out the same, however it is cut; damaged gzip is the fuzz target `gzip`. */
import { gunzipSync } from "node:zlib";
import fc from "fast-check";
import { expect, it } from "vitest";
import { gunzipHere } from "../../src/formats/compression/gzip-here.ts";
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

async function joined(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const out: Uint8Array[] = [];
  for await (const chunk of chunks) out.push(Buffer.from(chunk));
  return Buffer.concat(out);
}

const sizes = fc.array(fc.integer({ min: 1, max: 3000 }), { minLength: 1, maxLength: 6 });
const padding = fc.integer({ min: 0, max: 50 }).map((length) => Buffer.alloc(length));

it("inflates what zlib inflates, however it is cut", async () => {
  await fc.assert(
    fc.asyncProperty(members, padding, sizes, async (data, zeros, chunkSizes) => {
      const source = () => cut(Buffer.concat([data, zeros]), chunkSizes);
      const plain = gunzipSync(data);
      for (const chunks of [gunzip(source(), undefined), gunzipHere(source())])
        expect((await joined(chunks)).equals(plain)).toBe(true);
    }),
    { seed: SEED, numRuns: 300 },
  );
});
