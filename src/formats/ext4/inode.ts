/** Inodes: 160 bytes of fields, behind them what fits of the xattrs. */
import { crc32c } from "../crc32c.ts";
import { bytesOf, heapOf } from "../erofs/blob-runs.ts";
import { TypeBits, encodeDevice } from "../erofs/format.ts";
import { extentTree } from "./extents.ts";
import {
  EXTRA_ISIZE,
  INODE,
  INODE_BLOCK_BYTES,
  INODE_BYTES,
  INODE_FLAG_EXTENTS,
  INODE_FLAG_INDEX,
  BLOCK_SIZE,
  MAX_LINKS,
  SECTORS_PER_BLOCK,
} from "./format.ts";
import { inodeNumber, locate } from "./geometry.ts";
import { extentBlocksOf, extentsOf, isType } from "./layout.ts";
import type { Ext4Layout } from "./layout.ts";
import { placeXattrs, writeInodeXattrs } from "./xattr.ts";

/** All checksums of what belongs to an inode begin with its number and its generation, which is 0. */
export function inodeSeed(seed: number, number: number): number {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setUint32(0, number, true);
  return crc32c(bytes, seed);
}

/** Seconds that 34 bits count, from 1901 to 2446; what is outside is put at the edge, as the kernel does. */
const MIN_SECONDS = -(2 ** 31);
const MAX_SECONDS = 2 ** 34 - 2 ** 31 - 1;
const WORD = 2 ** 32;

export class InodeWriter {
  readonly #layout: Ext4Layout;
  readonly #seed: number;

  constructor(layout: Ext4Layout, seed: number) {
    this.#layout = layout;
    this.#seed = seed;
  }

  /** One inode at `at` of zeroed memory. */
  write(inode: number, out: Buffer, at: number): void {
    const { tree, geometry, needs, xattrIndex } = this.#layout;
    const field = INODE.at;
    const seed = inodeSeed(this.#seed, inodeNumber(inode));
    const treeBlocks = this.#writeBlock(inode, out, at + field.i_block, seed);
    this.#writeNumbers(inode, out, at);
    this.#writeTimes(inode, out, at);
    const hasXattrBlock = (needs.xattrBlocks[inode] ?? 0) > 0;
    const blocks = (needs.contentBlocks[inode] ?? 0) + treeBlocks + (hasXattrBlock ? 1 : 0);
    const sectors = blocks * SECTORS_PER_BLOCK;
    out.writeUInt32LE(sectors % WORD, at + field.i_blocks_lo);
    out.writeUInt16LE(Math.floor(sectors / WORD), at + field.i_blocks_high);
    if (hasXattrBlock) {
      out.writeUInt32LE(locate(geometry, xattrIndex[inode] ?? 0).block, at + field.i_file_acl_lo);
    }
    const xattrs = placeXattrs(heapOf(tree, inode), tree.xattrOffset[inode] ?? 0);
    if (typeof xattrs !== "string") writeInodeXattrs(xattrs.inInode, out, at);
    const sum = crc32c(out, seed, at, at + INODE_BYTES);
    out.writeUInt16LE(sum & 0xffff, at + field.i_checksum_lo);
    out.writeUInt16LE(sum >>> 16, at + field.i_checksum_hi);
  }

  #writeNumbers(inode: number, out: Buffer, at: number): void {
    const { tree, needs } = this.#layout;
    const field = INODE.at;
    const isDirectory = isType(tree, inode, TypeBits.directory);
    const [uid, gid, links] = [tree.uid[inode] ?? 0, tree.gid[inode] ?? 0, tree.nlink[inode] ?? 0];
    const sizeBytes = isDirectory
      ? (needs.contentBlocks[inode] ?? 0) * BLOCK_SIZE
      : (tree.sizeBytes[inode] ?? 0);
    out.writeUInt16LE(tree.mode[inode] ?? 0, at + field.i_mode);
    out.writeUInt16LE(uid & 0xffff, at + field.i_uid);
    out.writeUInt16LE(uid >>> 16, at + field.i_uid_high);
    out.writeUInt16LE(gid & 0xffff, at + field.i_gid);
    out.writeUInt16LE(gid >>> 16, at + field.i_gid_high);
    out.writeUInt32LE(sizeBytes % WORD, at + field.i_size_lo);
    out.writeUInt32LE(Math.floor(sizeBytes / WORD), at + field.i_size_high);
    // A directory with more subdirectories than can be counted has one link, which means "unknown".
    out.writeUInt16LE(isDirectory && links >= MAX_LINKS ? 1 : links, at + field.i_links_count);
    out.writeUInt16LE(EXTRA_ISIZE, at + field.i_extra_isize);
  }

  /** All four times are that of the last change. */
  #writeTimes(inode: number, out: Buffer, at: number): void {
    const { tree } = this.#layout;
    const field = INODE.at;
    const given = tree.mtimeSeconds[inode] ?? 0;
    const seconds = Math.max(MIN_SECONDS, Math.min(MAX_SECONDS, given));
    const nanoseconds = seconds === given ? (tree.mtimeNanoseconds[inode] ?? 0) : 0;
    const low = seconds >>> 0;
    // Two more bits of the seconds, counted from what 32 signed bits say.
    const epoch = ((seconds - (low | 0)) / WORD) & 3;
    const extra = nanoseconds * 4 + epoch;
    for (const at32 of [field.i_atime, field.i_ctime, field.i_mtime, field.i_crtime]) {
      out.writeUInt32LE(low, at + at32);
    }
    for (const at32 of [
      field.i_atime_extra,
      field.i_ctime_extra,
      field.i_mtime_extra,
      field.i_crtime_extra,
    ]) {
      out.writeUInt32LE(extra, at + at32);
    }
  }

  /** `i_block` and the flags that say what it is. Returns the blocks of extents. */
  #writeBlock(inode: number, out: Buffer, at: number, seed: number): number {
    const { tree, needs } = this.#layout;
    if (isType(tree, inode, TypeBits.character) || isType(tree, inode, TypeBits.block)) {
      writeDevice(tree.rdevMajor[inode] ?? 0, tree.rdevMinor[inode] ?? 0, out, at);
      return 0;
    }
    const sizeBytes = tree.sizeBytes[inode] ?? 0;
    if (isType(tree, inode, TypeBits.symlink) && sizeBytes < INODE_BLOCK_BYTES) {
      out.set(bytesOf(tree, inode), at);
      return 0;
    }
    if (isType(tree, inode, TypeBits.fifo) || isType(tree, inode, TypeBits.socket)) return 0;
    const extents = (needs.contentBlocks[inode] ?? 0) === 0 ? [] : extentsOf(this.#layout, inode);
    const blocks = extentBlocksOf(this.#layout, inode, extents.length);
    extentTree(extents, blocks, seed).writeRoot(out, at);
    const flags = INODE_FLAG_EXTENTS | (needs.hashed.has(inode) ? INODE_FLAG_INDEX : 0);
    out.writeUInt32LE(flags, at - INODE.at.i_block + INODE.at.i_flags);
    return blocks.length;
  }
}

/** Small numbers as Linux had them first, others in a second word: https://elixir.bootlin.com/linux/v6.12/source/fs/ext4/inode.c */
function writeDevice(major: number, minor: number, out: Buffer, at: number): void {
  if (major < 256 && minor < 256) out.writeUInt32LE((major << 8) | minor, at);
  else out.writeUInt32LE(encodeDevice(major, minor), at + 4);
}
