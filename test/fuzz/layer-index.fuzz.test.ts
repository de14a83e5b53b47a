/** An index file that was changed and given a right checksum is refused, or safe to use as it is. */
import { crc32 } from "node:zlib";
import fc from "fast-check";
import { expect, it } from "vitest";
import { LayerIndexBuilder, MemoryHeap } from "../../src/rootfs/layer-index-builder.ts";
import {
  decodeLayerIndex,
  encodeLayerIndex,
  HEADER_BYTES,
  LayerIndexError,
} from "../../src/rootfs/layer-index-file.ts";
import { BLOCK_SIZE, DataKind, EntryKind, NO_XATTRS, type LayerIndex } from "../../src/rootfs/layer-index.ts";

const SEED = 20_240_117;

function sample(): Buffer {
  const heap = new MemoryHeap();
  const builder = new LayerIndexBuilder(heap);
  const name = Buffer.from("some/name");
  builder.add({ kind: EntryKind.directory, name, xattrs: Buffer.from("\x01\0\x06\x01\x01\0ab") });
  builder.add({ kind: EntryKind.file, name, sizeBytes: 9 });
  builder.setInline();
  heap.append(name, 0, 9);
  builder.add({ kind: EntryKind.file, name, sizeBytes: 5000 });
  builder.setExtent(1);
  builder.add({ kind: EntryKind.file, name, sizeBytes: 9000 });
  builder.setChunks(0, Uint32Array.from([0, 3, 1]));
  builder.add({ kind: EntryKind.symlink, name, target: name, sizeBytes: 9 });
  return Buffer.from(encodeLayerIndex(heap.indexOf(builder, 4)));
}

/** Whether everything that a row points at is there. */
function isSafe(index: LayerIndex): boolean {
  const inHeap = (offset: number, length: number): boolean => offset + length <= index.heap.length;
  return Array.from({ length: index.entryCount }, (_, row) => {
    const size = index.sizeBytes[row] as number;
    const offset = index.dataOffset[row] as number;
    const xattrs = index.xattrOffset[row] as number;
    const endBlock = offset + Math.ceil(size / BLOCK_SIZE);
    return (
      inHeap(index.nameOffset[row] as number, index.nameLength[row] as number) &&
      inHeap(index.targetOffset[row] as number, index.targetLength[row] as number) &&
      (xattrs === NO_XATTRS || inHeap(xattrs, 2)) &&
      (index.dataKind[row] !== DataKind.inline || inHeap(offset, size)) &&
      (index.dataKind[row] !== DataKind.extent || endBlock <= index.blobBlocks)
    );
  }).every(Boolean);
}

const encoded = sample();
const changes = fc.array(
  fc.tuple(fc.nat(encoded.length - 1), fc.uint8Array({ minLength: 1, maxLength: 8 })),
  { minLength: 1, maxLength: 4 },
);

function isRefusedOrSafe(bytes: Uint8Array): boolean {
  try {
    return isSafe(decodeLayerIndex(bytes));
  } catch (error) {
    return error instanceof LayerIndexError;
  }
}

it("changed bytes with a right checksum", () => {
  const property = fc.property(changes, (list) => {
    const bytes = Buffer.from(encoded);
    for (const [at, patch] of list) bytes.set(patch.subarray(0, bytes.length - at), at);
    bytes.writeUInt32LE(crc32(bytes.subarray(0, 28), crc32(bytes.subarray(HEADER_BYTES))), 28);
    expect(isRefusedOrSafe(bytes)).toBe(true);
  });
  fc.assert(property, { seed: SEED, numRuns: 3000 });
});

it("arbitrary bytes", () => {
  const property = fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
    expect(() => decodeLayerIndex(bytes)).toThrow(LayerIndexError);
  });
  fc.assert(property, { seed: SEED, numRuns: 500 });
});
