import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { describe, expect, it } from "vitest";
import { LayerIndexBuilder, MemoryHeap } from "../../src/rootfs/layer-index-builder.ts";
import {
  COLUMNS,
  decodeLayerIndex,
  encodeLayerIndex,
  HEADER_BYTES,
  readLayerIndex,
} from "../../src/rootfs/layer-index-file.ts";
import { EntryKind, HOLE, NO_XATTRS, type LayerIndex } from "../../src/rootfs/layer-index.ts";

const bytes = (text: string): Uint8Array => Buffer.from(text, "latin1");

/** Rows: 0 root, 1 inline file, 2 extent, 3 chunks, 4 symlink, 5 hard link, 6 whiteout, 7 device. Blob: 10 blocks. */
function sample(): LayerIndex {
  const heap = new MemoryHeap();
  const builder = new LayerIndexBuilder(heap);
  builder.add({ kind: EntryKind.directory, name: bytes(""), mode: 0o755 });
  builder.add({
    kind: EntryKind.file,
    name: bytes("in"),
    sizeBytes: 5,
    mtimeSeconds: -7,
    mtimeNanoseconds: 5,
  });
  builder.setInline();
  heap.append(bytes("hello"), 0, 5);
  builder.add({
    kind: EntryKind.file,
    name: bytes("ext"),
    sizeBytes: 9000,
    xattrs: bytes("\x02\0\x01\x01\x02\0ahi\x02\0\x01\0x"),
  });
  builder.setExtent(2);
  builder.add({ kind: EntryKind.file, name: bytes("sparse"), sizeBytes: 20_000 });
  builder.setChunks(1, Uint32Array.from([5, HOLE, 9]));
  builder.add({ kind: EntryKind.symlink, name: bytes("l"), target: bytes("../x"), sizeBytes: 4 });
  builder.add({ kind: EntryKind.hardlink, name: bytes("h"), target: bytes("in") });
  builder.add({ kind: EntryKind.whiteout, name: bytes("gone") });
  builder.add({ kind: EntryKind.character, name: bytes("tty"), rdevMajor: 4, rdevMinor: 64 });
  return heap.indexOf(builder, 10);
}

function withChecksum(encoded: Uint8Array): Uint8Array {
  const buffer = Buffer.from(encoded);
  buffer.writeUInt32LE(crc32(buffer.subarray(0, 28), crc32(buffer.subarray(HEADER_BYTES))), 28);
  return buffer;
}

