/**
 * ext4, the part of it that FlameBox writes: 4 KiB blocks, 256-byte inodes, extents, hashed directories, checksums
 * over all metadata, no journal. https://docs.kernel.org/filesystems/ext4/, structures as in Linux fs/ext4/ext4.h.
 *
 *     group    128 MiB each; the last one may be shorter
 *       superblock, group descriptors     in groups 0, 1 and powers of 3, 5 and 7: the first is used, the rest are copies
 *       block bitmap │ inode bitmap       one block each
 *       inode table                       256 bytes an inode
 *       data                              directories, then what is small, then file data; free at the end
 *
 * Everything is little-endian.
 */
import { FlameBoxError } from "../../util/error.ts";
import { bytes, hex32le, struct, u16le, u32le, u8 } from "../struct.ts";

export { alignUp, blocksOf } from "../erofs/format.ts";

export const BLOCK_SIZE = 4096;
export const LOG_BLOCK_SIZE = 2;
/** A block bitmap is one block. */
export const BLOCKS_PER_GROUP = 8 * BLOCK_SIZE;
export const MAX_INODES_PER_GROUP = 8 * BLOCK_SIZE;
export const INODE_BYTES = 256;
export const INODES_PER_BLOCK = BLOCK_SIZE / INODE_BYTES;
export const SECTORS_PER_BLOCK = BLOCK_SIZE / 512;
export const SUPER_OFFSET = 1024;
export const SUPER_MAGIC = 0xef53;
/** Numbers below it are reserved; 2 of them is the root directory. */
export const FIRST_INODE = 11;
export const ROOT_INODE = 2;
/** Block numbers of an extent's logical side have 32 bits, and the last one means "none". */
export const MAX_FILE_BLOCKS = 0xffff_ffff;
/** Where this writer stops: 16 TiB, as all of its disks. */
export const MAX_BLOCKS = 0xffff_ffff;
/** Names of a file. Of a directory's subdirectories there may be more: its count is 1 then. */
export const MAX_LINKS = 65_000;

export const FEATURE_COMPAT_EXT_ATTR = 0x8;
export const FEATURE_COMPAT_DIR_INDEX = 0x20;
export const FEATURE_INCOMPAT_FILETYPE = 0x2;
export const FEATURE_INCOMPAT_EXTENTS = 0x40;
export const FEATURE_INCOMPAT_64BIT = 0x80;
export const FEATURE_RO_COMPAT_SPARSE_SUPER = 0x1;
export const FEATURE_RO_COMPAT_LARGE_FILE = 0x2;
export const FEATURE_RO_COMPAT_HUGE_FILE = 0x8;
export const FEATURE_RO_COMPAT_DIR_NLINK = 0x20;
export const FEATURE_RO_COMPAT_EXTRA_ISIZE = 0x40;
export const FEATURE_RO_COMPAT_METADATA_CSUM = 0x400;

/** `s_state`: cleanly unmounted. */
export const STATE_CLEAN = 1;
/** `s_errors`: go on. */
export const ERRORS_CONTINUE = 1;
export const DYNAMIC_REVISION = 1;
/** `s_def_hash_version`: half of MD4. */
export const HASH_HALF_MD4 = 1;
/** `s_flags`: bytes of names are hashed as unsigned numbers. */
export const FLAG_UNSIGNED_HASH = 0x2;
/** `s_default_mount_opts`: user xattrs and ACLs. */
export const MOUNT_XATTRS_AND_ACLS = 0xc;
export const CHECKSUM_CRC32C = 1;

