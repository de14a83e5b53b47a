/**
 * The file of a layer index: a header, the heap, the columns.
 *
 *     0      magic "FBLAYER\0"
 *     8      u32 version        12  u32 entryCount      16  u64 heapBytes
 *     24     u32 blobBlocks     28  u32 crc32 of everything from byte 64 on, then of bytes 0…27
 *     32…63  zero
 *     64     heap, zero-padded to 8 bytes
 *            columns, widest elements first so that each is aligned: COLUMNS, entryCount elements each
 *            u32 crc32 of each MiB of the blob, behind as many zeros as align it to 4 bytes
 *
 * Little-endian, as all hosts that Node and KVM share are. The heap stands first so that a converter can
 * write it while the layer streams by; the columns follow at the end.
 *
 * Reading makes no copies: the columns are views over the one buffer. Before they are handed out, every
 * offset has been checked against the heap and every block against the blob, so that no reader has to.
 */
import { open } from "node:fs/promises";
import { crc32 } from "node:zlib";
import { PIECE_BYTES } from "../util/piece.ts";
import { FlameBoxError } from "../util/error.ts";
import {
  BLOCK_SIZE,
  DataKind,
  EntryKind,
  HOLE,
  INLINE_LIMIT,
  NO_XATTRS,
  type LayerIndex,
} from "./layer-index.ts";

export const COLUMNS = [
  ["mtimeSeconds", Float64Array],
  ["sizeBytes", Float64Array],
  ["uid", Uint32Array],
  ["gid", Uint32Array],
  ["mtimeNanoseconds", Uint32Array],
  ["nameOffset", Uint32Array],
  ["targetOffset", Uint32Array],
  ["xattrOffset", Uint32Array],
  ["dataOffset", Uint32Array],
  ["rdevMajor", Uint32Array],
  ["rdevMinor", Uint32Array],
  ["mode", Uint16Array],
  ["nameLength", Uint16Array],
  ["targetLength", Uint16Array],
  ["kind", Uint8Array],
  ["dataKind", Uint8Array],
] as const;
export type ColumnName = (typeof COLUMNS)[number][0];
export type Columns = { readonly [N in ColumnName]: LayerIndex[N] };

export const HEADER_BYTES = 64;
const MAGIC = Buffer.from("FBLAYER\0", "latin1");
const VERSION = 2;
const CRC_OFFSET = 28;
const ROW_BYTES = COLUMNS.reduce((sum, [, type]) => sum + type.BYTES_PER_ELEMENT, 0);
/** Offsets into the heap are 32 bits, and the last value means "none". */
export const MAX_HEAP_BYTES = 0xffff_fff0;
/** A reader allocates what the file's size says, up to here. */
const MAX_FILE_BYTES = 2 ** 32 - 4096;
/** Linux: 12 bits of major, 20 of minor. */
export const MAX_MAJOR = 0xfff;
export const MAX_MINOR = 0xf_ffff;

export class LayerIndexError extends FlameBoxError {
  override readonly name = "LayerIndexError";

  constructor(what: string, cause?: unknown) {
    super("layer-index-corrupt", `the layer index is corrupt: ${what}`, {
      hint: "remove the image and pull it again",
      cause,
    });
  }
}

export interface HeaderFields {
  readonly entryCount: number;
  readonly heapBytes: number;
  readonly blobBlocks: number;
}

/** `bodyCrc` is the crc32 of everything that follows the header. */
export function encodeHeader(fields: HeaderFields, bodyCrc: number): Uint8Array {
  const header = Buffer.alloc(HEADER_BYTES);
  header.set(MAGIC);
  header.writeUInt32LE(VERSION, 8);
  header.writeUInt32LE(fields.entryCount, 12);
  header.writeBigUInt64LE(BigInt(fields.heapBytes), 16);
  header.writeUInt32LE(fields.blobBlocks, 24);
  header.writeUInt32LE(crc32(header.subarray(0, CRC_OFFSET), bodyCrc), CRC_OFFSET);
  return header;
}

/** What follows the heap: padding, the columns, the sums of the blob. */
export function encodeTail(columns: Columns, heapBytes: number, blobSums: Uint32Array): Uint8Array {
  const padding = paddingOf(heapBytes);
  const columnBytes = columns.kind.length * ROW_BYTES;
  const sumsAt = padding + columnBytes + sumPaddingOf(columnBytes);
  const bytes = new Uint8Array(sumsAt + blobSums.byteLength);
  bytes.set(new Uint8Array(blobSums.buffer, blobSums.byteOffset, blobSums.byteLength), sumsAt);
  let at = padding;
  for (const [name] of COLUMNS) {
    const column = columns[name];
    bytes.set(new Uint8Array(column.buffer, column.byteOffset, column.byteLength), at);
    at += column.byteLength;
  }
  return bytes;
}

