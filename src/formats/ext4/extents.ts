/**
 * Which blocks of the disk an inode's data has: up to four extents in the inode, more of them in a tree of blocks.
 */
import { crc32c } from "../crc32c.ts";
import {
  EXTENT,
  EXTENTS_IN_BLOCK,
  EXTENTS_IN_INODE,
  EXTENT_HEADER,
  EXTENT_INDEX,
  EXTENT_MAGIC,
  EXTENT_TAIL_OFFSET,
} from "./format.ts";

export interface Extent {
  /** Block of the file. */
  readonly logical: number;
  /** Block of the disk. */
  readonly block: number;
  /** Blocks; a group's data, so never more than an extent may have. */
  readonly count: number;
}

/** Blocks of the tree on each level, leaves first; empty when all extents fit the inode. */
export function treeLevels(extentCount: number): number[] {
  const levels: number[] = [];
  for (let below = extentCount; below > EXTENTS_IN_INODE; ) {
    below = Math.ceil(below / EXTENTS_IN_BLOCK);
    levels.push(below);
  }
  return levels;
}

export function treeBlocks(extentCount: number): number {
  return treeLevels(extentCount).reduce((sum, blocks) => sum + blocks, 0);
}

/** One block, or the inode's 60 bytes: its entries, at `at` of zeroed memory. */
function writeHeader(out: Buffer, at: number, entries: number, max: number, depth: number): void {
  EXTENT_HEADER.encode(out, at, {
    eh_magic: EXTENT_MAGIC,
    eh_entries: entries,
    eh_max: max,
    eh_depth: depth,
  });
}

function writeExtents(out: Buffer, at: number, extents: readonly Extent[]): void {
  let to = at + EXTENT_HEADER.sizeBytes;
  for (const { logical, block, count } of extents) {
    out.writeUInt32LE(logical, to + EXTENT.at.ee_block);
    out.writeUInt16LE(count, to + EXTENT.at.ee_len);
    out.writeUInt32LE(block, to + EXTENT.at.ee_start_lo);
    to += EXTENT.sizeBytes;
  }
}

/** A block of the tree, as the level above sees it. */
interface Node {
  readonly logical: number;
  readonly block: number;
}

function writeNodes(out: Buffer, at: number, nodes: readonly Node[]): void {
  for (const [place, { logical, block }] of nodes.entries()) {
    EXTENT_INDEX.encode(out, at + EXTENT_HEADER.sizeBytes + place * EXTENT_INDEX.sizeBytes, {
      ei_block: logical,
      ei_leaf_lo: block,
    });
  }
}

/** What an inode's extents become. */
export interface ExtentTree {
  /** Writes the root into the inode's `i_block`, zeroed. */
  writeRoot(out: Buffer, at: number): void;
  /** The blocks below it, in the order of `blocks`. */
  readonly nodes: readonly { readonly block: number; write(out: Buffer, at: number): void }[];
}

/** `blocks` are as many as `treeBlocks` says. `seed` is that of the inode's checksums. */
export function extentTree(extents: readonly Extent[], blocks: readonly number[], seed: number): ExtentTree {
  const nodes: { block: number; write(out: Buffer, at: number): void }[] = [];
  const finish = (out: Buffer, at: number): void => {
    out.writeUInt32LE(crc32c(out, seed, at, at + EXTENT_TAIL_OFFSET), at + EXTENT_TAIL_OFFSET);
  };
  let depth = 0;
  let below: readonly Node[] = [];
  const levels = treeLevels(extents.length);
  for (const [level, count] of levels.entries()) {
    const made: Node[] = [];
    const children: readonly Node[] = below;
    for (let node = 0; node < count; node++) {
      const from = node * EXTENTS_IN_BLOCK;
      const block = blocks[nodes.length] ?? 0;
      const leaf = level === 0 ? extents.slice(from, from + EXTENTS_IN_BLOCK) : [];
      const inner = level === 0 ? [] : children.slice(from, from + EXTENTS_IN_BLOCK);
      made.push({ logical: (leaf[0] ?? inner[0])?.logical ?? 0, block });
      nodes.push({
        block,
        write(out, at) {
          writeHeader(out, at, leaf.length + inner.length, EXTENTS_IN_BLOCK, level);
          if (level === 0) writeExtents(out, at, leaf);
          else writeNodes(out, at, inner);
          finish(out, at);
        },
      });
    }
    below = made;
    depth = level + 1;
  }
  return {
    nodes,
    writeRoot(out, at) {
      writeHeader(out, at, depth === 0 ? extents.length : below.length, EXTENTS_IN_INODE, depth);
      if (depth === 0) writeExtents(out, at, extents);
      else writeNodes(out, at, below);
    },
  };
}
