import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { digestOf, parseDigest } from "../../src/reference/digest.ts";
import { convertLayer, type ConvertedLayer, type ConvertOptions } from "../../src/rootfs/convert.ts";
import { decodeLayerIndex } from "../../src/rootfs/layer-index-file.ts";
import { DataKind, EntryKind, HOLE, NO_XATTRS, type LayerIndex } from "../../src/rootfs/layer-index.ts";
import { archive, base256, entry, gnuSparse, header, pax } from "../support/tar-builder.ts";

let dir = "";
let serial = 0;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "flamebox-convert-"));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

async function* chunked(data: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < data.length; at += size) yield data.subarray(at, at + size);
}

interface Converted {
  readonly result: ConvertedLayer;
  readonly index: LayerIndex;
  readonly indexBytes: Buffer;
  readonly blob: Buffer;
}

async function convert(
  tar: Uint8Array,
  options: ConvertOptions = {},
  chunkSize = 65_536,
): Promise<Converted> {
  const base = join(dir, `layer-${++serial}`);
  const target = { blobPath: `${base}.blob`, indexPath: `${base}.index` };
  const result = await convertLayer(chunked(tar, chunkSize), "none", target, options);
  const indexBytes = readFileSync(target.indexPath);
  expect(existsSync(target.blobPath)).toBe(result.blobBlocks > 0);
  const blob = result.blobBlocks > 0 ? readFileSync(target.blobPath) : Buffer.alloc(0);
  for (const path of readdirSync(dir)) {
    expect(statSync(join(dir, path)).mode & 0o777).toBe(0o600);
    rmSync(join(dir, path));
  }
  expect(blob.length).toBe(result.blobBlocks * 4096);
  const index = decodeLayerIndex(indexBytes);
  expect([index.entryCount, index.blobBlocks]).toEqual([result.entryCount, result.blobBlocks]);
  return { result, index, indexBytes, blob };
}

const KINDS = Object.keys(EntryKind);

function text(index: LayerIndex, offsets: Uint32Array, lengths: Uint16Array, row: number): string {
  const offset = offsets[row] as number;
  return Buffer.from(index.heap.subarray(offset, offset + (lengths[row] as number))).toString("latin1");
}

/** One line a row. */
function rowsOf({ index }: Converted): string[] {
  return Array.from({ length: index.entryCount }, (_, row) => {
    const kind = KINDS[index.kind[row] as number] as string;
    const target = text(index, index.targetOffset, index.targetLength, row);
    return `${kind} ${text(index, index.nameOffset, index.nameLength, row)}${target === "" ? "" : ` -> ${target}`}`;
  });
}

function contentOf({ index, blob }: Converted, row: number): Buffer {
  const size = index.sizeBytes[row] as number;
  const offset = index.dataOffset[row] as number;
  if (index.dataKind[row] === DataKind.none) return Buffer.alloc(0);
  if (index.dataKind[row] === DataKind.inline) return Buffer.from(index.heap.subarray(offset, offset + size));
  if (index.dataKind[row] === DataKind.extent) return blob.subarray(offset * 4096, offset * 4096 + size);
  const map = new DataView(index.heap.buffer, index.heap.byteOffset + offset);
  const chunkBytes = 4096 * 2 ** map.getUint32(0, true);
  const content = Buffer.alloc(size);
  for (let i = 0; i * chunkBytes < size; i++) {
    const block = map.getUint32(4 + 4 * i, true);
    if (block !== HOLE)
      blob.copy(content, i * chunkBytes, block * 4096, Math.min(blob.length, block * 4096 + chunkBytes));
  }
  return content;
}

