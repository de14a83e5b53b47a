/** Operations on open files, and on files as such: read, write, attributes. linux/fuse.h has the requests. */
import { constants as files } from "node:fs";
import type { BigIntStats } from "node:fs";
import { statfs } from "node:fs/promises";
import { attributesReply } from "../attributes.ts";
import {
  FSYNC_DATA_ONLY,
  FSYNC_IN,
  GETATTR_HANDLE,
  GETATTR_IN,
  MAX_DATA_BYTES,
  MAX_NAME_BYTES,
  OPEN_IN,
  OPEN_KEEP_CACHE,
  OPEN_OUT,
  OUT_HEADER_BYTES,
  READ_IN,
  RELEASE_IN,
  STATFS_OUT,
  SETATTR_IN,
  SetAttribute,
  WRITE_FROM_CACHE,
  WRITE_IN,
  WRITE_OUT,
} from "../fuse/format.ts";
import { argumentsOf, Refusal, replyOf } from "../fuse/message.ts";
import type { FileHandle } from "../handles.ts";
import type { Node } from "../nodes.ts";
import {
  changeMode,
  changeOwner,
  changeTimes,
  closeFile,
  itself,
  readFile,
  resizeFile,
  statFile,
  syncFile,
  syncFileData,
  writeFile,
} from "../system.ts";
import type { Operation, Tree } from "./operation.ts";
import { GIVEN_MODE, SET_ID_MODE } from "./operation.ts";

/** O_RDONLY, O_WRONLY or O_RDWR. */
export const ACCESS_MODE = 3;
const NANOSECONDS = 1_000_000_000n;
/** A file that has changed less long ago may change again without its times showing it. */
const SETTLED_NANOSECONDS = 2n * NANOSECONDS;
/** Times that any file system of the host's can hold. */
const MAX_SECONDS = 2 ** 40;
const MAX_COUNT = BigInt(Number.MAX_SAFE_INTEGER);

export const open: Operation = async (tree, request) => {
  const { flags } = argumentsOf(OPEN_IN, request);
  const { handle, openFlags } = await openHandle(tree, tree.nodes.find(request.nodeId), flags);
  const reply = replyOf(OPEN_OUT.sizeBytes);
  OPEN_OUT.encode(reply, OUT_HEADER_BYTES, { fh: handle, openFlags });
  return reply;
};

/** Opens a file that the guest knows. Only plain ones: opening anything else would do something. */
export async function openHandle(
  { nodes, handles, readonly }: Tree,
  node: Node,
  flags: number,
): Promise<{ readonly handle: number; readonly openFlags: number }> {
  if (node.kind === "directory") throw new Refusal("EISDIR");
  if (node.kind === "link") throw new Refusal("ELOOP");
  if (node.kind !== "file") throw new Refusal("ENXIO");
  const access = flags & ACCESS_MODE;
  const writes = access !== files.O_RDONLY;
  if (writes && readonly) throw new Refusal("EROFS");
  // O_APPEND is not handed on: see `write`.
  const kept = writes ? files.O_TRUNC | files.O_SYNC | files.O_DSYNC : 0;
  return await nodes.use(node, async (place) => {
    const stats = await statFile(place);
    if (writes) await dropSetId(place, stats);
    const handle = await handles.openFile(
      node,
      async () =>
        await nodes.open(itself(place), access | (flags & kept) | files.O_NONBLOCK | files.O_NOCTTY),
    );
    return { handle, openFlags: cacheFlags(node, stats) };
  });
}

/** What a guest may write into is no longer what its owner gave its rights to. */
async function dropSetId(place: number, { mode }: BigIntStats): Promise<void> {
  if ((Number(mode) & SET_ID_MODE) !== 0) await changeMode(itself(place), Number(mode) & GIVEN_MODE);
}

