/**
 * EROFS, the part of it that FlameBox writes and reads: 4 KiB blocks, 64-byte inodes, no compression, one
 * device. https://docs.kernel.org/filesystems/erofs.html, structures as in Linux fs/erofs/erofs_fs.h.
 *
 *     block 0          0 … 1023 free │ 1024 superblock │ 1152 inodes, each at 32 × nid …
 *     metadata blocks  inode ┬ xattrs ┬ chunk map, or the last partial block of the data ("inline tail")
 *     data blocks      full blocks of directories, long symlinks
 *     ── end of the primary; behind it, at addresses that continue ("unified"), lie the layer blobs ──
 *
 * Everything is little-endian; a block address counts 4 KiB blocks from the start of the image.
 */
import { FlameBoxError } from "../../util/error.ts";
import { bytes, hex32le, i64le, struct, u16le, u32le, u64le, u8 } from "../struct.ts";

export const BLOCK_BITS = 12;
export const BLOCK_SIZE = 4096;
export const SUPER_OFFSET = 1024;
export const SUPER_MAGIC = 0xe0f5_e1e2;
/** An inode's position is this times its nid. */
export const SLOT_BYTES = 32;
/** "No such block": holes, and files without data. */
export const NO_BLOCK = 0xffff_ffff;
/** The kernel reads `root_nid` from 16 bits. */
export const MAX_ROOT_NID = 0xffff;
/** Block addresses have 32 bits, and the last one means "none". */
export const MAX_BLOCKS = 0xffff_ffff;
export const MAX_NAME_BYTES = 255;
/** A symlink target must fit a page with its NUL. */
export const MAX_TARGET_BYTES = 4095;

export const SUPER_BLOCK = struct("erofs_super_block", 128, {
  magic: hex32le(0),
  checksum: hex32le(4),
  feature_compat: hex32le(8),
  blkszbits: u8(12),
  sb_extslots: u8(13),
  root_nid: u16le(14),
  inos: u64le(16),
  build_time: u64le(24),
  build_time_nsec: u32le(32),
  blocks: u32le(36),
  meta_blkaddr: u32le(40),
  xattr_blkaddr: u32le(44),
  uuid: bytes(48, 16),
  volume_name: bytes(64, 16),
  feature_incompat: hex32le(80),
  available_compr_algs: u16le(84),
  extra_devices: u16le(86),
  devt_slotoff: u16le(88),
  dirblkbits: u8(90),
  xattr_prefix_count: u8(91),
  xattr_prefix_start: u32le(92),
  packed_nid: u64le(96),
  xattr_filter_reserved: u8(104),
});

export const FEATURE_COMPAT_SB_CHKSUM = 0x1;
export const FEATURE_COMPAT_MTIME = 0x2;
export const FEATURE_INCOMPAT_CHUNKED_FILE = 0x4;

export const INODE = struct("erofs_inode_extended", 64, {
  i_format: u16le(0),
  i_xattr_icount: u16le(2),
  i_mode: u16le(4),
  i_reserved: u16le(6),
  i_size: u64le(8),
  /** Start block, device number or chunk format: see Layout. */
  i_u: u32le(16),
  i_ino: u32le(20),
  i_uid: u32le(24),
  i_gid: u32le(28),
  i_mtime: i64le(32),
  i_mtime_nsec: u32le(40),
  i_nlink: u32le(44),
});

/** Bit 0 of `i_format`: the 64-byte inode; the 32-byte one has no mtime of its own and narrow owners. */
export const FORMAT_EXTENDED = 1;

/** Bits 1-3 of `i_format`. */
export const Layout = {
  /** All data from block `i_u` on. */
  flatPlain: 0,
  /** Full blocks from `i_u` on, the last partial block behind the inode. It may not cross a block. */
  flatInline: 2,
  /** A map of chunks behind the inode; chunks may be holes. `i_u` is the chunk format. */
  chunkBased: 4,
} as const;

/** Low bits of the chunk format: log2 of the blocks in a chunk. Other bits are wider map entries. */
export const CHUNK_BITS_MASK = 0x1f;
export const CHUNK_ENTRY_BYTES = 4;

export const DIRENT = struct("erofs_dirent", 12, { nid: u64le(0), nameoff: u16le(8), file_type: u8(10) });

export const XATTR_HEADER = struct("erofs_xattr_ibody_header", 12, {
  h_name_filter: u32le(0),
  h_shared_count: u8(4),
});
export const XATTR_ENTRY = struct("erofs_xattr_entry", 4, {
  e_name_len: u8(0),
  e_name_index: u8(1),
  e_value_size: u16le(2),
});
/** `i_xattr_icount` counts 4-byte units of the body behind its header, plus one. */
export const MAX_XATTR_BODY_BYTES = XATTR_HEADER.sizeBytes + 4 * 0xfffe;

/** What an xattr's name index stands for. Names in no such namespace cannot be stored. */
export const XATTR_PREFIXES: Readonly<Record<number, string>> = {
  1: "user.",
  2: "system.posix_acl_access",
  3: "system.posix_acl_default",
  4: "trusted.",
  6: "security.",
};

export const TYPE_MASK = 0o170000;
export const TypeBits = {
  fifo: 0o010000,
  character: 0o020000,
  directory: 0o040000,
  block: 0o060000,
  file: 0o100000,
  symlink: 0o120000,
  socket: 0o140000,
} as const;

/** `file_type` of a directory entry, by `(mode & TYPE_MASK) >> 12`; 0 where there is no such type. */
export const DIRENT_TYPES: readonly number[] = [0, 5, 3, 0, 2, 0, 4, 0, 1, 0, 7, 0, 6, 0, 0, 0];

/** The kernel's `new_encode_dev`. */
export function encodeDevice(major: number, minor: number): number {
  return ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0;
}

export function decodeDevice(encoded: number): { major: number; minor: number } {
  return { major: (encoded >>> 8) & 0xfff, minor: (encoded & 0xff) | ((encoded >>> 12) & 0xfff00) };
}

export const MAX_DEVICE_MAJOR = 0xfff;
export const MAX_DEVICE_MINOR = 0xf_ffff;

/**
 * Codes: `erofs-too-large` (writer); `invalid-erofs`, `unsupported-erofs`, `erofs-not-found`,
 * `erofs-too-much-data` (reader).
 */
export class ErofsError extends FlameBoxError {
  override readonly name = "ErofsError";
}

export function alignUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}

export function blocksOf(sizeBytes: number): number {
  return Math.ceil(sizeBytes / BLOCK_SIZE);
}
