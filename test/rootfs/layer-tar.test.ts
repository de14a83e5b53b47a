/** A layer's archive made again: whatever it was, it comes out byte for byte, or not at all. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { deflateRawSync } from "node:zlib";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { digestOf } from "../../src/reference/digest.ts";
import type { Digest } from "../../src/reference/digest.ts";
import { convertLayer } from "../../src/rootfs/convert.ts";
import { layerTar, layerTarBytes } from "../../src/rootfs/layer-tar.ts";
import type { LayerPaths } from "../../src/store/layout.ts";
import { FlameBoxError } from "../../src/util/error.ts";
import { archive, entry, gnuSparse, pax } from "../support/tar-builder.ts";

let dir = "";
let serial = 0;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "flamebox-layer-tar-"));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

interface Converted {
  readonly paths: LayerPaths;
  readonly diffId: Digest;
}

async function convert(tar: Uint8Array, chunkBytes: number): Promise<Converted> {
  const base = join(dir, `layer-${++serial}`);
  const paths = {
    blobPath: `${base}.blob`,
    headersPath: `${base}.headers`,
    indexPath: `${base}.index`,
    stampPath: `${base}.stamp`,
  };
  const chunks = (async function* () {
    for (let at = 0; at < tar.length; at += chunkBytes)
      yield new Uint8Array(tar.subarray(at, at + chunkBytes));
  })();
  const { diffId } = await convertLayer(chunks, "none", paths);
  return { paths, diffId };
}

async function again({ paths, diffId }: Converted): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of layerTar(paths, diffId)) chunks.push(chunk);
  return Buffer.concat(chunks);
}

const data = (bytes: number) => Buffer.from(Array.from({ length: bytes }, (_, i) => (i * 7) % 251));

const ARCHIVES: readonly (readonly [name: string, tar: Uint8Array])[] = [
  ["nothing at all", new Uint8Array(0)],
  ["end blocks only", archive()],
  ["small files, in the heap", archive(entry({ name: "a" }, data(10)), entry({ name: "b" }, data(1024)))],
  [
    "files at the edge of a block",
    archive(...[4095, 4096, 4097].map((n) => entry({ name: `f${n}` }, data(n)))),
  ],
  [
    "files beyond a chunk and a window",
    archive(entry({ name: "a" }, data(1_500_001)), entry({ name: "b" }, data(700_000))),
  ],
  [
    "data where none belongs",
    archive(
      entry({ name: ".wh.x" }, data(3000)),
      entry({ name: "d/", type: "5" }),
      entry({ name: "x" }, data(2000)),
    ),
  ],
  [
    "padding that is not zero",
    Buffer.concat([entry({ name: "a" }, data(2000)).fill(7, 512 + 2000), archive()]),
  ],
  ["garbage behind the end", Buffer.concat([archive(entry({ name: "a" }, data(5000))), data(70_000)])],
  ["no end blocks", entry({ name: "a" }, data(5000))],
  [
    "odd spellings and owners",
    archive(
      pax({ path: "./x//y", mtime: "1.25", uname: "somebody", "VENDOR.key": "v" }),
      entry({ name: "cut" }, data(5000)),
    ),
  ],
  [
    "a file twice, and a link",
    archive(
      entry({ name: "a" }, data(3000)),
      entry({ name: "a" }, data(4000)),
      entry({ name: "b", type: "1", linkName: "a" }),
    ),
  ],
  [
    "a sparse file",
    archive(
      gnuSparse(
        "s",
        900_000,
        [
          [0, 512],
          [600_000, 10],
          [700_000, 5000],
        ],
        data(5522),
      ),
      entry({ name: "t" }, data(9000)),
    ),
  ],
  [
    "many small files",
    archive(...Array.from({ length: 3000 }, (_, i) => entry({ name: `dir/file-${i}` }, data(i % 1400)))),
  ],
];

describe.each(ARCHIVES)("%s", (_, tar) => {
  it.each([512, 1000, 65_536, 10_000_000])("in chunks of %i bytes", async (chunkBytes) => {
    const layer = await convert(tar, chunkBytes);
    expect(layer.diffId).toBe(digestOf(tar));
    expect(await layerTarBytes(layer.paths)).toBe(tar.length);
    expect((await again(layer)).equals(tar)).toBe(true);
  });
});

describe("damage", () => {
  const tar = archive(entry({ name: "a" }, data(9000)), entry({ name: "b" }, data(500)));
  const piece = (plain: Uint8Array, plainBytes = plain.length) => {
    const deflated = deflateRawSync(plain);
    const head = Buffer.alloc(8);
    head.writeUInt32LE(deflated.length, 0);
    head.writeUInt32LE(plainBytes, 4);
    return Buffer.concat([head, deflated]);
  };
  const withPiece = (one: Uint8Array) => (headers: Buffer) => Buffer.concat([headers.subarray(0, 24), one]);
  const run = (place: number, length: number, offset = 0) => {
    const record = Buffer.alloc(13);
    record[0] = place;
    record.writeUIntLE(length, 1, 6);
    record.writeUIntLE(offset, 7, 6);
    return record;
  };
  const rows: readonly (readonly [string, (headers: Buffer) => Uint8Array])[] = [
    ["empty", () => new Uint8Array(0)],
    ["shorter than its header", (headers) => headers.subarray(0, 23)],
    ["another magic", (headers) => Buffer.from(headers).fill("x", 0, 8)],
    ["a later version", (headers) => Buffer.from(headers).fill(2, 8, 9)],
    ["an archive of 2^60 bytes", (headers) => Buffer.from(headers).fill(0x10, 23, 24)],
    ["another size", (headers) => Buffer.from(headers).fill(1, 16, 17)],
    ["no pieces", (headers) => headers.subarray(0, 24)],
    ["cut in a piece's head", (headers) => headers.subarray(0, 28)],
    ["cut in a piece", (headers) => headers.subarray(0, headers.length - 3)],
    ["a flipped bit", (headers) => Buffer.from(headers).fill((headers[60] as number) ^ 4, 60, 61)],
    ["a piece of 4 GiB", withPiece(Buffer.alloc(8, 0xff))],
    ["a piece of nothing", withPiece(piece(new Uint8Array(0)))],
    ["a piece that is a bomb", withPiece(piece(Buffer.alloc(10_000_000), 262_144))],
    ["a piece that is shorter than it says", withPiece(piece(run(1, 5), 200))],
    ["no such place", withPiece(piece(run(3, 5)))],
    ["a cut record", withPiece(piece(run(1, 5).subarray(0, 9)))],
    ["a run that never ends", withPiece(piece(run(0, 2 ** 47)))],
    ["a run beyond the blob", withPiece(piece(run(2, 5, 2 ** 40)))],
    ["a run beyond the heap", withPiece(piece(run(1, 2 ** 47)))],
  ];

  it.each(rows)("%s", async (_, change) => {
    const layer = await convert(tar, 65_536);
    writeFileSync(layer.paths.headersPath, change(readFileSync(layer.paths.headersPath)));
    await expect(again(layer)).rejects.toMatchObject({ code: "layer-headers-corrupt" });
  });

  it("a missing file", async () => {
    const layer = await convert(tar, 65_536);
    rmSync(layer.paths.headersPath);
    await expect(again(layer)).rejects.toMatchObject({ code: "layer-headers-missing" });
  });

  it("a blob that was changed", async () => {
    const layer = await convert(tar, 65_536);
    writeFileSync(layer.paths.blobPath, Buffer.alloc(12_288, 1));
    await expect(again(layer)).rejects.toMatchObject({ code: "layer-headers-corrupt" });
  });

  it("any change is noticed, and nothing else is thrown (seeded)", async () => {
    const layer = await convert(tar, 65_536);
    const whole = readFileSync(layer.paths.headersPath);
    const change = fc.tuple(fc.nat(whole.length - 1), fc.uint8Array({ minLength: 1, maxLength: 6 }));
    const property = fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 3 }), async (changes) => {
      const bytes = Buffer.from(whole);
      for (const [at, patch] of changes) bytes.set(patch.subarray(0, bytes.length - at), at);
      writeFileSync(layer.paths.headersPath, bytes);
      const got = await again(layer).catch((error: unknown) => error);
      // Bytes 12…15 mean nothing, and two deflate streams can mean the same.
      const isRight = Buffer.isBuffer(got) ? got.equals(tar) : got instanceof FlameBoxError;
      expect(isRight, String(got)).toBe(true);
    });
    await fc.assert(property, { seed: 20_260_701, numRuns: 300 });
  });
});