describe("entries", () => {
  const e = (name: string, type = "0"): Buffer => entry({ name, type, linkName: "t" });
  const rows: [string, Uint8Array, string[]][] = [
    ["dot-slash", e("./a/b"), ["file a/b"]],
    ["absolute", e("/etc/passwd"), ["file etc/passwd"]],
    ["doubled slashes", e("a//b///c"), ["file a/b/c"]],
    ["dots in the middle", e("a/./b/."), ["file a/b"]],
    ["parent in the middle", e("a/../b"), ["file b"]],
    ["parents stop at the root", e("../../etc/x"), ["file etc/x"]],
    ["absolute parents stop at the root", e("/../../etc/x"), ["file etc/x"]],
    ["names that only look like dots", e("a/.../..b/.c/d."), ["file a/.../..b/.c/d."]],
    ["root as ./", e("./", "5"), ["directory "]],
    ["root as /", e("/", "5"), ["directory "]],
    ["root as a/..", e("a/..", "5"), ["directory "]],
    ["trailing slash", e("a/b/", "5"), ["directory a/b"]],
    ["file with a trailing slash", e("a/b/"), ["directory a/b"]],
    [
      "duplicates stay, in order",
      Buffer.concat([e("a"), e("a", "5"), e("a")]),
      ["file a", "directory a", "file a"],
    ],
    [
      "symlink target as it is",
      entry({ name: "l", type: "2", linkName: "../..//x/." }),
      ["symlink l -> ../..//x/."],
    ],
    [
      "hard link target made canonical",
      entry({ name: "l", type: "1", linkName: "./../a//b" }),
      ["hardlink l -> a/b"],
    ],
    [
      "devices and fifo",
      Buffer.concat([e("c", "3"), e("b", "4"), e("p", "6")]),
      ["character c", "block b", "fifo p"],
    ],
    ["whiteout", e("a/.wh.b"), ["whiteout a/b"]],
    ["whiteout at the root", e(".wh.b"), ["whiteout b"]],
    ["whiteout as a directory", e("a/.wh.b/", "5"), ["whiteout a/b"]],
    ["whiteout behind parents", e("a/x/../.wh.b"), ["whiteout a/b"]],
    ["whiteout of a name with the prefix", e(".wh.x.wh.y"), ["whiteout x.wh.y"]],
    [
      "whiteout of a 255-byte name",
      Buffer.concat([entry({ type: "L" }, `.wh.${"n".repeat(255)}`), e("x")]),
      [`whiteout ${"n".repeat(255)}`],
    ],
    ["opaque", e("a/b/.wh..wh..opq"), ["opaque a/b"]],
    ["opaque root", e(".wh..wh..opq"), ["opaque "]],
    [
      "AUFS's own names",
      Buffer.concat([e(".wh..wh.aufs"), e(".wh..wh.plnk/", "5"), e(".wh..wh.plnk/1.2"), e("a")]),
      ["file a"],
    ],
    ["a name that begins like AUFS's opaque", e("a/.wh..wh..opqx"), []],
    ["prefix inside a name", e("a.wh.b"), ["file a.wh.b"]],
    [
      "255-byte name",
      Buffer.concat([entry({ type: "L" }, "n".repeat(255)), e("x")]),
      [`file ${"n".repeat(255)}`],
    ],
    ["empty name of a directory", e("", "5"), ["directory "]],
  ];
  it.each(rows)("%s", async (_, tar, expected) => {
    expect(rowsOf(await convert(archive(tar)))).toEqual(expected);
  });

  it("keeps metadata", async () => {
    const tar = archive(
      pax({ mtime: "-1.25", uid: "4294967294" }),
      entry({ name: "f", mode: 0o104755, gid: 5 }),
      entry({ name: "l", type: "2", linkName: "target", mode: 0o644 }),
      entry({ name: "c", type: "3", devMajor: 4095, devMinor: 0o3777777 }),
    );
    const { index } = await convert(tar);
    expect([...index.mode]).toEqual([0o4755, 0o777, 0o644]);
    expect([index.uid[0], index.gid[0]]).toEqual([4_294_967_294, 5]);
    expect([index.mtimeSeconds[0], index.mtimeNanoseconds[0]]).toEqual([-2, 750_000_000]);
    expect([...index.sizeBytes]).toEqual([0, 6, 0]);
    expect([index.rdevMajor[2], index.rdevMinor[2], index.rdevMajor[0]]).toEqual([4095, 0xf_ffff, 0]);
  });

  it("keeps the xattrs that a rootfs can hold, sorted, and counts the others", async () => {
    const records = {
      "SCHILY.xattr.user.b": "\xff\x00",
      "SCHILY.xattr.user.a": "1",
      "SCHILY.xattr.trusted.overlay.opaque": "y",
      "SCHILY.xattr.trusted.x": "2",
      "SCHILY.xattr.system.nfs4_acl": "z",
      "SCHILY.xattr.security.capability": "cap",
      "SCHILY.xattr.user.": "no suffix",
    };
    const { index, result } = await convert(archive(pax(records), entry({}), entry({})));
    expect(result.droppedXattrs).toBe(3);
    expect(index.xattrOffset[1]).toBe(NO_XATTRS);
    const offset = index.xattrOffset[0] as number;
    expect(Buffer.from(index.heap.subarray(offset, offset + 34)).toString("latin1")).toBe(
      "\x04\0\x01\x01\x01\0a1\x01\x01\x02\0b\xff\0\x04\x01\x01\0x2\x06\x0a\x03\0capabilitycap".slice(0, 34),
    );
  });
});

