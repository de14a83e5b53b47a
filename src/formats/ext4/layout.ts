/**
 * The first of the writer's two passes: how large the disk is, and where everything goes. Nothing is written yet.
 *
 * Data blocks are dealt out from front to back: directories, blocks of xattrs, long symlinks, small files, then the
 * blobs' data in the order in which the blobs have it (so that whole runs are copied at once), and last the blocks of
 * extents of those files that have many.
 */
import { quote } from "../../util/printable.ts";
import { Content } from "../erofs/tree.ts";
import type { ValidatedTree } from "../erofs/tree.ts";
import { TYPE_MASK, TypeBits } from "../erofs/format.ts";
import { blobRuns, heapOf } from "../erofs/blob-runs.ts";
import { fitsOneBlock, hashDirectory, hashedBlocks } from "./directory.ts";
import type { HashedDirectory } from "./directory.ts";
import { treeBlocks } from "./extents.ts";
import type { Extent } from "./extents.ts";
import {
  BLOCK_SIZE,
  Ext4Error,
  INODE_BLOCK_BYTES,
  MAX_BLOCKS,
  MAX_FILE_BLOCKS,
  MAX_LINKS,
  alignUp,
  blocksOf,
} from "./format.ts";
import { cutIntoGroups, dataBlocks, locate, runsOf, usualInodes } from "./geometry.ts";
import type { Geometry } from "./geometry.ts";
import { placeXattrs } from "./xattr.ts";

/** What each inode needs, whatever the disk's size. */
export interface Needs {
  /** One element an inode: blocks of its content. */
  readonly contentBlocks: Float64Array;
  /** 1 where there is a block of xattrs. */
  readonly xattrBlocks: Uint8Array;
  /** Directories of more than one block. */
  readonly hashed: ReadonlyMap<number, HashedDirectory>;
  readonly directories: readonly number[];
  readonly withXattrBlock: readonly number[];
  readonly longSymlinks: readonly number[];
  readonly smallFiles: readonly number[];
  /** Inodes whose data is in a blob: source by source, in the blob's order. */
  readonly blobFiles: readonly number[];
  /** All blocks but those of extents. */
  readonly blocks: number;
}

export interface Ext4Layout {
  readonly tree: ValidatedTree;
  readonly needs: Needs;
  readonly geometry: Geometry;
  /** One element an inode: the index (see Geometry) of its first content block, and of its block of xattrs. */
  readonly contentIndex: Float64Array;
  readonly xattrIndex: Float64Array;
  /** The index of the first block of extents, where there are any. */
  readonly extentIndex: ReadonlyMap<number, number>;
  /** Data blocks in use; those behind are free. */
  readonly usedBlocks: number;
}

export interface LayoutOptions {
  readonly hashSeed: Int32Array;
  /** Of the whole disk; without it there is room for a quarter more, and 64 MiB. */
  readonly sizeBytes?: number | undefined;
}

export function isType(tree: ValidatedTree, inode: number, type: number): boolean {
  return ((tree.mode[inode] ?? 0) & TYPE_MASK) === type;
}

/** The path of an inode, for messages. */
function pathOf(tree: ValidatedTree, inode: number): string {
  const names: string[] = [];
  for (let at = inode; at !== 0; ) {
    const row = tree.childInode.indexOf(at);
    names.unshift(tree.childName[row] ?? "");
    // Directories without children begin where the next one does.
    at = tree.firstChild.subarray(0, tree.inodeCount).findLastIndex((first) => first <= row);
  }
  return quote(Buffer.from(`/${names.join("/")}`, "latin1").toString("utf8"));
}

function cannotHold(tree: ValidatedTree, inode: number, why: string): Ext4Error {
  return new Ext4Error(
    "ext4-cannot-hold",
    `${pathOf(tree, inode)} cannot be in an ext4 file system: ${why}`,
    {
      hint: "export the image as erofs or tar",
    },
  );
}

