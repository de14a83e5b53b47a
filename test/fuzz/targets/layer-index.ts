/** An index file that was changed and given a right checksum is refused, or safe to use as it is. */
import { crc32 } from "node:zlib";
import * as fc from "fast-check";
import { LayerIndexBuilder, MemoryHeap } from "../../../src/rootfs/layer-index-builder.ts";
import {
  decodeLayerIndex,
  encodeLayerIndex,
  HEADER_BYTES,
  LayerIndexError,
} from "../../../src/rootfs/layer-index-file.ts";
import { BLOCK_SIZE, DataKind, EntryKind, NO_XATTRS } from "../../../src/rootfs/layer-index.ts";
import type { LayerIndex } from "../../../src/rootfs/layer-index.ts";
import { demand, parsedOr } from "../target.ts";
import type { FuzzTarget } from "../target.ts";

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

function repair(input: Uint8Array): void {
  if (input.length < HEADER_BYTES) return;
  const bytes = Buffer.from(input.buffer, input.byteOffset, input.length);
  bytes.writeUInt32LE(crc32(bytes.subarray(0, 28), crc32(bytes.subarray(HEADER_BYTES))), 28);
}

const changed = fc
  .array(fc.tuple(fc.nat(encoded.length - 1), fc.uint8Array({ minLength: 1, maxLength: 8 })), {
    minLength: 1,
    maxLength: 4,
  })
  .map((list) => {
    const bytes = Buffer.from(encoded);
    for (const [at, patch] of list) bytes.set(patch.subarray(0, bytes.length - at), at);
    repair(bytes);
    return bytes;
  });

export const layerIndex: FuzzTarget = {
  name: "layer-index",
  inputs: fc.oneof({ weight: 6, arbitrary: changed }, fc.uint8Array({ maxLength: 400 })),
  repair,
  check(input) {
    // Columns are views of the file, which wants it aligned.
    const index = parsedOr(LayerIndexError, () => decodeLayerIndex(Uint8Array.from(input)));
    demand(index === undefined || isSafe(index), () => "a row points at what is not there");
  },
};