describe("file data", () => {
  const sizes = [0, 1, 1023, 1024, 1025, 4095, 4096, 4097, 130_000, 131_072, 5_000_000];
  it("every size, in any chunking, the same bytes", async () => {
    const contents = sizes.map((size, i) => Buffer.alloc(size, `${i}-${size}.`));
    const tar = archive(...contents.map((data, i) => entry({ name: `f${i}` }, data)));
    const first = await convert(tar);
    for (const [row, data] of contents.entries())
      expect(contentOf(first, row).equals(data), `size ${data.length}`).toBe(true);
    expect([...first.index.dataKind]).toEqual(
      sizes.map((size) => (size === 0 ? DataKind.none : size <= 1024 ? DataKind.inline : DataKind.extent)),
    );
    expect(first.result).toMatchObject({
      diffId: digestOf(tar),
      tarBytes: tar.length,
      entryCount: sizes.length,
    });
    for (const chunkSize of [511, 4096, 1_000_003, tar.length]) {
      const again = await convert(tar, {}, chunkSize);
      expect(again.blob.equals(first.blob)).toBe(true);
      expect(again.indexBytes.equals(first.indexBytes)).toBe(true);
    }
  });

  it("has no blob without large files", async () => {
    const { result } = await convert(archive(entry({ name: "a" }, "small"), entry({ name: "d", type: "5" })));
    expect(result).toMatchObject({ blobBlocks: 0, entryCount: 2 });
  });

  it("converts an empty archive", async () => {
    expect((await convert(Buffer.alloc(1024))).result).toMatchObject({
      blobBlocks: 0,
      entryCount: 0,
      tarBytes: 1024,
    });
  });

  it("hashes what is behind the end, too", async () => {
    const tar = Buffer.concat([archive(entry({})), Buffer.from("trailing")]);
    expect((await convert(tar)).result).toMatchObject({ diffId: digestOf(tar), tarBytes: tar.length });
  });

  const K = 1024;
  const sparse: [string, number, [number, number][], number, number][] = [
    [
      "inline with holes",
      1000,
      [
        [10, 5],
        [500, 7],
      ],
      DataKind.inline,
      0,
    ],
    ["dense after all", 8192, [[0, 8192]], DataKind.extent, 2],
    ["a run in one chunk", 20 * K, [[5 * K, 100]], DataKind.chunks, 1],
    ["a run over three chunks", 20 * K, [[5 * K, 8 * K]], DataKind.chunks, 3],
    [
      "runs that share a chunk",
      20 * K,
      [
        [4 * K, 10],
        [5 * K, 10],
        [7 * K, 1030],
      ],
      DataKind.chunks,
      2,
    ],
    ["the last, partial chunk", 18 * K, [[17 * K, 1024]], DataKind.chunks, 1],
    ["only a hole", 20 * K, [], DataKind.chunks, 0],
    [
      "large chunks",
      40_000 * K,
      [
        [100 * K, 200 * K],
        [39_000 * K, 1000 * K],
      ],
      DataKind.chunks,
      320,
    ],
  ];
  it.each(sparse)("sparse: %s", async (_, size, map, kind, blocks) => {
    const data = Buffer.concat(map.map(([, length], i) => Buffer.alloc(length, i + 1)));
    const converted = await convert(
      archive(gnuSparse("s", size, map, data), entry({ name: "next" }, Buffer.alloc(2000, 9))),
    );
    const expected = Buffer.alloc(size);
    for (const [i, [start, length]] of map.entries()) expected.fill(i + 1, start, start + length);
    expect(converted.index.dataKind[0]).toBe(kind);
    expect(contentOf(converted, 0).equals(expected)).toBe(true);
    expect(contentOf(converted, 1).equals(Buffer.alloc(2000, 9))).toBe(true);
    expect(converted.result.blobBlocks).toBe(blocks + 1);
  });

  it("a terabyte of hole costs nothing", async () => {
    const pattern = Buffer.from("x");
    const tar = archive(
      pax({ "GNU.sparse.size": String(2 ** 40), "GNU.sparse.map": `${2 ** 39},1` }),
      entry({}, pattern),
    );
    const base = join(dir, "huge");
    const target = { blobPath: `${base}.blob`, indexPath: `${base}.index` };
    await convertLayer(chunked(tar, 1000), "none", target);
    expect(statSync(target.blobPath).blocks).toBeLessThan(64);
    expect(statSync(target.indexPath).size).toBeLessThan(16_384);
    rmSync(target.blobPath);
    rmSync(target.indexPath);
  });
});