/** @throws Ext4Error `ext4-cannot-hold` */
function measure(tree: ValidatedTree, hashSeed: Int32Array): Needs {
  const contentBlocks = new Float64Array(tree.inodeCount);
  const xattrBlocks = new Uint8Array(tree.inodeCount);
  const hashed = new Map<number, HashedDirectory>();
  const kinds = {
    directories: [] as number[],
    withXattrBlock: [] as number[],
    longSymlinks: [] as number[],
    smallFiles: [] as number[],
  };
  const bySource = tree.sources.map((): number[] => []);
  let blocks = 0;
  for (let inode = 0; inode < tree.inodeCount; inode++) {
    const heap = heapOf(tree, inode);
    const xattrs = placeXattrs(heap, tree.xattrOffset[inode] ?? 0);
    if (typeof xattrs === "string") throw cannotHold(tree, inode, xattrs);
    if (xattrs.inBlock.length > 0) {
      xattrBlocks[inode] = 1;
      kinds.withXattrBlock.push(inode);
    }
    const content = tree.content[inode];
    let own = 0;
    if (isType(tree, inode, TypeBits.directory)) {
      kinds.directories.push(inode);
      if (!fitsOneBlock(tree, inode)) hashed.set(inode, hashDirectory(tree, inode, hashSeed));
      const index = hashed.get(inode);
      own = index === undefined ? 1 : hashedBlocks(index);
    } else {
      const problem = fileProblem(tree, inode);
      if (problem !== undefined) throw cannotHold(tree, inode, problem);
      if (isType(tree, inode, TypeBits.symlink)) {
        own = (tree.sizeBytes[inode] ?? 0) < INODE_BLOCK_BYTES ? 0 : 1;
        if (own > 0) kinds.longSymlinks.push(inode);
      } else if (content === Content.bytes) {
        own = 1;
        kinds.smallFiles.push(inode);
      } else if (content === Content.extent || content === Content.chunks) {
        own = [...blobRuns(tree, inode)].reduce((sum, { count }) => sum + count, 0);
        bySource[tree.source[inode] ?? 0]?.push(inode);
      }
    }
    contentBlocks[inode] = own;
    blocks += own + (xattrBlocks[inode] ?? 0);
  }
  const blobFiles = bySource.flatMap((inodes) => inBlobOrder(tree, inodes));
  return { contentBlocks, xattrBlocks, hashed, ...kinds, blobFiles, blocks };
}

function fileProblem(tree: ValidatedTree, inode: number): string | undefined {
  const links = tree.nlink[inode] ?? 0;
  if (links > MAX_LINKS) return `it has ${links} names, and a file may have ${MAX_LINKS}`;
  const sizeBytes = tree.sizeBytes[inode] ?? 0;
  return blocksOf(sizeBytes) > MAX_FILE_BLOCKS
    ? `it has ${sizeBytes} bytes, and a file may have 16 TiB`
    : undefined;
}

function inBlobOrder(tree: ValidatedTree, inodes: readonly number[]): number[] {
  const keyed = inodes.map((inode) => {
    const [first] = blobRuns(tree, inode);
    return { inode, at: first?.blobBlock ?? 0 };
  });
  return keyed.sort((a, b) => a.at - b.at || a.inode - b.inode).map(({ inode }) => inode);
}

/** The extents of an inode that has blocks, in ascending order. */
export function extentsOf(
  layout: Pick<Ext4Layout, "tree" | "needs" | "geometry" | "contentIndex">,
  inode: number,
): Extent[] {
  const { tree, needs, geometry, contentIndex } = layout;
  const first = contentIndex[inode] ?? 0;
  const blocks = needs.contentBlocks[inode] ?? 0;
  const inBlob = tree.content[inode] === Content.chunks;
  const parts = inBlob ? blobRuns(tree, inode) : [{ logical: 0, count: blocks }];
  const extents: Extent[] = [];
  let index = first;
  for (const part of parts) {
    let { logical } = part;
    for (const { block, count } of runsOf(geometry, index, part.count)) {
      extents.push({ logical, block, count });
      logical += count;
    }
    index += part.count;
  }
  return joined(extents);
}

/** The blocks of an inode's extents, where there are too many for the inode. */
export function extentBlocksOf(layout: Ext4Layout, inode: number, extentCount: number): number[] {
  const count = treeBlocks(extentCount);
  const first = layout.extentIndex.get(inode) ?? 0;
  return Array.from({ length: count }, (_, place) => locate(layout.geometry, first + place).block);
}

/** Runs of a blob may lie apart there and beside each other on the disk. */
function joined(extents: readonly Extent[]): Extent[] {
  const out: Extent[] = [];
  for (const extent of extents) {
    const last = out.at(-1);
    const touches =
      last !== undefined &&
      last.logical + last.count === extent.logical &&
      last.block + last.count === extent.block;
    if (touches) out[out.length - 1] = { ...last, count: last.count + extent.count };
    else out.push(extent);
  }
  return out;
}

