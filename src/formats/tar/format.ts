/**
 * The tar header and what a reader makes of it.
 *
 * One 512-byte block a header; the variants differ only behind byte 257:
 *
 *     0 name 100 | 100 mode 8 | 108 uid 8 | 116 gid 8 | 124 size 12 | 136 mtime 12 | 148 checksum 8
 *     156 typeflag | 157 linkname 100 | 257 magic 6 | 263 version 2 | 265 uname 32 | 297 gname 32
 *     329 devmajor 8 | 337 devminor 8 | 345 prefix 155 (ustar) or GNU's own fields
 *
 * ustar and PAX: https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html#tag_20_94_13_06
 * GNU: https://www.gnu.org/software/tar/manual/html_node/Standard.html
 */
export const BLOCK_BYTES = 512;

/** Where a field is: [offset, length]. */
export const Field = {
  name: [0, 100],
  mode: [100, 8],
  uid: [108, 8],
  gid: [116, 8],
  size: [124, 12],
  mtime: [136, 12],
  checksum: [148, 8],
  linkName: [157, 100],
  devMajor: [329, 8],
  devMinor: [337, 8],
  prefix: [345, 155],
  /** The star variant keeps atime and ctime in the last 24 bytes of the prefix. */
  starPrefix: [345, 131],
  gnuRealSize: [483, 12],
} as const satisfies Record<string, readonly [number, number]>;
export type Field = readonly [offset: number, length: number];

export const TYPE_OFFSET = 156;
export const MAGIC_OFFSET = 257;
export const STAR_TRAILER_OFFSET = 508;

/** Old GNU sparse files: pairs of 12-byte numbers in the header, then in blocks of their own. */
export const GnuSparse = {
  pairBytes: 24,
  headerPairsOffset: 386,
  headerPairs: 4,
  headerExtendedOffset: 482,
  blockPairs: 21,
  blockExtendedOffset: 504,
} as const;

/** PAX records and GNU long names of one header, together. The same bound as Go's archive/tar. */
export const MAX_EXTENSION_BYTES = 1 << 20;
/** Linux's PATH_MAX: a longer name cannot be unpacked by anybody. */
export const MAX_NAME_BYTES = 4096;
export const MAX_SPARSE_SEGMENTS = 1 << 18;
/** Default bound of a sparse file's expanded size. */
export const MAX_SPARSE_BYTES = 2 ** 40;

export type TarType = "file" | "directory" | "symlink" | "hardlink" | "character" | "block" | "fifo";

/** Type flags to types; the others are extensions, or nothing that an image can hold. */
export const TYPES: Readonly<Record<string, TarType>> = {
  "\0": "file",
  "0": "file",
  "1": "hardlink",
  "2": "symlink",
  "3": "character",
  "4": "block",
  "5": "directory",
  "6": "fifo",
  "7": "file",
  S: "file",
};

export interface Xattr {
  /** With its namespace: `user.mime_type`. */
  readonly name: Uint8Array;
  readonly value: Uint8Array;
}

export interface TarEntry {
  readonly type: TarType;
  /** As in the archive: may be absolute, have `..` components or end in a slash. Never holds a NUL. */
  readonly name: Uint8Array;
  readonly linkName: Uint8Array;
  /** As in the archive, all bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** May be negative; the nanoseconds (0..999,999,999) count upwards from it. */
  readonly mtimeSeconds: number;
  readonly mtimeNanoseconds: number;
  /** The file's size once unpacked; for a sparse file with its holes. 0 for everything but files. */
  readonly sizeBytes: number;
  /** Bytes of file data in the archive: what `data` is going to be called with, in sum. */
  readonly storedBytes: number;
  /** Sparse files: start and length of each run of data, in turn; ordered, apart, none empty. */
  readonly segments: readonly number[] | undefined;
  readonly devMajor: number;
  readonly devMinor: number;
  readonly xattrs: readonly Xattr[];
  /** ACLs in text form that could not be turned into xattrs (names instead of ids). */
  readonly droppedAcls: number;
  /** Where its header is in the archive. */
  readonly offset: number;
}