describe("compression", () => {
  const tar = archive(entry({ name: "a" }, Buffer.alloc(100_000, "abc")), entry({ name: "b" }, "x"));
  it("gives the same bytes for gzip, zstd and none", async () => {
    const zst = spawnSync("zstd", ["-c", "-q"], { input: tar }).stdout;
    const plain = await convert(tar);
    for (const [compression, data] of [
      ["gzip", gzipSync(tar)],
      ["zstd", zst],
    ] as const) {
      const target = { blobPath: join(dir, "c.blob"), indexPath: join(dir, "c.index") };
      expect(await convertLayer(chunked(data, 1000), compression, target)).toEqual(plain.result);
      expect(readFileSync(target.blobPath).equals(plain.blob)).toBe(true);
      expect(readFileSync(target.indexPath).equals(plain.indexBytes)).toBe(true);
      rmSync(target.blobPath);
      rmSync(target.indexPath);
    }
  });

  it("gzip's CRC-32 is not looked at: content that differs is refused by its diff ID", async () => {
    const { diffId } = (await convert(tar)).result;
    // One bit of a file's content, stored without compression: still good deflate, still a good archive.
    const gz = gzipSync(tar, { level: 0 });
    const at = gz.indexOf("abcabc") + 3;
    gz[at] = (gz[at] as number) ^ 1;
    const target = { blobPath: join(dir, "d.blob"), indexPath: join(dir, "d.index") };
    await expect(convertLayer(chunked(gz, 1000), "gzip", target, { expectedDiffId: diffId })).rejects.toThrow(
      expect.objectContaining({ code: "diff-id-mismatch" }),
    );
    expect([existsSync(target.blobPath), existsSync(target.indexPath)]).toEqual([false, false]);
  });
});

