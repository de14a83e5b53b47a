/** gzip as nobody wrote it: what zlib takes comes out the same, and what is damaged is only ever a CompressionError. */
import { deflateRawSync, gunzipSync, gzipSync } from "node:zlib";
import fc from "fast-check";
import { expect, it } from "vitest";
import { CompressionError } from "../../src/formats/compression/error.ts";
import { gunzip } from "../../src/formats/compression/gzip.ts";

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

/** Some repetition, so that all kinds of deflate blocks come up. */
const content = fc
  .tuple(fc.uint8Array({ maxLength: 300 }), fc.integer({ min: 1, max: 200 }))
  .map(([bytes, times]) => Buffer.concat(Array.from({ length: times }, () => bytes)));

const text = fc.string({ maxLength: 20 }).map((s) => Buffer.from(`${s.replaceAll("\0", "")}\0`));
const extra = fc
  .uint8Array({ maxLength: 300 })
  .map((bytes) => Buffer.concat([Buffer.from([bytes.length & 0xff, bytes.length >> 8]), bytes]));

const member = fc
  .record(
    {
      content,
      level: fc.integer({ min: 0, max: 9 }),
      strategy: fc.integer({ min: 0, max: 4 }),
      extra: fc.option(extra),
      name: fc.option(text),
      comment: fc.option(text),
    },
    { noNullPrototype: true },
  )
  .map((m) => {
    const flags = (m.extra ? 4 : 0) | (m.name ? 8 : 0) | (m.comment ? 16 : 0);
    return Buffer.concat([
      Buffer.from([0x1f, 0x8b, 8, flags, 0, 0, 0, 0, 0, 255]),
      ...[m.extra, m.name, m.comment].filter((field) => field !== null),
      deflateRawSync(m.content, { level: m.level, strategy: m.strategy }),
      gzipSync(m.content).subarray(-8),
    ]);
  });

const members = fc.array(member, { minLength: 1, maxLength: 4 }).map((all) => Buffer.concat(all));
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

it("takes damaged data, or throws a CompressionError", async () => {
  const damage = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 4 });
  await fc.assert(
    fc.asyncProperty(members, damage, fc.nat(), sizes, async (data, changes, end, chunkSizes) => {
      const bytes = Buffer.from(data);
      for (const [at, value] of changes) bytes[at % bytes.length] = value;
      const given = end % 3 === 0 ? bytes.subarray(0, end % bytes.length) : bytes;
      const error: unknown = await inflated(given, chunkSizes).then(
        () => undefined,
        (failure: unknown) => failure,
      );
      expect(error === undefined || error instanceof CompressionError, String(error)).toBe(true);
      // What passes zlib, which checks more, must pass here, and come out the same.
      let want: Buffer | undefined;
      try {
        want = gunzipSync(given);
      } catch {
        return;
      }
      expect(error).toBeUndefined();
      expect((await inflated(given, chunkSizes)).equals(want)).toBe(true);
    }),
    { seed: SEED, numRuns: 500 },
  );
});
