/** What stat(2) says on the host, as the guest's kernel takes it. */
import type { BigIntStats } from "node:fs";
import { ATTR, ATTR_OUT, ENTRY_BYTES, ENTRY_OUT, OUT_HEADER_BYTES } from "./fuse/format.ts";
import { replyOf } from "./fuse/message.ts";
import type { Found } from "./nodes.ts";

/** How long the guest may believe what it was told: what the host changes shows at most so much later. */
const VALID_SECONDS = 1;
const NANOSECONDS = 1_000_000_000n;

/** The device of the share's own root: what lies on another gets inode numbers of its own. */
export type HomeDevice = bigint;

export function putEntry(out: Buffer, offset: number, { node, stats }: Found, home: HomeDevice): void {
  ENTRY_OUT.encode(out, offset, { nodeid: node.id, entryValid: VALID_SECONDS, attrValid: VALID_SECONDS });
  putAttributes(out, offset + ENTRY_OUT.sizeBytes, stats, home);
}

export function entryReply(found: Found, home: HomeDevice): Buffer {
  const reply = replyOf(ENTRY_BYTES);
  putEntry(reply, OUT_HEADER_BYTES, found, home);
  return reply;
}

export function attributesReply(stats: BigIntStats, home: HomeDevice): Buffer {
  const reply = replyOf(ATTR_OUT.sizeBytes + ATTR.sizeBytes);
  ATTR_OUT.encode(reply, OUT_HEADER_BYTES, { attrValid: VALID_SECONDS });
  putAttributes(reply, OUT_HEADER_BYTES + ATTR_OUT.sizeBytes, stats, home);
  return reply;
}

function putAttributes(out: Buffer, offset: number, stats: BigIntStats, home: HomeDevice): void {
  const [atime, atimensec] = split(stats.atimeNs);
  const [mtime, mtimensec] = split(stats.mtimeNs);
  const [ctime, ctimensec] = split(stats.ctimeNs);
  ATTR.encode(out, offset, {
    ino: inodeNumber(stats, home),
    size: Number(stats.size),
    blocks: Number(stats.blocks),
    atime,
    mtime,
    ctime,
    atimensec,
    mtimensec,
    ctimensec,
    mode: Number(stats.mode),
    nlink: Number(stats.nlink & 0xffff_ffffn),
    uid: Number(stats.uid),
    gid: Number(stats.gid),
    rdev: Number(stats.rdev & 0xffff_ffffn),
    blksize: Number(stats.blksize & 0xffff_ffffn),
  });
}

/**
 * To the guest all of a share is one device; programs take two files with one inode number for hard links. Files of
 * file systems that are mounted inside the share get theirs moved away by a hash of the device.
 */
function inodeNumber({ dev, ino }: BigIntStats, home: HomeDevice): bigint {
  if (dev === home) return ino;
  return BigInt.asUintN(64, ino ^ (dev * 0x9e37_79b9_7f4a_7c15n));
}

/** Seconds, rounded down, and nanoseconds: before 1970 too. */
function split(nanoseconds: bigint): [number, number] {
  const rest = ((nanoseconds % NANOSECONDS) + NANOSECONDS) % NANOSECONDS;
  return [Number((nanoseconds - rest) / NANOSECONDS), Number(rest)];
}
