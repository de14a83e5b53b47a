/**
 * How a disk is cut into groups, and which of its blocks are for data. Data blocks are counted by an *index* that
 * leaves out the heads of groups (copies of the superblock, bitmaps, inode tables), so that whoever fills the disk from
 * front to back counts upwards, and only asks here where a piece of it really lies.
 */
import {
  BLOCKS_PER_GROUP,
  BLOCK_SIZE,
  FIRST_INODE,
  GROUP_DESCRIPTOR,
  INODES_PER_BLOCK,
  INODE_BYTES,
  MAX_INODES_PER_GROUP,
  alignUp,
} from "./format.ts";

export interface Geometry {
  readonly blockCount: number;
  readonly groupCount: number;
  readonly inodesPerGroup: number;
  readonly inodeTableBlocks: number;
  /** Blocks of the group descriptors, in each group that has a superblock. */
  readonly descriptorBlocks: number;
  /** The index of each group's first data block, and the number of all behind the last one. */
  readonly dataIndex: Float64Array;
}

/** Two bitmaps. */
const BITMAP_BLOCKS = 2;
/** A last group with less room than this behind its head is left out. */
const MIN_DATA_BLOCKS = 64;
/** One inode for each such piece of the disk, unless the tree has more. */
const BYTES_PER_INODE = 16_384;

export function hasSuperBlock(group: number): boolean {
  if (group <= 1) return true;
  return [3, 5, 7].some((base) => {
    let power = base;
    while (power < group) power *= base;
    return power === group;
  });
}

/** Blocks at the start of a group that are not for data. */
export function headBlocks(
  { descriptorBlocks, inodeTableBlocks }: Pick<Geometry, "descriptorBlocks" | "inodeTableBlocks">,
  group: number,
): number {
  return superBlocks({ descriptorBlocks }, group) + BITMAP_BLOCKS + inodeTableBlocks;
}

export function superBlocks({ descriptorBlocks }: Pick<Geometry, "descriptorBlocks">, group: number): number {
  return hasSuperBlock(group) ? 1 + descriptorBlocks : 0;
}

export function groupBlocks({ blockCount }: Pick<Geometry, "blockCount">, group: number): number {
  return Math.min(BLOCKS_PER_GROUP, blockCount - group * BLOCKS_PER_GROUP);
}

/** Inode 0 of a tree is the root, 2; the others follow the reserved ones. */
export function inodeNumber(inode: number): number {
  return inode === 0 ? 2 : FIRST_INODE - 1 + inode;
}

/** Blocks that `sizeBytes` has room for, or undefined when not even the heads fit. `inodeCount` counts the tree's. */
export function cutIntoGroups(sizeBytes: number, inodeCount: number): Geometry | undefined {
  const needed = inodeCount + FIRST_INODE;
  const asked = Math.floor(sizeBytes / BLOCK_SIZE);
  for (let groups = Math.ceil(asked / BLOCKS_PER_GROUP); groups > 0; groups--) {
    const blockCount = Math.min(asked, groups * BLOCKS_PER_GROUP);
    const inodesPerGroup = alignUp(Math.ceil(needed / groups), INODES_PER_BLOCK);
    if (inodesPerGroup > MAX_INODES_PER_GROUP) return undefined;
    const shape = {
      blockCount,
      groupCount: groups,
      inodesPerGroup,
      inodeTableBlocks: (inodesPerGroup * INODE_BYTES) / BLOCK_SIZE,
      descriptorBlocks: Math.ceil((groups * GROUP_DESCRIPTOR.sizeBytes) / BLOCK_SIZE),
    };
    const last = groups - 1;
    if (groupBlocks(shape, last) - headBlocks(shape, last) < MIN_DATA_BLOCKS) continue;
    return { ...shape, dataIndex: countData(shape) };
  }
  return undefined;
}

/** As many inodes as a disk of this size usually has, and a quarter more than the tree's. */
export function usualInodes(sizeBytes: number, inodeCount: number): number {
  return Math.max(Math.floor(sizeBytes / BYTES_PER_INODE), Math.ceil(inodeCount * 1.25));
}

function countData(shape: Omit<Geometry, "dataIndex">): Float64Array {
  const dataIndex = new Float64Array(shape.groupCount + 1);
  for (let group = 0; group < shape.groupCount; group++) {
    const data = Math.max(0, groupBlocks(shape, group) - headBlocks(shape, group));
    dataIndex[group + 1] = (dataIndex[group] ?? 0) + data;
  }
  return dataIndex;
}

export function dataBlocks({ dataIndex, groupCount }: Geometry): number {
  return dataIndex[groupCount] ?? 0;
}

/** Where the data block with this index lies, and how many behind it lie beside each other. */
export function locate(geometry: Geometry, index: number): { block: number; run: number } {
  const { dataIndex, groupCount } = geometry;
  let low = 0;
  let high = groupCount - 1;
  while (low < high) {
    const middle = (low + high + 1) >>> 1;
    if ((dataIndex[middle] ?? 0) <= index) low = middle;
    else high = middle - 1;
  }
  const within = index - (dataIndex[low] ?? 0);
  return {
    block: low * BLOCKS_PER_GROUP + headBlocks(geometry, low) + within,
    run: (dataIndex[low + 1] ?? 0) - index,
  };
}

/** The first block of a group's inode table. */
export function inodeTable(geometry: Geometry, group: number): number {
  return group * BLOCKS_PER_GROUP + superBlocks(geometry, group) + BITMAP_BLOCKS;
}

/** Disk blocks of `count` data blocks from `index` on, as runs. */
export function* runsOf(
  geometry: Geometry,
  index: number,
  count: number,
): Generator<{ readonly block: number; readonly count: number }> {
  for (let done = 0; done < count; ) {
    const { block, run } = locate(geometry, index + done);
    const length = Math.min(run, count - done);
    yield { block, count: length };
    done += length;
  }
}