export const SUPER_BLOCK = struct("ext4_super_block", 1024, {
  s_inodes_count: u32le(0),
  s_blocks_count_lo: u32le(4),
  s_r_blocks_count_lo: u32le(8),
  s_free_blocks_count_lo: u32le(12),
  s_free_inodes_count: u32le(16),
  s_first_data_block: u32le(20),
  s_log_block_size: u32le(24),
  s_log_cluster_size: u32le(28),
  s_blocks_per_group: u32le(32),
  s_clusters_per_group: u32le(36),
  s_inodes_per_group: u32le(40),
  s_mtime: u32le(44),
  s_wtime: u32le(48),
  s_mnt_count: u16le(52),
  s_max_mnt_count: u16le(54),
  s_magic: u16le(56),
  s_state: u16le(58),
  s_errors: u16le(60),
  s_minor_rev_level: u16le(62),
  s_lastcheck: u32le(64),
  s_checkinterval: u32le(68),
  s_creator_os: u32le(72),
  s_rev_level: u32le(76),
  s_def_resuid: u16le(80),
  s_def_resgid: u16le(82),
  s_first_ino: u32le(84),
  s_inode_size: u16le(88),
  s_block_group_nr: u16le(90),
  s_feature_compat: hex32le(92),
  s_feature_incompat: hex32le(96),
  s_feature_ro_compat: hex32le(100),
  s_uuid: bytes(104, 16),
  s_volume_name: bytes(120, 16),
  s_last_mounted: bytes(136, 64),
  s_hash_seed: bytes(236, 16),
  s_def_hash_version: u8(252),
  s_desc_size: u16le(254),
  s_default_mount_opts: hex32le(256),
  s_mkfs_time: u32le(264),
  s_blocks_count_hi: u32le(336),
  s_r_blocks_count_hi: u32le(340),
  s_free_blocks_count_hi: u32le(344),
  s_min_extra_isize: u16le(348),
  s_want_extra_isize: u16le(350),
  s_flags: hex32le(352),
  s_log_groups_per_flex: u8(372),
  s_checksum_type: u8(373),
  s_checksum: hex32le(1020),
});

export const GROUP_DESCRIPTOR = struct("ext4_group_desc", 64, {
  bg_block_bitmap_lo: u32le(0),
  bg_inode_bitmap_lo: u32le(4),
  bg_inode_table_lo: u32le(8),
  bg_free_blocks_count_lo: u16le(12),
  bg_free_inodes_count_lo: u16le(14),
  bg_used_dirs_count_lo: u16le(16),
  bg_flags: u16le(18),
  bg_exclude_bitmap_lo: u32le(20),
  bg_block_bitmap_csum_lo: u16le(24),
  bg_inode_bitmap_csum_lo: u16le(26),
  bg_itable_unused_lo: u16le(28),
  bg_checksum: u16le(30),
  bg_block_bitmap_hi: u32le(32),
  bg_inode_bitmap_hi: u32le(36),
  bg_inode_table_hi: u32le(40),
  bg_free_blocks_count_hi: u16le(44),
  bg_free_inodes_count_hi: u16le(46),
  bg_used_dirs_count_hi: u16le(48),
  bg_itable_unused_hi: u16le(50),
  bg_exclude_bitmap_hi: u32le(52),
  bg_block_bitmap_csum_hi: u16le(56),
  bg_inode_bitmap_csum_hi: u16le(58),
});

/** `bg_flags`: nothing of the group's bitmap has been written, and it follows from the superblock alone. */
export const GROUP_INODE_UNINIT = 0x1;
export const GROUP_BLOCK_UNINIT = 0x2;
/** The part of the inode table that is not used is zero, so that the kernel need not write it. */
export const GROUP_INODE_ZEROED = 0x4;

export const INODE = struct("ext4_inode", 160, {
  i_mode: u16le(0),
  i_uid: u16le(2),
  i_size_lo: u32le(4),
  i_atime: u32le(8),
  i_ctime: u32le(12),
  i_mtime: u32le(16),
  i_dtime: u32le(20),
  i_gid: u16le(24),
  i_links_count: u16le(26),
  i_blocks_lo: u32le(28),
  i_flags: hex32le(32),
  i_version: u32le(36),
  i_block: bytes(40, 60),
  i_generation: u32le(100),
  i_file_acl_lo: u32le(104),
  i_size_high: u32le(108),
  i_obso_faddr: u32le(112),
  i_blocks_high: u16le(116),
  i_file_acl_high: u16le(118),
  i_uid_high: u16le(120),
  i_gid_high: u16le(122),
  i_checksum_lo: u16le(124),
  i_extra_isize: u16le(128),
  i_checksum_hi: u16le(130),
  i_ctime_extra: u32le(132),
  i_mtime_extra: u32le(136),
  i_atime_extra: u32le(140),
  i_crtime: u32le(144),
  i_crtime_extra: u32le(148),
  i_version_hi: u32le(152),
  i_projid: u32le(156),
});
export const EXTRA_ISIZE = INODE.sizeBytes - 128;
export const INODE_BLOCK_BYTES = 60;

