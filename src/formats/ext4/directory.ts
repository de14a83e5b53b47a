/**
 * A directory's blocks. One block is a plain list; a directory of more is a tree over the hashes of its names, so that
 * a name among 100,000 is found in two or three blocks:
 *
 *     block 0        . and .., then the root of the index: hash ─► block
 *     blocks 1 … n   index nodes, when the leaves are more than the root can hold
 *     the rest       leaves: entries in the order of their hashes, each leaf with some room left
 */
import { crc32c } from "../crc32c.ts";
import { DIRENT_TYPES } from "../erofs/format.ts";
import type { ValidatedTree } from "../erofs/tree.ts";
import {
  BLOCK_SIZE,
  DIRENT,
  DIRENT_TAIL,
  DIRENT_TAIL_TYPE,
  Ext4Error,
  HASH_COUNTS,
  HASH_ENTRY,
  HASH_HALF_MD4,
  HASH_ROOT_INFO,
  HASH_TAIL,
  ROOT_INODE,
  alignUp,
} from "./format.ts";
import { inodeNumber } from "./geometry.ts";
import { nameHash } from "./name-hash.ts";

const DOT_BYTES = 12;
/** Of a block without its checksum. */
const LEAF_BYTES = BLOCK_SIZE - DIRENT_TAIL.sizeBytes;
/** A leaf is filled up to here, so that a first new name need not split it. */
const LEAF_FILL_BYTES = LEAF_BYTES - 512;
const ROOT_INDEX_OFFSET = 2 * DOT_BYTES + HASH_ROOT_INFO.sizeBytes;
const ROOT_LIMIT = (BLOCK_SIZE - ROOT_INDEX_OFFSET - HASH_TAIL.sizeBytes) / HASH_ENTRY.sizeBytes;
const NODE_INDEX_OFFSET = 8;
const NODE_LIMIT = (BLOCK_SIZE - NODE_INDEX_OFFSET - HASH_TAIL.sizeBytes) / HASH_ENTRY.sizeBytes;
/** Nodes, too, have room left. */
const NODE_FILL = NODE_LIMIT - 64;

/** The index of one directory of more than a block. */
export interface HashedDirectory {
  /** Its children (counted from 0) in the order of their hashes. */
  readonly order: Uint32Array;
  /** Of the children in that order. */
  readonly hashes: Uint32Array;
  /** The place in `order` of each leaf's first child, and the number of all behind the last one. */
  readonly leafStarts: readonly number[];
  readonly nodeCount: number;
}

function recordBytes(nameLength: number): number {
  return alignUp(DIRENT.sizeBytes + nameLength, 4);
}

/** Whether the names of a directory fit one block. */
export function fitsOneBlock(tree: ValidatedTree, inode: number): boolean {
  let used = 2 * DOT_BYTES;
  const end = tree.firstChild[inode + 1] ?? 0;
  for (let row = tree.firstChild[inode] ?? 0; row < end && used <= LEAF_BYTES; row++) {
    used += recordBytes((tree.childName[row] ?? "").length);
  }
  return used <= LEAF_BYTES;
}

/** @throws Ext4Error `ext4-too-large` for more names than two levels of index can hold (some 15 million) */
export function hashDirectory(tree: ValidatedTree, inode: number, seed: Int32Array): HashedDirectory {
  const firstRow = tree.firstChild[inode] ?? 0;
  const count = (tree.firstChild[inode + 1] ?? 0) - firstRow;
  const byName = new Uint32Array(count);
  for (let child = 0; child < count; child++) {
    byName[child] = nameHash(tree.childName[firstRow + child] ?? "", seed);
  }
  // Children are in the order of their names, which decides between equal hashes.
  const order = Uint32Array.from({ length: count }, (_, child) => child).sort(
    (a, b) => (byName[a] ?? 0) - (byName[b] ?? 0) || a - b,
  );
  const hashes = Uint32Array.from(order, (child) => byName[child] ?? 0);
  const leafStarts = cutIntoLeaves(tree, firstRow, order);
  const leaves = leafStarts.length - 1;
  const nodeCount = leaves <= ROOT_LIMIT ? 0 : Math.ceil(leaves / NODE_FILL);
  if (nodeCount > ROOT_LIMIT) {
    throw new Ext4Error(
      "ext4-too-large",
      `${count} names in one directory are more than ext4's index can hold`,
    );
  }
  return { order, hashes, leafStarts, nodeCount };
}