/** The guest's pages of the file stay good when it is as it was when it was opened last, and has been for a while. */
function cacheFlags(node: Node, { mtimeNs, ctimeNs, size }: BigIntStats): number {
  const { opened } = node;
  node.opened = { mtimeNs, ctimeNs, size };
  const same =
    opened !== undefined && opened.mtimeNs === mtimeNs && opened.ctimeNs === ctimeNs && opened.size === size;
  const settled = BigInt(Date.now()) * 1_000_000n - ctimeNs > SETTLED_NANOSECONDS;
  return same && settled ? OPEN_KEEP_CACHE : 0;
}

export const read: Operation = async ({ handles }, request) => {
  const { fh, offset, size } = argumentsOf(READ_IN, request);
  if (size > MAX_DATA_BYTES) throw new Refusal("EINVAL");
  checkOffset(offset, size);
  const { descriptor } = handles.file(fh);
  // Not zeroed: what is sent of it has been read.
  const reply = Buffer.allocUnsafe(OUT_HEADER_BYTES + size);
  let end = OUT_HEADER_BYTES;
  await descriptor.use(async (fd) => {
    while (end < reply.length) {
      const { bytesRead } = await readFile(
        fd,
        reply,
        end,
        reply.length - end,
        offset + end - OUT_HEADER_BYTES,
      );
      if (bytesRead === 0) break;
      end += bytesRead;
    }
  });
  return reply.subarray(0, end);
};

/**
 * Appending is done here, at the file's real end, which the guest may not know yet. The host's own O_APPEND would do
 * it for pages from the guest's cache too, which have their place in the file.
 */
export const write: Operation = async ({ handles }, request) => {
  const { fh, offset, size, writeFlags, flags } = argumentsOf(WRITE_IN, request);
  const data = request.body.subarray(WRITE_IN.sizeBytes);
  if (data.length !== size || size > MAX_DATA_BYTES) throw new Refusal("EINVAL");
  checkOffset(offset, size);
  const handle = handles.file(fh);
  const appends = (flags & files.O_APPEND) !== 0 && (writeFlags & WRITE_FROM_CACHE) === 0;
  const written = appends ? await append(handle, data) : await writeAll(handle, data, offset);
  const reply = replyOf(WRITE_OUT.sizeBytes);
  WRITE_OUT.encode(reply, OUT_HEADER_BYTES, { size: written });
  return reply;
};

async function append(handle: FileHandle, data: Buffer): Promise<number> {
  const turn = handle.appending.then(async () => {
    const { size } = await handle.descriptor.use(statFile);
    return await writeAll(handle, data, Number(size));
  });
  handle.appending = turn.catch(() => {});
  return await turn;
}

/** @returns what was written when the disk is full in the middle; throws when nothing could be */
async function writeAll({ descriptor }: FileHandle, data: Buffer, offset: number): Promise<number> {
  return await descriptor.use(async (fd) => {
    let done = 0;
    while (done < data.length) {
      try {
        done += (await writeFile(fd, data, done, data.length - done, offset + done)).bytesWritten;
      } catch (error) {
        if (done > 0) return done;
        throw error;
      }
    }
    return done;
  });
}

function checkOffset(offset: number, size: number): void {
  if (offset + size > Number.MAX_SAFE_INTEGER) throw new Refusal("EFBIG");
}

export const release: Operation = async ({ handles }, request) => {
  handles.closeFile(argumentsOf(RELEASE_IN, request).fh);
  return replyOf(0);
};

export const sync: Operation = async ({ handles }, request) => {
  const { fh, fsyncFlags } = argumentsOf(FSYNC_IN, request);
  const dataOnly = (fsyncFlags & FSYNC_DATA_ONLY) !== 0;
  await handles.file(fh).descriptor.use(async (fd) => await (dataOnly ? syncFileData(fd) : syncFile(fd)));
  return replyOf(0);
};

export const getAttributes: Operation = async (tree, request) => {
  const { flags, fh } = argumentsOf(GETATTR_IN, request);
  const stats =
    (flags & GETATTR_HANDLE) === 0
      ? await tree.nodes.use(tree.nodes.find(request.nodeId), statFile)
      : await tree.handles.file(fh).descriptor.use(statFile);
  return attributesReply(stats, tree.home);
};

type Change = ReturnType<typeof SETATTR_IN.decode>;

