/** Builds layer indexes in memory, with their blobs, from a few words an entry. */
import { digestOf } from "../../src/reference/digest.ts";
import {
  BLOCK_SIZE,
  DataKind,
  EntryKind,
  HOLE,
  INLINE_LIMIT,
  NO_XATTRS,
} from "../../src/rootfs/layer-index.ts";
import { BlobSums } from "../../src/rootfs/blob-sums.ts";
import type { LayerIndex } from "../../src/rootfs/layer-index.ts";
import type { Layer } from "../../src/rootfs/tree.ts";

export interface Entry {
  readonly kind: keyof typeof EntryKind;
  /** latin1, one character a byte. */
  readonly name: string;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly mtime?: readonly [seconds: number, nanoseconds: number];
  readonly data?: Uint8Array;
  readonly sparse?: {
    readonly sizeBytes: number;
    readonly chunkBits: number;
    readonly chunks: (Uint8Array | null)[];
  };
  readonly target?: string;
  /** Name index and suffix, then the value; sorted by the builder. */
  readonly xattrs?: readonly (readonly [index: number, suffix: string, value: Uint8Array])[];
  readonly rdev?: readonly [major: number, minor: number];
}

type Extra = Partial<Omit<Entry, "kind" | "name">>;
const bytes = (text: string | Uint8Array): Uint8Array =>
  typeof text === "string" ? Buffer.from(text, "latin1") : text;

export const dir = (name: string, extra: Extra = {}): Entry => ({
  kind: "directory",
  name,
  mode: 0o755,
  ...extra,
});
export const file = (name: string, data: string | Uint8Array = "", extra: Extra = {}): Entry => ({
  kind: "file",
  name,
  mode: 0o644,
  data: bytes(data),
  ...extra,
});
export const symlink = (name: string, target: string, extra: Extra = {}): Entry => ({
  kind: "symlink",
  name,
  mode: 0o777,
  target,
  ...extra,
});
export const hardlink = (name: string, target: string): Entry => ({ kind: "hardlink", name, target });
export const whiteout = (name: string): Entry => ({ kind: "whiteout", name });
export const opaque = (name: string): Entry => ({ kind: "opaque", name });
export const device = (kind: "character" | "block", name: string, major: number, minor: number): Entry => ({
  kind,
  name,
  mode: 0o600,
  rdev: [major, minor],
});
export const fifo = (name: string): Entry => ({ kind: "fifo", name, mode: 0o600 });

export interface BuiltLayer extends Layer {
  readonly blob: Buffer;
}

/** The heap and blob grow as lists of pieces. */
class Pieces {
  readonly #list: Uint8Array[] = [];
  length = 0;
  add(piece: Uint8Array): number {
    this.#list.push(piece);
    this.length += piece.length;
    return this.length - piece.length;
  }
  join(): Buffer {
    return Buffer.concat(this.#list);
  }
}

function u32s(values: number[]): Uint8Array {
  const out = Buffer.alloc(4 * values.length);
  for (const [at, value] of values.entries()) out.writeUInt32LE(value, 4 * at);
  return out;
}

function addBlocks(blob: Pieces, data: Uint8Array): number {
  const at = blob.add(data) / BLOCK_SIZE;
  blob.add(new Uint8Array((BLOCK_SIZE - (data.length % BLOCK_SIZE)) % BLOCK_SIZE));
  return at;
}

function addXattrs(heap: Pieces, xattrs: NonNullable<Entry["xattrs"]>): number {
  const sorted = xattrs.toSorted(([a, x], [b, y]) => a - b || (x < y ? -1 : 1));
  const parts = sorted.map(([index, suffix, value]) => {
    const size = value.length;
    return Buffer.concat([Buffer.from([index, suffix.length, size & 255, size >> 8]), bytes(suffix), value]);
  });
  return heap.add(Buffer.concat([Buffer.from([sorted.length & 255, sorted.length >> 8]), ...parts]));
}

export function buildLayer(entries: readonly Entry[]): BuiltLayer {
  const count = entries.length;
  const heap = new Pieces();
  const blob = new Pieces();
  const index = {
    entryCount: count,
    kind: new Uint8Array(count),
    mode: new Uint16Array(count),
    uid: new Uint32Array(count),
    gid: new Uint32Array(count),
    mtimeSeconds: new Float64Array(count),
    mtimeNanoseconds: new Uint32Array(count),
    sizeBytes: new Float64Array(count),
    nameOffset: new Uint32Array(count),
    nameLength: new Uint16Array(count),
    targetOffset: new Uint32Array(count),
    targetLength: new Uint16Array(count),
    xattrOffset: new Uint32Array(count).fill(NO_XATTRS),
    dataKind: new Uint8Array(count),
    dataOffset: new Uint32Array(count),
    rdevMajor: new Uint32Array(count),
    rdevMinor: new Uint32Array(count),
  };
  for (const [row, entry] of entries.entries()) {
    index.kind[row] = EntryKind[entry.kind];
    index.mode[row] = entry.mode ?? 0;
    index.uid[row] = entry.uid ?? 0;
    index.gid[row] = entry.gid ?? 0;
    index.mtimeSeconds[row] = entry.mtime?.[0] ?? 0;
    index.mtimeNanoseconds[row] = entry.mtime?.[1] ?? 0;
    index.nameOffset[row] = heap.add(bytes(entry.name));
    index.nameLength[row] = entry.name.length;
    if (entry.target !== undefined) {
      index.targetOffset[row] = heap.add(bytes(entry.target));
      index.targetLength[row] = entry.target.length;
    }
    if (entry.xattrs !== undefined) index.xattrOffset[row] = addXattrs(heap, entry.xattrs);
    index.rdevMajor[row] = entry.rdev?.[0] ?? 0;
    index.rdevMinor[row] = entry.rdev?.[1] ?? 0;
    index.sizeBytes[row] = entry.sparse?.sizeBytes ?? entry.data?.length ?? entry.target?.length ?? 0;
    if (entry.sparse !== undefined) {
      const chunks = entry.sparse.chunks.map((chunk) => (chunk === null ? HOLE : addBlocks(blob, chunk)));
      index.dataKind[row] = DataKind.chunks;
      index.dataOffset[row] = heap.add(u32s([entry.sparse.chunkBits, ...chunks]));
    } else if (entry.data !== undefined && entry.data.length > 0) {
      const inline = entry.data.length <= INLINE_LIMIT;
      index.dataKind[row] = inline ? DataKind.inline : DataKind.extent;
      index.dataOffset[row] = inline ? heap.add(entry.data) : addBlocks(blob, entry.data);
    }
  }
  const blobBytes = blob.join();
  const sums = new BlobSums();
  sums.push(blobBytes);
  const blobBlocks = blob.length / BLOCK_SIZE;
  const built: LayerIndex = { ...index, blobBlocks, blobSums: sums.finish(), heap: heap.join() };
  return { diffId: digestOf(built.heap), index: built, blob: blobBytes };
}

export const buildLayers = (stack: readonly (readonly Entry[])[]): BuiltLayer[] => stack.map(buildLayer);