export function encodeLayerIndex(index: LayerIndex): Uint8Array {
  const { heap, entryCount, blobBlocks } = index;
  const tail = encodeTail(index, heap.length, index.blobSums);
  const header = encodeHeader({ entryCount, heapBytes: heap.length, blobBlocks }, crc32(tail, crc32(heap)));
  return Buffer.concat([header, heap, tail]);
}

/** @throws FlameBoxError `layer-index-corrupt`; the file system's own errors when it cannot be read */
export async function readLayerIndex(path: string): Promise<LayerIndex> {
  const file = await open(path, "r");
  try {
    const { size } = await file.stat();
    if (size < HEADER_BYTES || size > MAX_FILE_BYTES)
      throw new LayerIndexError(`${size} bytes cannot be one`);
    const bytes = new Uint8Array(size);
    let at = 0;
    while (at < size) {
      const { bytesRead } = await file.read(bytes, at, Math.min(size - at, 2 ** 30), at);
      if (bytesRead === 0) throw new LayerIndexError("it ends too early");
      at += bytesRead;
    }
    return decodeLayerIndex(bytes);
  } finally {
    await file.close();
  }
}

/**
 * Views over `bytes`, which must not change afterwards. Copied only when it does not start at a multiple of
 * eight bytes of its buffer.
 * @throws FlameBoxError `layer-index-corrupt`
 */
export function decodeLayerIndex(bytes: Uint8Array): LayerIndex {
  if (bytes.length < HEADER_BYTES) throw new LayerIndexError("it is shorter than its header");
  const aligned = bytes.byteOffset % 8 === 0 ? bytes : new Uint8Array(bytes);
  const header = Buffer.from(aligned.buffer, aligned.byteOffset, HEADER_BYTES);
  if (!header.subarray(0, 8).equals(MAGIC)) throw new LayerIndexError("it does not begin as one");
  const version = header.readUInt32LE(8);
  if (version !== VERSION) throw new LayerIndexError(`its version is ${version}, wanted ${VERSION}`);
  const entryCount = header.readUInt32LE(12);
  const heapBytes = Number(header.readBigUInt64LE(16));
  const blobBlocks = header.readUInt32LE(24);
  const columnsAt = HEADER_BYTES + heapBytes + paddingOf(heapBytes);
  const columnBytes = entryCount * ROW_BYTES;
  const sumsAt = columnsAt + columnBytes + sumPaddingOf(columnBytes);
  const sumCount = Math.ceil((blobBlocks * BLOCK_SIZE) / PIECE_BYTES);
  if (heapBytes > MAX_HEAP_BYTES || sumsAt + 4 * sumCount !== aligned.length) {
    throw new LayerIndexError(`its ${aligned.length} bytes are not what its header says`);
  }
  const crc = crc32(header.subarray(0, CRC_OFFSET), crc32(aligned.subarray(HEADER_BYTES)));
  if (crc !== header.readUInt32LE(CRC_OFFSET)) throw new LayerIndexError("its checksum is wrong");
  const index: LayerIndex = {
    entryCount,
    blobBlocks,
    blobSums: new Uint32Array(aligned.buffer as ArrayBuffer, aligned.byteOffset + sumsAt, sumCount),
    heap: aligned.subarray(HEADER_BYTES, HEADER_BYTES + heapBytes),
    ...columnViews(aligned, columnsAt, entryCount),
  };
  checkRows(index);
  return index;
}

function columnViews(bytes: Uint8Array, columnsAt: number, entryCount: number): Columns {
  let at = bytes.byteOffset + columnsAt;
  const views = COLUMNS.map(([name, type]) => {
    const view = new type(bytes.buffer as ArrayBuffer, at, entryCount);
    at += view.byteLength;
    return [name, view] as const;
  });
  return Object.fromEntries(views) as unknown as Columns;
}

function paddingOf(heapBytes: number): number {
  return (8 - (heapBytes % 8)) % 8;
}

function sumPaddingOf(columnBytes: number): number {
  return (4 - (columnBytes % 4)) % 4;
}

// --- what a reader may rely on ------------------------------------------------------------------------------

function checkRows(index: LayerIndex): void {
  for (let row = 0; row < index.entryCount; row++) {
    const wrong = metadataFault(index, row) ?? rangeFault(index, row) ?? dataFault(index, row);
    if (wrong !== undefined) throw new LayerIndexError(`row ${row} has a bad ${wrong}`);
  }
}