function cutIntoLeaves(tree: ValidatedTree, firstRow: number, order: Uint32Array): number[] {
  const starts = [0];
  let used = 0;
  for (const [place, child] of order.entries()) {
    const bytes = recordBytes((tree.childName[firstRow + child] ?? "").length);
    if (used > 0 && used + bytes > LEAF_FILL_BYTES) {
      starts.push(place);
      used = 0;
    }
    used += bytes;
  }
  starts.push(order.length);
  return starts;
}

export function hashedBlocks({ leafStarts, nodeCount }: HashedDirectory): number {
  return 1 + nodeCount + leafStarts.length - 1;
}

/** Writes the blocks of one directory, each into zeroed memory. `seed` is that of the inode's checksums. */
export class DirectoryWriter {
  readonly #tree: ValidatedTree;
  readonly #inode: number;
  readonly #hashed: HashedDirectory | undefined;
  readonly #seed: number;

  constructor(
    tree: ValidatedTree,
    inode: number,
    { hashed, seed }: { readonly hashed: HashedDirectory | undefined; readonly seed: number },
  ) {
    this.#tree = tree;
    this.#inode = inode;
    this.#hashed = hashed;
    this.#seed = seed;
  }

  write(block: number, out: Buffer, at: number): void {
    const hashed = this.#hashed;
    if (hashed === undefined) return this.#writePlain(out, at);
    if (block === 0) return this.#writeRoot(hashed, out, at);
    if (block <= hashed.nodeCount) return this.#writeNode(hashed, block - 1, out, at);
    this.#writeLeaf(hashed, block - 1 - hashed.nodeCount, out, at);
  }

  #writePlain(out: Buffer, at: number): void {
    const { firstChild } = this.#tree;
    const firstRow = firstChild[this.#inode] ?? 0;
    const end = firstChild[this.#inode + 1] ?? 0;
    const isEmpty = firstRow === end;
    let next = this.#writeDots(out, at, isEmpty ? LEAF_BYTES - DOT_BYTES : DOT_BYTES);
    for (let row = firstRow; row < end; row++) {
      next = this.#writeChild(row, out, next, row === end - 1 ? at + LEAF_BYTES - next : undefined);
    }
    this.#writeTail(out, at);
  }

  #writeLeaf({ order, leafStarts }: HashedDirectory, leaf: number, out: Buffer, at: number): void {
    const firstRow = this.#tree.firstChild[this.#inode] ?? 0;
    const end = leafStarts[leaf + 1] ?? 0;
    let next = at;
    for (let place = leafStarts[leaf] ?? 0; place < end; place++) {
      const length = place === end - 1 ? at + LEAF_BYTES - next : undefined;
      next = this.#writeChild(firstRow + (order[place] ?? 0), out, next, length);
    }
    this.#writeTail(out, at);
  }