describe("round trip", () => {
  it("gives back every column", () => {
    const index = sample();
    const decoded = decodeLayerIndex(encodeLayerIndex(index));
    expect(decoded.entryCount).toBe(8);
    expect(decoded.blobBlocks).toBe(10);
    expect(Buffer.from(decoded.heap).equals(Buffer.from(index.heap))).toBe(true);
    for (const [name] of COLUMNS) expect([name, ...decoded[name]]).toEqual([name, ...index[name]]);
  });

  it("reads a file, and bytes that are not aligned", async () => {
    const dir = mkdtempSync(join(tmpdir(), "flamebox-index-"));
    try {
      const encoded = encodeLayerIndex(sample());
      writeFileSync(join(dir, "index"), encoded);
      const read = await readLayerIndex(join(dir, "index"));
      expect(read.heap.buffer).toBe(read.kind.buffer);
      const shifted = Buffer.concat([Buffer.alloc(3), encoded]).subarray(3);
      expect(decodeLayerIndex(shifted).entryCount).toBe(8);
      writeFileSync(join(dir, "short"), encoded.subarray(0, 20));
      await expect(readLayerIndex(join(dir, "short"))).rejects.toThrow(
        expect.objectContaining({ code: "layer-index-corrupt" }),
      );
      await expect(readLayerIndex(join(dir, "none"))).rejects.toThrow(
        expect.objectContaining({ code: "ENOENT" }),
      );
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  });

  it("is the same for 100,000 rows built in any growth", () => {
    const heap = new MemoryHeap();
    const builder = new LayerIndexBuilder(heap);
    for (let i = 0; i < 100_000; i++)
      builder.add({ kind: EntryKind.directory, name: bytes(`d${i}`), uid: i });
    const decoded = decodeLayerIndex(encodeLayerIndex(heap.indexOf(builder, 0)));
    expect([decoded.entryCount, decoded.uid[99_999], decoded.xattrOffset[5]]).toEqual([
      100_000,
      99_999,
      NO_XATTRS,
    ]);
  });
});

describe("a changed value is found", () => {
  type Change = (index: LayerIndex) => void;
  const heapAt = (
    index: LayerIndex,
    column: "xattrOffset" | "dataOffset",
    row: number,
    at: number,
    value: number,
  ): void => {
    index.heap[(index[column][row] as number) + at] = value;
  };
  const rows: [string, Change][] = [
    ["unknown kind", (x) => void (x.kind[1] = 9)],
    ["mode beyond permissions", (x) => void (x.mode[1] = 0o10000)],
    ["mtime is no integer", (x) => void (x.mtimeSeconds[1] = 0.5)],
    ["mtime is NaN", (x) => void (x.mtimeSeconds[1] = Number.NaN)],
    ["nanoseconds of a second", (x) => void (x.mtimeNanoseconds[1] = 1e9)],
    ["negative size", (x) => void (x.sizeBytes[2] = -1)],
    ["infinite size", (x) => void (x.sizeBytes[2] = Number.POSITIVE_INFINITY)],
    ["name behind the heap", (x) => void (x.nameOffset[1] = x.heap.length)],
    ["name reaches behind the heap", (x) => void (x.nameLength[1] = 65_535)],
    ["a file without a name", (x) => void (x.nameLength[1] = 0)],
    ["target behind the heap", (x) => void (x.targetOffset[4] = 0xffff_ffff)],
    ["target of a file", (x) => void (x.targetLength[1] = 1)],
    ["symlink without a target", (x) => void (x.targetLength[4] = 0)],
    ["symlink with another size", (x) => void (x.sizeBytes[4] = 5)],
    ["xattrs behind the heap", (x) => void (x.xattrOffset[2] = x.heap.length - 1)],
    ["no xattr in a list", (x) => heapAt(x, "xattrOffset", 2, 0, 0)],
    ["too many xattrs in a list", (x) => heapAt(x, "xattrOffset", 2, 1, 255)],
    ["xattr of an unknown namespace", (x) => heapAt(x, "xattrOffset", 2, 2, 5)],
    ["xattr with a value behind the heap", (x) => heapAt(x, "xattrOffset", 2, 5, 255)],
    ["ACL with a suffix", (x) => heapAt(x, "xattrOffset", 2, 2, 2)],
    ["unknown data kind", (x) => void (x.dataKind[1] = 4)],
    ["a file's size without data", (x) => void (x.dataKind[1] = 0)],
    ["data of a directory", (x) => void (x.dataKind[0] = 2)],
    ["inline data of 1,025 bytes", (x) => void (x.sizeBytes[1] = 1025)],
    ["inline data behind the heap", (x) => void (x.dataOffset[1] = x.heap.length - 4)],
    ["extent behind the blob", (x) => void (x.dataOffset[2] = 8)],
    ["extent that overflows", (x) => void (x.dataOffset[2] = 0xffff_ffff)],
    ["extent of 8 PiB", (x) => void (x.sizeBytes[2] = 2 ** 53 - 1)],
    ["chunk map behind the heap", (x) => void (x.dataOffset[3] = x.heap.length - 8)],
    ["chunk map for 8 PiB", (x) => void (x.sizeBytes[3] = 2 ** 53 - 1)],
    ["chunks of 2^32 blocks", (x) => heapAt(x, "dataOffset", 3, 0, 32)],
    ["chunk behind the blob", (x) => heapAt(x, "dataOffset", 3, 4, 9)],
    ["last chunk behind the blob", (x) => heapAt(x, "dataOffset", 3, 12, 10)],
    ["major of 13 bits", (x) => void (x.rdevMajor[7] = 4096)],
    ["minor of 21 bits", (x) => void (x.rdevMinor[7] = 2 ** 20)],
  ];
  it.each(rows)("%s", (_, change) => {
    const index = sample();
    change(index);
    expect(() => decodeLayerIndex(encodeLayerIndex(index))).toThrow(/corrupt: row \d has a bad/);
  });
});

describe("a changed byte is found", () => {
  it("every flipped bit", () => {
    const encoded = encodeLayerIndex(sample());
    for (let at = 0; at < encoded.length; at++) {
      // The header's reserved bytes have no meaning, and no checksum.
      if (at >= 32 && at < HEADER_BYTES) continue;
      const changed = Uint8Array.from(encoded);
      changed[at] = (changed[at] as number) ^ (1 << (at % 8));
      expect(() => decodeLayerIndex(changed), `byte ${at}`).toThrow(
        expect.objectContaining({ code: "layer-index-corrupt" }),
      );
    }
  });

  it("every truncation", () => {
    const encoded = encodeLayerIndex(sample());
    for (let length = 0; length < encoded.length; length++) {
      expect(() => decodeLayerIndex(encoded.subarray(0, length))).toThrow(
        expect.objectContaining({ code: "layer-index-corrupt" }),
      );
    }
  });

  const u32 = (at: number, value: number) => (b: Buffer) => void b.writeUInt32LE(value, at);
  const rows: [string, (header: Buffer) => void][] = [
    ["magic", (b) => void b.write("FBLAYEX")],
    ["version", u32(8, 3)],
    ["four billion entries", u32(12, 0xffff_ffff)],
    ["one entry less", u32(12, 7)],
    ["a heap of 8 EiB", (b) => void b.writeBigUInt64LE(2n ** 63n, 16)],
    ["a heap one byte longer", (b) => void b.writeBigUInt64LE(b.readBigUInt64LE(16) + 8n, 16)],
    ["a smaller blob", u32(24, 9)],
  ];
  it.each(rows)("header with a right checksum: %s", (_, change) => {
    const encoded = Buffer.from(encodeLayerIndex(sample()));
    change(encoded);
    expect(() => decodeLayerIndex(withChecksum(encoded))).toThrow(
      expect.objectContaining({ code: "layer-index-corrupt" }),
    );
  });
});
