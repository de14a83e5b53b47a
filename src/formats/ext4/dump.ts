/**
 * The head of a file system as text, for people and for snapshots: the superblock field by field, then one line a group.
 * What lies behind it, e2fsprogs' debugfs shows.
 */
import {
  BLOCKS_PER_GROUP,
  BLOCK_SIZE,
  Ext4Error,
  FEATURE_INCOMPAT_64BIT,
  GROUP_DESCRIPTOR,
  LOG_BLOCK_SIZE,
  SUPER_BLOCK,
  SUPER_MAGIC,
  SUPER_OFFSET,
} from "./format.ts";

/**
 * `bytes` begin where the file system does, and have at least its first group descriptors.
 * @throws Ext4Error `invalid-ext4`, also for what this writer does not make
 */
export function dumpExt4(bytes: Uint8Array): string {
  if (bytes.length < BLOCK_SIZE) throw invalid(`${bytes.length} bytes are no file system`);
  const superBlock = SUPER_BLOCK.decode(bytes, SUPER_OFFSET);
  const { s_magic, s_log_block_size, s_blocks_per_group, s_desc_size, s_blocks_count_hi } = superBlock;
  if (s_magic !== SUPER_MAGIC) throw invalid(`its magic is ${s_magic.toString(16)}, want ef53`);
  const isOurs =
    s_log_block_size === LOG_BLOCK_SIZE &&
    s_blocks_per_group === BLOCKS_PER_GROUP &&
    s_desc_size === GROUP_DESCRIPTOR.sizeBytes &&
    (superBlock.s_feature_incompat & FEATURE_INCOMPAT_64BIT) !== 0 &&
    s_blocks_count_hi === 0;
  if (!isOurs) throw invalid("it has other blocks, groups or descriptors than this writer makes");
  const groups = Math.ceil(superBlock.s_blocks_count_lo / BLOCKS_PER_GROUP);
  if (BLOCK_SIZE + groups * GROUP_DESCRIPTOR.sizeBytes > bytes.length) {
    throw invalid(`the descriptors of ${groups} groups are not in ${bytes.length} bytes`);
  }
  const lines = Array.from({ length: groups }, (_, group) => describe(bytes, group));
  return SUPER_BLOCK.dump(superBlock) + lines.join("");
}

function describe(bytes: Uint8Array, group: number): string {
  const descriptor = GROUP_DESCRIPTOR.decode(bytes, BLOCK_SIZE + group * GROUP_DESCRIPTOR.sizeBytes);
  const { bg_block_bitmap_lo, bg_inode_table_lo, bg_free_blocks_count_lo, bg_flags } = descriptor;
  const free = `free blocks ${bg_free_blocks_count_lo} inodes ${descriptor.bg_free_inodes_count_lo}`;
  const places = `bitmaps ${bg_block_bitmap_lo} ${descriptor.bg_inode_bitmap_lo} table ${bg_inode_table_lo}`;
  return `group ${group} ${places} ${free} directories ${descriptor.bg_used_dirs_count_lo} flags ${bg_flags}\n`;
}

function invalid(why: string): Ext4Error {
  return new Ext4Error("invalid-ext4", `this is no ext4 file system of ours: ${why}`);
}
