/** What begins a group: the superblock and all descriptors, in those groups that have them, and two bitmaps. */
import { crc32c } from "../crc32c.ts";
import {
  BLOCKS_PER_GROUP,
  BLOCK_SIZE,
  CHECKSUM_CRC32C,
  DYNAMIC_REVISION,
  ERRORS_CONTINUE,
  EXTRA_ISIZE,
  FEATURE_COMPAT_DIR_INDEX,
  FEATURE_COMPAT_EXT_ATTR,
  FEATURE_INCOMPAT_64BIT,
  FEATURE_INCOMPAT_EXTENTS,
  FEATURE_INCOMPAT_FILETYPE,
  FEATURE_RO_COMPAT_DIR_NLINK,
  FEATURE_RO_COMPAT_EXTRA_ISIZE,
  FEATURE_RO_COMPAT_HUGE_FILE,
  FEATURE_RO_COMPAT_LARGE_FILE,
  FEATURE_RO_COMPAT_METADATA_CSUM,
  FEATURE_RO_COMPAT_SPARSE_SUPER,
  FIRST_INODE,
  FLAG_UNSIGNED_HASH,
  GROUP_BLOCK_UNINIT,
  GROUP_DESCRIPTOR,
  GROUP_INODE_UNINIT,
  GROUP_INODE_ZEROED,
  HASH_HALF_MD4,
  INODE_BYTES,
  LOG_BLOCK_SIZE,
  MOUNT_XATTRS_AND_ACLS,
  STATE_CLEAN,
  SUPER_BLOCK,
  SUPER_MAGIC,
  SUPER_OFFSET,
} from "./format.ts";
import { dataBlocks, groupBlocks, hasSuperBlock, headBlocks, inodeNumber, inodeTable } from "./geometry.ts";
import type { Ext4Layout } from "./layout.ts";
import type { Piece } from "./window.ts";

export interface GroupOptions {
  readonly uuid: Uint8Array;
  readonly volumeName?: Uint8Array | undefined;
  /** Of all checksums. */
  readonly seed: number;
}

export class GroupWriter {
  readonly #layout: Ext4Layout;
  readonly #options: GroupOptions;
  readonly #directories: Uint32Array;

  constructor(layout: Ext4Layout, options: GroupOptions) {
    this.#layout = layout;
    this.#options = options;
    this.#directories = new Uint32Array(layout.geometry.groupCount);
    for (const inode of layout.needs.directories) {
      const group = Math.floor((inodeNumber(inode) - 1) / layout.geometry.inodesPerGroup);
      this.#directories[group] = (this.#directories[group] ?? 0) + 1;
    }
  }

  *pieces(): Generator<Piece, void, undefined> {
    const { geometry } = this.#layout;
    const descriptors = this.#describe();
    const bitmaps = Buffer.alloc(2 * BLOCK_SIZE);
    for (let group = 0; group < geometry.groupCount; group++) {
      const start = group * BLOCKS_PER_GROUP * BLOCK_SIZE;
      if (hasSuperBlock(group)) {
        // The first superblock leaves a KiB to boot loaders; copies begin their block.
        yield { offset: start + (group === 0 ? SUPER_OFFSET : 0), bytes: this.#superBlock(group) };
        yield { offset: start + BLOCK_SIZE, bytes: descriptors };
      }
      if (this.#isUntouched(group)) continue;
      this.#writeBlockBitmap(group, bitmaps.subarray(0, BLOCK_SIZE));
      this.#writeInodeBitmap(group, bitmaps.subarray(BLOCK_SIZE));
      yield { offset: (inodeTable(geometry, group) - 2) * BLOCK_SIZE, bytes: bitmaps };
    }
  }

  #inodesInUse(): number {
    return FIRST_INODE - 2 + this.#layout.tree.inodeCount;
  }

  #usedInodes(group: number): number {
    const { inodesPerGroup } = this.#layout.geometry;
    return Math.min(inodesPerGroup, Math.max(0, this.#inodesInUse() - group * inodesPerGroup));
  }

  #usedData(group: number): number {
    const { geometry, usedBlocks } = this.#layout;
    const first = geometry.dataIndex[group] ?? 0;
    return Math.max(0, Math.min(usedBlocks, geometry.dataIndex[group + 1] ?? 0) - first);
  }

  /** Its bitmaps follow from the superblock. The first and last group are always written out. */
  #isUntouched(group: number): boolean {
    const isEdge = group === 0 || group === this.#layout.geometry.groupCount - 1;
    return !isEdge && this.#usedInodes(group) === 0 && this.#usedData(group) === 0;
  }

  #writeBlockBitmap(group: number, out: Buffer): void {
    const { geometry } = this.#layout;
    out.fill(0);
    setBits(out, 0, headBlocks(geometry, group) + this.#usedData(group));
    setBits(out, groupBlocks(geometry, group), BLOCKS_PER_GROUP);
  }