/** Set-user-id and set-group-id bits are left out in silence, as chmod(2) does for who may not set them. */
export const setAttributes: Operation = async (tree, request) => {
  const { nodes } = tree;
  const change = argumentsOf(SETATTR_IN, request);
  const node = nodes.find(request.nodeId);
  const has = (what: number): boolean => (change.valid & what) !== 0;
  if (has(SetAttribute.size)) await resize(tree, node, change);
  const stats = await nodes.use(node, async (place) => {
    if (has(SetAttribute.uid | SetAttribute.gid)) await setOwner(place, change);
    if (has(SetAttribute.mode)) {
      if (node.kind === "link") throw new Refusal("EOPNOTSUPP");
      await changeMode(itself(place), change.mode & GIVEN_MODE);
    }
    if (has(SetAttribute.atime | SetAttribute.mtime)) await setTimes(place, change);
    return await statFile(place);
  });
  return attributesReply(stats, tree.home);
};

async function resize({ nodes, handles }: Tree, node: Node, { valid, fh, size }: Change): Promise<void> {
  if (size > Number.MAX_SAFE_INTEGER) throw new Refusal("EFBIG");
  if ((valid & SetAttribute.handle) !== 0) {
    await handles.file(fh).descriptor.use(async (fd) => await resizeFile(fd, size));
    return;
  }
  if (node.kind !== "file") throw new Refusal(node.kind === "directory" ? "EISDIR" : "EINVAL");
  await nodes.use(node, async (place) => {
    await dropSetId(place, await statFile(place));
    const fd = await nodes.open(itself(place), files.O_WRONLY | files.O_NONBLOCK | files.O_NOCTTY);
    await resizeFile(fd, size).finally(() => void closeFile(fd));
  });
}

/** The host's kernel decides: root may give away, others only among their own groups; all else is EPERM. */
async function setOwner(place: number, { valid, uid, gid }: Change): Promise<void> {
  const now = await statFile(place);
  const wantedUid = (valid & SetAttribute.uid) === 0 ? Number(now.uid) : uid;
  const wantedGid = (valid & SetAttribute.gid) === 0 ? Number(now.gid) : gid;
  if (wantedUid === Number(now.uid) && wantedGid === Number(now.gid)) return;
  await changeOwner(itself(place), wantedUid, wantedGid);
}

/** Node gives times to the microsecond; a negative number it takes for "now", but not as text. */
async function setTimes(place: number, change: Change): Promise<void> {
  const { valid } = change;
  const stats = await statFile(place);
  const seconds = (what: number, now: number, whole: number, nanoseconds: number, old: bigint): string => {
    if ((valid & what) === 0) return String(Number(old) / 1e9);
    if ((valid & now) !== 0) return String(Date.now() / 1000);
    if (Math.abs(whole) > MAX_SECONDS || nanoseconds >= Number(NANOSECONDS)) throw new Refusal("EINVAL");
    return String(whole + nanoseconds / 1e9);
  };
  const { atime, atimensec, mtime, mtimensec } = change;
  await changeTimes(
    itself(place),
    seconds(SetAttribute.atime, SetAttribute.atimeNow, atime, atimensec, stats.atimeNs),
    seconds(SetAttribute.mtime, SetAttribute.mtimeNow, mtime, mtimensec, stats.mtimeNs),
  );
}

export const statFileSystem: Operation = async ({ nodes }, request) => {
  const found = await nodes.use(
    nodes.find(request.nodeId),
    async (place) => await statfs(itself(place), { bigint: true }),
  );
  // Some file systems count what they do not limit as all ones.
  const count = (value: bigint): number => Number(value > MAX_COUNT ? MAX_COUNT : value);
  const reply = replyOf(STATFS_OUT.sizeBytes);
  STATFS_OUT.encode(reply, OUT_HEADER_BYTES, {
    blocks: count(found.blocks),
    bfree: count(found.bfree),
    bavail: count(found.bavail),
    files: count(found.files),
    ffree: count(found.ffree),
    bsize: count(found.bsize),
    frsize: count(found.bsize),
    namelen: MAX_NAME_BYTES,
  });
  return reply;
};
