/**
 * Writes an ext4 file system that can be mounted read-write.
 *
 *     ValidatedTree ──layoutExt4──► where everything goes ─┬─pieces()──► metadata and small files: bytes and their place
 *                                                          └─copies()──► runs of blocks out of the sources' blobs
 *
 * The same tree and options give the same bytes; what neither names is zero, and can be a hole of the file.
 */
import { crc32c } from "../crc32c.ts";
import { blobRuns, bytesOf, heapOf } from "../erofs/blob-runs.ts";
import type { ValidatedTree } from "../erofs/tree.ts";
import { DirectoryWriter } from "./directory.ts";
import { extentTree } from "./extents.ts";
import { BLOCK_SIZE, INODE_BYTES } from "./format.ts";
import { inodeNumber, inodeTable, locate, runsOf } from "./geometry.ts";
import { GroupWriter } from "./group.ts";
import { InodeWriter, inodeSeed } from "./inode.ts";
import { extentBlocksOf, extentsOf, layoutExt4 } from "./layout.ts";
import type { Ext4Layout } from "./layout.ts";
import { Window } from "./window.ts";
import type { Piece } from "./window.ts";
import { placeXattrs, writeXattrBlock } from "./xattr.ts";

export type { Piece } from "./window.ts";

export interface Ext4Options {
  /** 16 bytes. Names of large directories are hashed with them, too. */
  readonly uuid: Uint8Array;
  /** At most 16 bytes. */
  readonly volumeName?: Uint8Array | undefined;
  /** Of the disk, in whole blocks; without it, what is needed and some room to write. */
  readonly sizeBytes?: number | undefined;
}

/** `count` blocks of the blob of source `source`. */
export interface BlobCopy {
  readonly source: number;
  readonly fromBlock: number;
  readonly toBlock: number;
  readonly count: number;
}

export interface Ext4Image {
  readonly sizeBytes: number;
  readonly inodeCount: number;
  /** Bytes that the two below give. */
  readonly usedBytes: number;
  pieces(): Generator<Piece, void, undefined>;
  copies(): Generator<BlobCopy, void, undefined>;
}

/** @throws Ext4Error `ext4-cannot-hold`, `ext4-too-large`, `ext4-too-small` */
export function buildExt4(tree: ValidatedTree, options: Ext4Options): Ext4Image {
  const hashSeed = new Int32Array(Uint8Array.from(options.uuid).buffer);
  const layout = layoutExt4(tree, { hashSeed, sizeBytes: options.sizeBytes });
  const { geometry } = layout;
  return {
    sizeBytes: options.sizeBytes ?? geometry.blockCount * BLOCK_SIZE,
    inodeCount: tree.inodeCount,
    usedBytes: layout.usedBlocks * BLOCK_SIZE,
    pieces: () => pieces(layout, options),
    copies: () => copies(layout),
  };
}

function* pieces(layout: Ext4Layout, options: Ext4Options): Generator<Piece, void, undefined> {
  const seed = crc32c(options.uuid);
  yield* new GroupWriter(layout, { ...options, seed }).pieces();
  yield* inodeTables(layout, seed);
  yield* contents(layout, seed);
}

function* inodeTables(layout: Ext4Layout, seed: number): Generator<Piece, void, undefined> {
  const { tree, geometry } = layout;
  const { inodesPerGroup } = geometry;
  const window = new Window();
  const writer = new InodeWriter(layout, seed);
  for (let inode = 0; inode < tree.inodeCount; inode++) {
    const place = inodeNumber(inode) - 1;
    const group = Math.floor(place / inodesPerGroup);
    const table = inodeTable(geometry, group) * BLOCK_SIZE;
    const offset = table + (place % inodesPerGroup) * INODE_BYTES;
    const done = window.reach(offset, INODE_BYTES);
    if (done !== undefined) yield done;
    writer.write(inode, window.bytes, window.place(offset));
  }
  yield window.finish();
}

/** Everything in data blocks that does not come from a blob, in the order of the blocks. */
function* contents(layout: Ext4Layout, seed: number): Generator<Piece, void, undefined> {
  const window = new Window();
  for (const entry of blocks(layout, seed)) {
    const offset = entry.block * BLOCK_SIZE;
    const done = window.reach(offset, BLOCK_SIZE);
    if (done !== undefined) yield done;
    entry.write(window.bytes, window.place(offset));
  }
  yield window.finish();
}

interface Block {
  readonly block: number;
  write(out: Buffer, at: number): void;
}

function* blocks(layout: Ext4Layout, seed: number): Generator<Block, void, undefined> {
  const { tree, needs, geometry, contentIndex, xattrIndex, extentIndex } = layout;
  const seedOf = (inode: number): number => inodeSeed(seed, inodeNumber(inode));
  for (const inode of needs.directories) {
    const writer = new DirectoryWriter(tree, inode, { hashed: needs.hashed.get(inode), seed: seedOf(inode) });
    let at = 0;
    for (const run of runsOf(geometry, contentIndex[inode] ?? 0, needs.contentBlocks[inode] ?? 0)) {
      for (let block = run.block; block < run.block + run.count; block++, at++) {
        const number = at;
        yield { block, write: (out, to) => writer.write(number, out, to) };
      }
    }
  }
  for (const inode of needs.withXattrBlock) {
    const { block } = locate(geometry, xattrIndex[inode] ?? 0);
    const xattrs = placeXattrs(heapOf(tree, inode), tree.xattrOffset[inode] ?? 0);
    if (typeof xattrs === "string") continue;
    yield { block, write: (out, to) => writeXattrBlock(xattrs.inBlock, out, to, { block, seed }) };
  }
  for (const inode of [...needs.longSymlinks, ...needs.smallFiles]) {
    const { block } = locate(geometry, contentIndex[inode] ?? 0);
    yield { block, write: (out, to) => out.set(bytesOf(tree, inode), to) };
  }
  for (const inode of extentIndex.keys()) {
    const extents = extentsOf(layout, inode);
    yield* extentTree(extents, extentBlocksOf(layout, inode, extents.length), seedOf(inode)).nodes;
  }
}

function* copies(layout: Ext4Layout): Generator<BlobCopy, void, undefined> {
  const { tree, needs, geometry, contentIndex } = layout;
  let last: { source: number; fromBlock: number; toBlock: number; count: number } | undefined;
  for (const inode of needs.blobFiles) {
    const source = tree.source[inode] ?? 0;
    let index = contentIndex[inode] ?? 0;
    for (const part of blobRuns(tree, inode)) {
      let fromBlock = part.blobBlock;
      for (const { block, count } of runsOf(geometry, index, part.count)) {
        const goesOn =
          last?.source === source &&
          last.fromBlock + last.count === fromBlock &&
          last.toBlock + last.count === block;
        if (goesOn && last !== undefined) last.count += count;
        else {
          if (last !== undefined) yield last;
          last = { source, fromBlock, toBlock: block, count };
        }
        fromBlock += count;
      }
      index += part.count;
    }
  }
  if (last !== undefined) yield last;
}
