/**
 * A layer, converted: its file data in a *layer blob*, and this *index* of its entries beside it.
 *
 *     tar ──convert──► layer blob   file data only, every extent 4 KiB-aligned, named by the diff ID
 *                 └──► layer index  one row an archive entry, in archive order, as columns
 *
 * Columns instead of objects, because a big layer has 100,000 entries: the file is read into a few typed
 * arrays without parsing, and merging layers touches only what it needs. Names, link targets and xattrs
 * are bytes; `Heap` ranges point into one byte array.
 *
 * The converter has already normalised names (relative, no empty, `.` or `..` components; the root is the
 * empty name) and resolved GNU/PAX extensions. It has not resolved links: that needs the layers below.
 */

/** What a row is. `hardlink` keeps its target's name; whiteouts have lost their `.wh.` prefix. */
export const EntryKind = {
  directory: 0,
  file: 1,
  symlink: 2,
  hardlink: 3,
  character: 4,
  block: 5,
  fifo: 6,
  /** Removes `path` of lower layers. */
  whiteout: 7,
  /** Hides what lower layers have inside the directory `path`. */
  opaque: 8,
} as const;
export type EntryKind = (typeof EntryKind)[keyof typeof EntryKind];

/** Where a file's data is. */
export const DataKind = {
  /** No data: not a file, or an empty one. */
  none: 0,
  /** At most INLINE_LIMIT bytes, in the heap (`dataOffset`, `sizeBytes`). */
  inline: 1,
  /** Contiguous 4 KiB blocks of the blob from block `dataOffset`; zero-filled behind the end. */
  extent: 2,
  /**
   * Sparse: `dataOffset` is a heap offset (any alignment) of u32le values: chunkBits, then
   * ceil(sizeBytes / chunk size) block numbers of the blob, HOLE = nothing stored. A chunk is
   * BLOCK_SIZE << chunkBits bytes, as in EROFS's chunk format; the last one has only the blocks it needs.
   */
  chunks: 3,
} as const;
export type DataKind = (typeof DataKind)[keyof typeof DataKind];

/** Files of at most this many bytes live in the metadata. Fixed store-wide: blob bytes depend on it. */
export const INLINE_LIMIT = 1024;
export const BLOCK_SIZE = 4096;

export interface LayerIndex {
  readonly entryCount: number;
  /** Size of the layer blob, in 4 KiB blocks. 0 means there is no blob file. */
  readonly blobBlocks: number;
  /** CRC-32 of each PIECE_BYTES of the blob, the last piece being shorter. */
  readonly blobSums: Uint32Array;
  /** All names, targets, xattrs and inline data, back to back. */
  readonly heap: Uint8Array;

  // One element an entry:
  readonly kind: Uint8Array;
  /** Permission bits only, 0o7777. */
  readonly mode: Uint16Array;
  readonly uid: Uint32Array;
  readonly gid: Uint32Array;
  /** Seconds since the epoch, may be negative; nanoseconds 0..999,999,999. */
  readonly mtimeSeconds: Float64Array;
  readonly mtimeNanoseconds: Uint32Array;
  /** Files: the expanded size. Symlinks: length of the target. */
  readonly sizeBytes: Float64Array;
  readonly nameOffset: Uint32Array;
  readonly nameLength: Uint16Array;
  /** Symlink target as it is, hard link target normalised like a name. */
  readonly targetOffset: Uint32Array;
  readonly targetLength: Uint16Array;
  /**
   * Heap offset of the xattrs, 0xffffffff = none: u16le count, then per xattr u8 EROFS name index, u8 suffix
   * length, u16le value length, suffix, value. Sorted by (index, suffix); unsupported namespaces are dropped.
   */
  readonly xattrOffset: Uint32Array;
  readonly dataKind: Uint8Array;
  /** See DataKind. */
  readonly dataOffset: Uint32Array;
  /** Devices: major and minor. */
  readonly rdevMajor: Uint32Array;
  readonly rdevMinor: Uint32Array;
}

export const NO_XATTRS = 0xffff_ffff;
export const HOLE = 0xffff_ffff;