function metadataFault(index: LayerIndex, row: number): string | undefined {
  const kind = index.kind[row] as number;
  if (kind > EntryKind.opaque) return "kind";
  if ((index.mode[row] as number) > 0o7777) return "mode";
  if (!Number.isSafeInteger(index.mtimeSeconds[row])) return "mtime";
  if ((index.mtimeNanoseconds[row] as number) > 999_999_999) return "mtime";
  const size = index.sizeBytes[row] as number;
  if (!Number.isSafeInteger(size) || size < 0) return "size";
  if ((index.rdevMajor[row] as number) > MAX_MAJOR || (index.rdevMinor[row] as number) > MAX_MINOR) {
    return "device number";
  }
  return undefined;
}

function rangeFault(index: LayerIndex, row: number): string | undefined {
  const heapBytes = index.heap.length;
  const kind = index.kind[row] as number;
  const nameLength = index.nameLength[row] as number;
  if ((index.nameOffset[row] as number) + nameLength > heapBytes) return "name";
  // Only a directory, or the mark that hides its contents, can be the root.
  if (nameLength === 0 && kind !== EntryKind.directory && kind !== EntryKind.opaque) return "name";
  const targetLength = index.targetLength[row] as number;
  if ((index.targetOffset[row] as number) + targetLength > heapBytes) return "target";
  const isLink = kind === EntryKind.symlink || kind === EntryKind.hardlink;
  if (isLink !== targetLength > 0) return "target";
  if (kind === EntryKind.symlink && index.sizeBytes[row] !== targetLength) return "size";
  const xattrOffset = index.xattrOffset[row] as number;
  if (xattrOffset !== NO_XATTRS && !areXattrsGood(index.heap, xattrOffset)) return "xattr";
  return undefined;
}

function areXattrsGood(heap: Uint8Array, offset: number): boolean {
  if (offset + 2 > heap.length) return false;
  const count = u16(heap, offset);
  let at = offset + 2;
  for (let i = 0; i < count; i++) {
    if (at + 4 > heap.length) return false;
    const index = heap[at] as number;
    const suffixLength = heap[at + 1] as number;
    if (index < 1 || index > 6 || index === 5) return false;
    // The two ACL attributes are named by their index alone, all others need the rest of their name.
    if ((index === 2 || index === 3) !== (suffixLength === 0)) return false;
    at += 4 + suffixLength + u16(heap, at + 2);
  }
  return count > 0 && at <= heap.length;
}

function dataFault(index: LayerIndex, row: number): string | undefined {
  const dataKind = index.dataKind[row] as number;
  const size = index.sizeBytes[row] as number;
  const offset = index.dataOffset[row] as number;
  const isFile = index.kind[row] === EntryKind.file;
  switch (dataKind) {
    case DataKind.none:
      return isFile && size > 0 ? "data kind" : undefined;
    case DataKind.inline:
      return isFile && size > 0 && size <= INLINE_LIMIT && offset + size <= index.heap.length
        ? undefined
        : "inline data";
    case DataKind.extent:
      return isFile && size > 0 && offset + Math.ceil(size / BLOCK_SIZE) <= index.blobBlocks
        ? undefined
        : "extent";
    case DataKind.chunks:
      return isFile && size > 0 && areChunksGood(index, size, offset) ? undefined : "chunk map";
    default:
      return "data kind";
  }
}

function areChunksGood(index: LayerIndex, size: number, offset: number): boolean {
  const { heap, blobBlocks } = index;
  if (offset + 4 > heap.length) return false;
  const chunkBits = u32(heap, offset);
  if (chunkBits > 31) return false;
  const chunkBlocks = 2 ** chunkBits;
  const blocks = Math.ceil(size / BLOCK_SIZE);
  const chunks = Math.ceil(blocks / chunkBlocks);
  if (offset + 4 + 4 * chunks > heap.length) return false;
  for (let i = 0; i < chunks; i++) {
    const block = u32(heap, offset + 4 + 4 * i);
    const needed = Math.min(chunkBlocks, blocks - i * chunkBlocks);
    if (block !== HOLE && block + needed > blobBlocks) return false;
  }
  return true;
}

function u16(bytes: Uint8Array, at: number): number {
  return (bytes[at] as number) | ((bytes[at + 1] as number) << 8);
}

function u32(bytes: Uint8Array, at: number): number {
  return (u16(bytes, at) | (u16(bytes, at + 2) << 16)) >>> 0;
}