describe("refused, with nothing left", () => {
  const big = entry({ name: "big" }, Buffer.alloc(200_000));
  const good = archive(big);
  const x = (records: Record<string, string>): Buffer => Buffer.concat([pax(records), entry({})]);
  const rows: [string, Uint8Array, string, ConvertOptions?][] = [
    ["wrong diff ID", good, "diff-id-mismatch", { expectedDiffId: parseDigest(`sha256:${"0".repeat(64)}`) }],
    [
      "wrong diff ID, sha512",
      good,
      "diff-id-mismatch",
      { expectedDiffId: parseDigest(`sha512:${"0".repeat(128)}`) },
    ],
    ["truncated", good.subarray(0, 100_000), "tar-truncated"],
    ["bare whiteout", archive(big, entry({ name: "a/.wh." })), "layer-bad-name"],
    ["whiteout of .", archive(big, entry({ name: ".wh.." })), "layer-bad-name"],
    ["whiteout of ..", archive(big, entry({ name: "a/.wh..." })), "layer-bad-name"],
    ["256-byte component", archive(entry({ type: "L" }, "n".repeat(256)), entry({})), "layer-bad-name"],
    ["256-byte parent", archive(entry({ type: "L" }, `a/${"n".repeat(256)}/b`), entry({})), "layer-bad-name"],
    [
      "whiteout of a 256-byte name",
      archive(entry({ type: "L" }, `.wh.${"n".repeat(256)}`), entry({})),
      "layer-bad-name",
    ],
    ["10,000 components", archive(entry({ type: "L" }, "a/".repeat(10_000)), entry({})), "tar-name-too-long"],
    ["file as the root", archive(entry({ name: "." })), "layer-root-not-directory"],
    [
      "symlink as the root",
      archive(entry({ name: "a/..", type: "2", linkName: "/etc" })),
      "layer-root-not-directory",
    ],
    ["symlink to nothing", archive(entry({ type: "2" })), "layer-bad-link"],
    ["hard link to the root", archive(entry({ type: "1", linkName: "./" })), "layer-bad-link"],
    [
      "hard link with a 256-byte component",
      archive(entry({ type: "K" }, "n".repeat(256)), entry({ type: "1" })),
      "layer-bad-name",
    ],
    ["owner -1", archive(x({ uid: "4294967295" })), "layer-bad-owner"],
    ["group 2^32", archive(x({ gid: "4294967296" })), "layer-bad-owner"],
    ["major number of 13 bits", archive(entry({ type: "3", devMajor: 4096 })), "layer-bad-device"],
    ["minor number of 21 bits", archive(entry({ type: "4", devMinor: 0o4000000 })), "layer-bad-device"],
    ["xattr of 64 KiB", archive(x({ "SCHILY.xattr.user.a": "v".repeat(65_536) })), "layer-bad-xattr"],
    [
      "xattr with a name of 256 bytes",
      archive(x({ [`SCHILY.xattr.user.${"n".repeat(251)}`]: "v" })),
      "layer-bad-xattr",
    ],
    [
      "xattrs of 300 KB together",
      archive(
        x(Object.fromEntries([1, 2, 3, 4, 5].map((i) => [`SCHILY.xattr.user.${i}`, "v".repeat(60_000)]))),
      ),
      "layer-bad-xattr",
    ],
    [
      "too many entries",
      archive(entry({}), entry({}), entry({})),
      "layer-too-large",
      { limits: { maxEntries: 2 } },
    ],
    [
      "too many names",
      archive(entry({ name: "n".repeat(90) }), entry({ name: "n".repeat(90) })),
      "layer-too-large",
      { limits: { maxHeapBytes: 100 } },
    ],
    ["too much data", good, "layer-too-large", { limits: { maxBlobBytes: 100_000 } }],
    ["too long an archive", good, "decompressed-too-large", { limits: { maxTarBytes: 100_000 } }],
    [
      "too large a sparse file",
      archive(gnuSparse("s", 200_000, [], Buffer.alloc(0))),
      "tar-bad-sparse",
      { limits: { maxSparseBytes: 100_000 } },
    ],
    [
      "a file of 8 PiB",
      archive(big, header({ patches: [[124, base256(2n ** 53n - 1n)]] })),
      "layer-too-large",
    ],
  ];
  it.each(rows)("%s", async (_, tar, code, options) => {
    const target = { blobPath: join(dir, "r.blob"), indexPath: join(dir, "r.index") };
    await expect(convertLayer(chunked(tar, 65_536), "none", target, options)).rejects.toThrow(
      expect.objectContaining({ code }),
    );
    expect(readdirSync(dir)).toEqual([]);
  });

  it("does not touch files that are there", async () => {
    const target = { blobPath: join(dir, "mine.blob"), indexPath: join(dir, "mine.index") };
    writeFileSync(target.indexPath, "mine");
    await expect(convertLayer(chunked(good, 1000), "none", target)).rejects.toThrow(
      expect.objectContaining({ code: "layer-write-failed" }),
    );
    expect(readFileSync(target.indexPath, "utf8")).toBe("mine");
    expect(readdirSync(dir)).toEqual(["mine.index"]);
    rmSync(target.indexPath);
  });

  it("ends when it is aborted", async () => {
    const controller = new AbortController();
    async function* endless(): AsyncGenerator<Uint8Array> {
      yield header({ name: "f", size: 2 ** 32 });
      for (;;) {
        await new Promise((resolve) => setImmediate(resolve));
        yield Buffer.alloc(65_536);
      }
    }
    const target = { blobPath: join(dir, "a.blob"), indexPath: join(dir, "a.index") };
    const converting = convertLayer(endless(), "none", target, { signal: controller.signal });
    setTimeout(() => controller.abort(new Error("enough")), 30);
    await expect(converting).rejects.toThrow("enough");
    expect(readdirSync(dir)).toEqual([]);
  });

  it("passes on the source's error", async () => {
    async function* failing(): AsyncGenerator<Uint8Array> {
      yield good;
      throw new Error("digest mismatch at the very end");
    }
    const target = { blobPath: join(dir, "s.blob"), indexPath: join(dir, "s.index") };
    await expect(convertLayer(failing(), "none", target)).rejects.toThrow("digest mismatch at the very end");
    expect(readdirSync(dir)).toEqual([]);
  });
});