/** Deals out the blocks of one geometry, or says that they are not enough. */
function place(tree: ValidatedTree, needs: Needs, geometry: Geometry): Ext4Layout | undefined {
  const contentIndex = new Float64Array(tree.inodeCount);
  const xattrIndex = new Float64Array(tree.inodeCount);
  const extentIndex = new Map<number, number>();
  let next = 0;
  const give = (inodes: readonly number[], to: Float64Array, count: (inode: number) => number): void => {
    for (const inode of inodes) {
      to[inode] = next;
      next += count(inode);
    }
  };
  const contentOf = (inode: number): number => needs.contentBlocks[inode] ?? 0;
  give(needs.directories, contentIndex, contentOf);
  give(needs.withXattrBlock, xattrIndex, () => 1);
  give(needs.longSymlinks, contentIndex, contentOf);
  give(needs.smallFiles, contentIndex, contentOf);
  give(needs.blobFiles, contentIndex, contentOf);
  const layout = { tree, needs, geometry, contentIndex, xattrIndex, extentIndex };
  if (next > dataBlocks(geometry)) return undefined;
  for (const inode of [...needs.directories, ...needs.blobFiles]) {
    const blocks = contentOf(inode) === 0 ? 0 : treeBlocks(extentsOf(layout, inode).length);
    if (blocks === 0) continue;
    extentIndex.set(inode, next);
    next += blocks;
  }
  return next > dataBlocks(geometry) ? undefined : { ...layout, usedBlocks: next };
}

const MIB = 2 ** 20;
const ROOM_BYTES = 64 * MIB;

/** @throws Ext4Error `ext4-cannot-hold`, `ext4-too-large`, `ext4-too-small` */
export function layoutExt4(tree: ValidatedTree, options: LayoutOptions): Ext4Layout {
  const needs = measure(tree, options.hashSeed);
  const { sizeBytes } = options;
  if (sizeBytes !== undefined) {
    const layout =
      tryPlace(tree, needs, sizeBytes, usualInodes(sizeBytes, tree.inodeCount)) ??
      tryPlace(tree, needs, sizeBytes, tree.inodeCount);
    if (layout !== undefined) return layout;
    throw tooSmall(sizeBytes, smallest(tree, needs));
  }
  const used = needs.blocks * BLOCK_SIZE;
  const inodes = Math.ceil(tree.inodeCount * 1.25);
  let size = alignUp(used * 1.25 + inodes * 256 + ROOM_BYTES, MIB);
  for (; size / BLOCK_SIZE <= MAX_BLOCKS; size = alignUp(size * 1.05, MIB)) {
    const layout = tryPlace(tree, needs, size, usualInodes(size, tree.inodeCount));
    if (layout !== undefined) return layout;
  }
  throw tooLarge(needs);
}

function tryPlace(
  tree: ValidatedTree,
  needs: Needs,
  sizeBytes: number,
  inodes: number,
): Ext4Layout | undefined {
  if (sizeBytes / BLOCK_SIZE > MAX_BLOCKS) throw tooLarge(needs);
  const geometry = cutIntoGroups(sizeBytes, inodes);
  return geometry === undefined ? undefined : place(tree, needs, geometry);
}

/** The least size that would do, to a MiB. */
function smallest(tree: ValidatedTree, needs: Needs): number {
  let size = alignUp(needs.blocks * BLOCK_SIZE + MIB, MIB);
  while (tryPlace(tree, needs, size, tree.inodeCount) === undefined)
    size += Math.max(MIB, alignUp(size / 64, MIB));
  return size;
}

function tooSmall(sizeBytes: number, leastBytes: number): Ext4Error {
  const least = leastBytes / MIB;
  return new Ext4Error(
    "ext4-too-small",
    `the files need a disk of ${least} MiB, and ${sizeBytes} bytes were asked for`,
    {
      hint: `ask for at least ${least}m, and for more if it is to be written to`,
    },
  );
}

function tooLarge(needs: Needs): Ext4Error {
  return new Ext4Error(
    "ext4-too-large",
    `${needs.blocks} blocks of 4 KiB; this writer stops at disks of 16 TiB`,
  );
}
