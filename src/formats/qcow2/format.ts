/**
 * QEMU's copy-on-write disk, as far as an empty overlay over another disk needs it.
 * https://www.qemu.org/docs/master/interop/qcow2.html
 *
 *     cluster 0        header
 *     cluster 1        refcount table: where the refcount block is
 *     cluster 2        refcount block: one use of each cluster of this file
 *     cluster 3 …      level 1 table: all zero, so that every byte is the other disk's
 *
 * All integers are big-endian.
 */
import { struct, u16be, u32be, u64be } from "../struct.ts";

export const MAGIC = 0x51_46_49_fb;
export const VERSION = 3;
export const CLUSTER_BITS = 16;
export const CLUSTER_BYTES = 2 ** CLUSTER_BITS;
/** Refcounts have 2^4 bits. */
export const REFCOUNT_ORDER = 4;
/** A level 2 table fills a cluster with entries of 8 bytes, each for a cluster. */
export const BYTES_A_LEVEL_2_TABLE = (CLUSTER_BYTES / 8) * CLUSTER_BYTES;

export const HEADER = struct("qcow2_header", 104, {
  magic: u32be(0),
  version: u32be(4),
  backingFileOffset: u64be(8),
  backingFileSize: u32be(16),
  clusterBits: u32be(20),
  sizeBytes: u64be(24),
  cryptMethod: u32be(32),
  level1Entries: u32be(36),
  level1Offset: u64be(40),
  refcountTableOffset: u64be(48),
  refcountTableClusters: u32be(56),
  snapshots: u32be(60),
  snapshotsOffset: u64be(64),
  incompatibleFeatures: u64be(72),
  compatibleFeatures: u64be(80),
  autoclearFeatures: u64be(88),
  refcountOrder: u32be(96),
  headerLength: u32be(100),
});

/** An entry of the refcount table. */
export const REFCOUNT_TABLE_ENTRY = struct("qcow2_refcount_table_entry", 8, { blockOffset: u64be(0) });
export const REFCOUNT = struct("qcow2_refcount", 2, { count: u16be(0) });