export const INODE_FLAG_INDEX = 0x1000;
export const INODE_FLAG_EXTENTS = 0x8_0000;

export const EXTENT_MAGIC = 0xf30a;
export const EXTENT_HEADER = struct("ext4_extent_header", 12, {
  eh_magic: u16le(0),
  eh_entries: u16le(2),
  eh_max: u16le(4),
  eh_depth: u16le(6),
  eh_generation: u32le(8),
});
export const EXTENT = struct("ext4_extent", 12, {
  ee_block: u32le(0),
  ee_len: u16le(4),
  ee_start_hi: u16le(6),
  ee_start_lo: u32le(8),
});
export const EXTENT_INDEX = struct("ext4_extent_idx", 12, {
  ei_block: u32le(0),
  ei_leaf_lo: u32le(4),
  ei_leaf_hi: u16le(8),
});
export const EXTENTS_IN_INODE = 4;
export const EXTENTS_IN_BLOCK = Math.floor((BLOCK_SIZE - EXTENT_HEADER.sizeBytes) / EXTENT.sizeBytes);
/** The checksum behind a block of extents. */
export const EXTENT_TAIL_OFFSET = EXTENT_HEADER.sizeBytes + EXTENTS_IN_BLOCK * EXTENT.sizeBytes;

export const DIRENT = struct("ext4_dir_entry_2", 8, {
  inode: u32le(0),
  rec_len: u16le(4),
  name_len: u8(6),
  file_type: u8(7),
});
/** Looks to older readers like an entry of no inode at the end of a block. */
export const DIRENT_TAIL = struct("ext4_dir_entry_tail", 12, {
  det_reserved_zero1: u32le(0),
  det_rec_len: u16le(4),
  det_reserved_zero2: u8(6),
  det_reserved_ft: u8(7),
  det_checksum: hex32le(8),
});
export const DIRENT_TAIL_TYPE = 0xde;

/** Block 0 of a hashed directory: its two dots, then this, then the index. */
export const HASH_ROOT_INFO = struct("dx_root_info", 8, {
  reserved_zero: u32le(0),
  hash_version: u8(4),
  info_length: u8(5),
  indirect_levels: u8(6),
  unused_flags: u8(7),
});
/** An index entry; the first one's hash is the two counts below. */
export const HASH_ENTRY = struct("dx_entry", 8, { hash: hex32le(0), block: u32le(4) });
export const HASH_COUNTS = struct("dx_countlimit", 4, { limit: u16le(0), count: u16le(2) });
export const HASH_TAIL = struct("dx_tail", 8, { dt_reserved: u32le(0), dt_checksum: hex32le(4) });

export const XATTR_MAGIC = 0xea02_0000;
export const XATTR_BLOCK_HEADER = struct("ext4_xattr_header", 32, {
  h_magic: hex32le(0),
  h_refcount: u32le(4),
  h_blocks: u32le(8),
  h_hash: hex32le(12),
  h_checksum: hex32le(16),
});
export const XATTR_INODE_HEADER_BYTES = 4;
export const XATTR_ENTRY = struct("ext4_xattr_entry", 16, {
  e_name_len: u8(0),
  e_name_index: u8(1),
  e_value_offs: u16le(2),
  e_value_inum: u32le(4),
  e_value_size: u32le(8),
  e_hash: hex32le(12),
});

/** Codes: `ext4-too-large`, `ext4-too-small` (the size that was asked for), `ext4-cannot-hold` (one inode); `invalid-ext4` (dump). */
export class Ext4Error extends FlameBoxError {
  override readonly name = "Ext4Error";
}