  /** Returns where the next entry goes. */
  #writeDots(out: Buffer, at: number, secondBytes: number): number {
    const parent = this.#inode === 0 ? ROOT_INODE : inodeNumber(this.#tree.parent[this.#inode] ?? 0);
    this.#writeEntry(out, at, { name: ".", number: inodeNumber(this.#inode), type: 2, bytes: DOT_BYTES });
    const second = at + DOT_BYTES;
    this.#writeEntry(out, second, { name: "..", number: parent, type: 2, bytes: secondBytes });
    return second + secondBytes;
  }

  #writeChild(row: number, out: Buffer, at: number, length: number | undefined): number {
    const tree = this.#tree;
    const name = tree.childName[row] ?? "";
    const child = tree.childInode[row] ?? 0;
    const bytes = length ?? recordBytes(name.length);
    const type = DIRENT_TYPES[(tree.mode[child] ?? 0) >>> 12] ?? 0;
    this.#writeEntry(out, at, { name, number: inodeNumber(child), type, bytes });
    return at + bytes;
  }

  #writeEntry(
    out: Buffer,
    at: number,
    entry: { readonly name: string; readonly number: number; readonly type: number; readonly bytes: number },
  ): void {
    out.writeUInt32LE(entry.number, at + DIRENT.at.inode);
    out.writeUInt16LE(entry.bytes, at + DIRENT.at.rec_len);
    out[at + DIRENT.at.name_len] = entry.name.length;
    out[at + DIRENT.at.file_type] = entry.type;
    out.write(entry.name, at + DIRENT.sizeBytes, "latin1");
  }

  #writeTail(out: Buffer, at: number): void {
    DIRENT_TAIL.encode(out, at + LEAF_BYTES, {
      det_rec_len: DIRENT_TAIL.sizeBytes,
      det_reserved_ft: DIRENT_TAIL_TYPE,
      det_checksum: crc32c(out, this.#seed, at, at + LEAF_BYTES),
    });
  }

  #writeRoot(hashed: HashedDirectory, out: Buffer, at: number): void {
    this.#writeDots(out, at, BLOCK_SIZE - DOT_BYTES);
    const { nodeCount, leafStarts } = hashed;
    HASH_ROOT_INFO.encode(out, at + 2 * DOT_BYTES, {
      hash_version: HASH_HALF_MD4,
      info_length: HASH_ROOT_INFO.sizeBytes,
      indirect_levels: nodeCount === 0 ? 0 : 1,
    });
    const leaves = leafStarts.length - 1;
    const children =
      nodeCount === 0
        ? Array.from({ length: leaves }, (_, leaf) => ({ leaf, block: 1 + leaf }))
        : Array.from({ length: nodeCount }, (_, node) => ({ leaf: node * NODE_FILL, block: 1 + node }));
    this.#writeIndex(hashed, children, out, at, { offset: ROOT_INDEX_OFFSET, limit: ROOT_LIMIT });
  }

  #writeNode(hashed: HashedDirectory, node: number, out: Buffer, at: number): void {
    // An entry of no inode over the whole block.
    out.writeUInt16LE(BLOCK_SIZE, at + DIRENT.at.rec_len);
    const first = node * NODE_FILL;
    const count = Math.min(NODE_FILL, hashed.leafStarts.length - 1 - first);
    const children = Array.from({ length: count }, (_, child) => ({
      leaf: first + child,
      block: 1 + hashed.nodeCount + first + child,
    }));
    this.#writeIndex(hashed, children, out, at, { offset: NODE_INDEX_OFFSET, limit: NODE_LIMIT });
  }

  #writeIndex(
    { hashes, leafStarts }: HashedDirectory,
    children: readonly { readonly leaf: number; readonly block: number }[],
    out: Buffer,
    at: number,
    { offset, limit }: { readonly offset: number; readonly limit: number },
  ): void {
    for (const [place, { leaf, block }] of children.entries()) {
      const start = leafStarts[leaf] ?? 0;
      const hash = hashes[start] ?? 0;
      // A hash that goes on from the leaf before says so with its lowest bit.
      const goesOn = start > 0 && hashes[start - 1] === hash;
      const entry = { hash: place === 0 ? 0 : (hash | (goesOn ? 1 : 0)) >>> 0, block };
      HASH_ENTRY.encode(out, at + offset + place * HASH_ENTRY.sizeBytes, entry);
    }
    HASH_COUNTS.encode(out, at + offset, { limit, count: children.length });
    const tail = at + offset + limit * HASH_ENTRY.sizeBytes;
    const used = crc32c(out, this.#seed, at, at + offset + children.length * HASH_ENTRY.sizeBytes);
    // The tail's own checksum counts as zero.
    const sum = crc32c(out, used, tail, tail + HASH_TAIL.sizeBytes);
    HASH_TAIL.encode(out, tail, { dt_checksum: sum });
  }
}