  #writeInodeBitmap(group: number, out: Buffer): void {
    out.fill(0);
    setBits(out, 0, this.#usedInodes(group));
    setBits(out, this.#layout.geometry.inodesPerGroup, BLOCKS_PER_GROUP);
  }

  #describe(): Buffer {
    const { geometry } = this.#layout;
    const out = Buffer.alloc(geometry.descriptorBlocks * BLOCK_SIZE);
    const bitmap = Buffer.alloc(BLOCK_SIZE);
    for (let group = 0; group < geometry.groupCount; group++) {
      const sums = { blocks: 0, inodes: 0 };
      if (!this.#isUntouched(group)) {
        this.#writeBlockBitmap(group, bitmap);
        sums.blocks = crc32c(bitmap, this.#options.seed);
        this.#writeInodeBitmap(group, bitmap);
        sums.inodes = crc32c(bitmap, this.#options.seed, 0, geometry.inodesPerGroup / 8);
      }
      this.#writeDescriptor(group, out, sums);
    }
    return out;
  }

  #writeDescriptor(
    group: number,
    out: Buffer,
    sums: { readonly blocks: number; readonly inodes: number },
  ): void {
    const { geometry } = this.#layout;
    const at = group * GROUP_DESCRIPTOR.sizeBytes;
    const table = inodeTable(geometry, group);
    const freeInodes = geometry.inodesPerGroup - this.#usedInodes(group);
    const freeBlocks = groupBlocks(geometry, group) - headBlocks(geometry, group) - this.#usedData(group);
    const uninit = this.#isUntouched(group) ? GROUP_INODE_UNINIT | GROUP_BLOCK_UNINIT : 0;
    GROUP_DESCRIPTOR.encode(out, at, {
      bg_block_bitmap_lo: table - 2,
      bg_inode_bitmap_lo: table - 1,
      bg_inode_table_lo: table,
      bg_free_blocks_count_lo: freeBlocks,
      bg_free_inodes_count_lo: freeInodes,
      bg_used_dirs_count_lo: this.#directories[group] ?? 0,
      bg_flags: GROUP_INODE_ZEROED | uninit,
      bg_block_bitmap_csum_lo: sums.blocks & 0xffff,
      bg_block_bitmap_csum_hi: sums.blocks >>> 16,
      bg_inode_bitmap_csum_lo: sums.inodes & 0xffff,
      bg_inode_bitmap_csum_hi: sums.inodes >>> 16,
      bg_itable_unused_lo: freeInodes,
    });
    const number = Buffer.alloc(4);
    number.writeUInt32LE(group);
    const sum = crc32c(out, crc32c(number, this.#options.seed), at, at + GROUP_DESCRIPTOR.sizeBytes);
    out.writeUInt16LE(sum & 0xffff, at + GROUP_DESCRIPTOR.at.bg_checksum);
  }

  #superBlock(group: number): Buffer {
    const { geometry, usedBlocks } = this.#layout;
    const out = Buffer.alloc(SUPER_BLOCK.sizeBytes);
    SUPER_BLOCK.encode(out, 0, {
      ...FIXED,
      s_inodes_count: geometry.groupCount * geometry.inodesPerGroup,
      s_blocks_count_lo: geometry.blockCount,
      s_free_blocks_count_lo: dataBlocks(geometry) - usedBlocks,
      s_free_inodes_count: geometry.groupCount * geometry.inodesPerGroup - this.#inodesInUse(),
      s_inodes_per_group: geometry.inodesPerGroup,
      s_block_group_nr: group,
      s_uuid: this.#options.uuid,
      s_volume_name: (this.#options.volumeName ?? new Uint8Array(0)).subarray(0, 16),
      s_hash_seed: this.#options.uuid,
    });
    const sum = crc32c(out, 0xffff_ffff, 0, SUPER_BLOCK.at.s_checksum);
    out.writeUInt32LE(sum, SUPER_BLOCK.at.s_checksum);
    return out;
  }
}

/** The superblock's fields that are always the same. */
const FIXED = {
  s_log_block_size: LOG_BLOCK_SIZE,
  s_log_cluster_size: LOG_BLOCK_SIZE,
  s_blocks_per_group: BLOCKS_PER_GROUP,
  s_clusters_per_group: BLOCKS_PER_GROUP,
  s_max_mnt_count: 0xffff,
  s_magic: SUPER_MAGIC,
  s_state: STATE_CLEAN,
  s_errors: ERRORS_CONTINUE,
  s_rev_level: DYNAMIC_REVISION,
  s_first_ino: FIRST_INODE,
  s_inode_size: INODE_BYTES,
  s_feature_compat: FEATURE_COMPAT_EXT_ATTR | FEATURE_COMPAT_DIR_INDEX,
  s_feature_incompat: FEATURE_INCOMPAT_FILETYPE | FEATURE_INCOMPAT_EXTENTS | FEATURE_INCOMPAT_64BIT,
  s_feature_ro_compat:
    FEATURE_RO_COMPAT_SPARSE_SUPER |
    FEATURE_RO_COMPAT_LARGE_FILE |
    FEATURE_RO_COMPAT_HUGE_FILE |
    FEATURE_RO_COMPAT_DIR_NLINK |
    FEATURE_RO_COMPAT_EXTRA_ISIZE |
    FEATURE_RO_COMPAT_METADATA_CSUM,
  s_def_hash_version: HASH_HALF_MD4,
  s_desc_size: GROUP_DESCRIPTOR.sizeBytes,
  s_default_mount_opts: MOUNT_XATTRS_AND_ACLS,
  s_min_extra_isize: EXTRA_ISIZE,
  s_want_extra_isize: EXTRA_ISIZE,
  s_flags: FLAG_UNSIGNED_HASH,
  s_checksum_type: CHECKSUM_CRC32C,
};

/** Sets the bits from `first` up to `end`. */
function setBits(bitmap: Buffer, first: number, end: number): void {
  let bit = first;
  for (; bit < end && bit % 8 !== 0; bit++) bitmap[bit >>> 3] = (bitmap[bit >>> 3] ?? 0) | (1 << (bit & 7));
  const wholeEnd = Math.max(bit, end - (end % 8));
  bitmap.fill(0xff, bit / 8, wholeEnd / 8);
  for (bit = wholeEnd; bit < end; bit++) bitmap[bit >>> 3] = (bitmap[bit >>> 3] ?? 0) | (1 << (bit & 7));
}
