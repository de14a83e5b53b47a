/**
 * Extended attributes: what fits goes behind its inode, the rest into one block of the inode's own.
 *
 *     entry entry … 0 0 0 0      free      … value value        values grow from the end towards the entries
 *
 * Name indexes are those of the tree's packed list (see `InodeTree.xattrOffset`).
 */
import { crc32c } from "../crc32c.ts";
import { packedXattrs } from "../erofs/xattr.ts";
import type { PackedXattr } from "../erofs/xattr.ts";
import { storedAcl } from "./acl.ts";
import {
  BLOCK_SIZE,
  INODE,
  INODE_BYTES,
  XATTR_BLOCK_HEADER,
  XATTR_ENTRY,
  XATTR_INODE_HEADER_BYTES,
  XATTR_MAGIC,
  alignUp,
} from "./format.ts";

/** Where a list of xattrs goes. */
export interface PlacedXattrs {
  readonly inInode: readonly PackedXattr[];
  readonly inBlock: readonly PackedXattr[];
}

const ACL_INDEXES: readonly number[] = [2, 3];
/** Four zero bytes end a list of entries. */
const END_BYTES = 4;
const INODE_ROOM = INODE_BYTES - INODE.sizeBytes - XATTR_INODE_HEADER_BYTES - END_BYTES;
const BLOCK_ROOM = BLOCK_SIZE - XATTR_BLOCK_HEADER.sizeBytes - END_BYTES;

/** The validated list at `offset`. A string says what is wrong with it for ext4. */
export function placeXattrs(heap: Uint8Array, offset: number): PlacedXattrs | string {
  const inInode: PackedXattr[] = [];
  const inBlock: PackedXattr[] = [];
  let inodeRoom = INODE_ROOM;
  let blockRoom = BLOCK_ROOM;
  for (const { index, suffix, value } of packedXattrs(heap, offset)) {
    const stored = ACL_INDEXES.includes(index) ? storedAcl(value) : value;
    if (stored === undefined) return "its ACL is malformed";
    const xattr = { index, suffix, value: stored };
    const needed = entryBytes(xattr) + alignUp(stored.length, 4);
    if (needed <= inodeRoom) {
      inodeRoom -= needed;
      inInode.push(xattr);
    } else {
      blockRoom -= needed;
      inBlock.push(xattr);
    }
  }
  if (blockRoom < 0) return `its xattrs need ${BLOCK_ROOM - blockRoom} bytes of a block's ${BLOCK_ROOM}`;
  // The kernel looks for a name in a block in this order.
  inBlock.sort(
    (a, b) => a.index - b.index || a.suffix.length - b.suffix.length || Buffer.compare(a.suffix, b.suffix),
  );
  return { inInode, inBlock };
}

function entryBytes({ suffix }: PackedXattr): number {
  return alignUp(XATTR_ENTRY.sizeBytes + suffix.length, 4);
}

/** Writes what belongs behind an inode's 160 bytes into zeroed memory. */
export function writeInodeXattrs(xattrs: readonly PackedXattr[], out: Uint8Array, inodeAt: number): void {
  if (xattrs.length === 0) return;
  const view = new DataView(out.buffer, out.byteOffset, out.length);
  const headerAt = inodeAt + INODE.sizeBytes;
  view.setUint32(headerAt, XATTR_MAGIC, true);
  const first = headerAt + XATTR_INODE_HEADER_BYTES;
  // Entries behind an inode have no hash, and their values are counted from the first entry.
  writeEntries(xattrs, out, { first, end: inodeAt + INODE_BYTES, base: first, withHash: false });
}

/** One block at `at` of zeroed memory. Its checksum begins with where it lies on the disk. */
export function writeXattrBlock(
  xattrs: readonly PackedXattr[],
  out: Uint8Array,
  at: number,
  place: { readonly block: number; readonly seed: number },
): void {
  XATTR_BLOCK_HEADER.encode(out, at, { h_magic: XATTR_MAGIC, h_refcount: 1, h_blocks: 1 });
  const first = at + XATTR_BLOCK_HEADER.sizeBytes;
  const hash = writeEntries(xattrs, out, { first, end: at + BLOCK_SIZE, base: at, withHash: true });
  const view = new DataView(out.buffer, out.byteOffset, out.length);
  view.setUint32(at + XATTR_BLOCK_HEADER.at.h_hash, hash, true);
  const number = new Uint8Array(8);
  new DataView(number.buffer).setUint32(0, place.block, true);
  const sum = crc32c(out, crc32c(number, place.seed), at, at + BLOCK_SIZE);
  view.setUint32(at + XATTR_BLOCK_HEADER.at.h_checksum, sum, true);
}

interface EntryPlace {
  readonly first: number;
  readonly end: number;
  /** What values' offsets are counted from. */
  readonly base: number;
  readonly withHash: boolean;
}

/** Returns the hash of all entries together. */
function writeEntries(xattrs: readonly PackedXattr[], out: Uint8Array, place: EntryPlace): number {
  let at = place.first;
  let valueAt = place.end;
  let allHash = 0;
  for (const xattr of xattrs) {
    const { index, suffix, value } = xattr;
    valueAt -= alignUp(value.length, 4);
    const hash = place.withHash ? entryHash(xattr) : 0;
    XATTR_ENTRY.encode(out, at, {
      e_name_len: suffix.length,
      e_name_index: index,
      e_value_offs: value.length === 0 ? 0 : valueAt - place.base,
      e_value_size: value.length,
      e_hash: hash,
    });
    out.set(suffix, at + XATTR_ENTRY.sizeBytes);
    out.set(value, valueAt);
    allHash = ((allHash << 16) ^ (allHash >>> 16) ^ hash) >>> 0;
    at += entryBytes(xattr);
  }
  return allHash;
}

/** https://docs.kernel.org/filesystems/ext4/attributes.html */
function entryHash({ suffix, value }: PackedXattr): number {
  let hash = 0;
  for (const byte of suffix) hash = (hash << 5) ^ (hash >>> 27) ^ byte;
  const words = new Uint8Array(alignUp(value.length, 4));
  words.set(value);
  const view = new DataView(words.buffer);
  for (let at = 0; at < words.length; at += 4) hash = (hash << 16) ^ (hash >>> 16) ^ view.getUint32(at, true);
  return hash >>> 0;
}
