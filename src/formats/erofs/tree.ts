/**
 * What the writer is given: a finished tree as columns, one element an inode, inode 0 the root. Only
 * `rootfs/validate.ts` makes a `ValidatedTree`, so that the writer need not doubt what it reads.
 *
 * File data is not here. It is in *sources*: each has a heap of bytes in memory (names, symlink targets,
 * xattrs, small files) and a blob of blocks that is put behind the metadata, in the order of the sources.
 */
declare const validated: unique symbol;

/** Where an inode's data is; the offset is `contentOffset` in the inode's source. */
export const Content = {
  none: 0,
  /** `sizeBytes` bytes of the heap: a small file, a symlink's target. */
  bytes: 1,
  /** Blocks of the blob, from this one on. */
  extent: 2,
  /** Heap offset of u32le: log2 of the blocks in a chunk, then a blob block a chunk, 0xffffffff = hole. */
  chunks: 3,
} as const;
export type Content = (typeof Content)[keyof typeof Content];

export const NO_XATTRS = 0xffff_ffff;

export interface TreeSource {
  readonly heap: Uint8Array;
  readonly blobBlocks: number;
}

export interface InodeTree {
  readonly inodeCount: number;
  readonly sources: readonly TreeSource[];
  /** Type and permission bits, as in `st_mode`. */
  readonly mode: Uint16Array;
  readonly uid: Uint32Array;
  readonly gid: Uint32Array;
  readonly mtimeSeconds: Float64Array;
  readonly mtimeNanoseconds: Uint32Array;
  /** Names of a file; 2 + subdirectories of a directory. */
  readonly nlink: Uint32Array;
  /** Of files and symlinks; 0 for the rest. */
  readonly sizeBytes: Float64Array;
  readonly rdevMajor: Uint32Array;
  readonly rdevMinor: Uint32Array;
  /** Index into `sources`; meaningless while there is neither content nor xattrs. */
  readonly source: Uint16Array;
  readonly content: Uint8Array;
  readonly contentOffset: Uint32Array;
  /**
   * Heap offset of u16le count, then per xattr u8 name index, u8 suffix length, u16le value length, suffix,
   * value, ascending by index and suffix; or NO_XATTRS.
   */
  readonly xattrOffset: Uint32Array;

  /** The inode of `..`. Directories only. */
  readonly parent: Uint32Array;
  /** The children of inode i are rows `firstChild[i]` up to `firstChild[i + 1]` of the two lists below. */
  readonly firstChild: Uint32Array;
  /** Names as latin1 strings, one character a byte, ascending within a directory. */
  readonly childName: readonly string[];
  readonly childInode: Uint32Array;
}

export type ValidatedTree = InodeTree & { readonly [validated]: true };
