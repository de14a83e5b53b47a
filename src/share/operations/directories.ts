/** Operations on open directories. linux/fuse.h has the requests. */
import { constants as files } from "node:fs";
import { putEntry } from "../attributes.ts";
import type { Entry } from "../directory.ts";
import {
  DIRENT,
  ENTRY_BYTES,
  FSYNC_IN,
  OPEN_OUT,
  OUT_HEADER_BYTES,
  READ_IN,
  RELEASE_IN,
  UNKNOWN_INODE,
} from "../fuse/format.ts";
import { argumentsOf, Refusal, replyOf } from "../fuse/message.ts";
import type { Found, Node } from "../nodes.ts";
import { closeFile, itself, O_PATH, syncFile } from "../system.ts";
import type { Operation, Tree } from "./operation.ts";

/** Longest reply; the guest's kernel asks for a page. */
const MAX_REPLY_BYTES = 8 << 10;
const DOTS = 2;

export const openDirectory: Operation = async ({ nodes, handles }, request) => {
  const node = nodes.find(request.nodeId);
  if (node.kind !== "directory") throw new Refusal("ENOTDIR");
  const fh = await nodes.use(
    node,
    async (place) =>
      await handles.openDirectory(
        node,
        async () => await nodes.open(itself(place), O_PATH | files.O_DIRECTORY),
      ),
  );
  const reply = replyOf(OPEN_OUT.sizeBytes);
  OPEN_OUT.encode(reply, OUT_HEADER_BYTES, { fh });
  return reply;
};

export const releaseDirectory: Operation = async ({ handles }, request) => {
  await handles.closeDirectory(argumentsOf(RELEASE_IN, request).fh);
  return replyOf(0);
};

export const syncDirectory: Operation = async ({ nodes, handles }, request) => {
  const { descriptor } = handles.directory(argumentsOf(FSYNC_IN, request).fh);
  await descriptor.use(async (place) => {
    const fd = await nodes.open(itself(place), files.O_RDONLY | files.O_DIRECTORY);
    await syncFile(fd).finally(() => void closeFile(fd));
  });
  return replyOf(0);
};

interface Page {
  readonly node: Node;
  readonly index: number;
  readonly entries: readonly Entry[];
  readonly bytes: number;
}

/** As many of the entries from the request's offset on as fit, when each has `extraBytes` before it. */
async function pageOf(
  { handles }: Tree,
  request: Parameters<Operation>[1],
  extraBytes: number,
): Promise<Page> {
  const { fh, offset, size } = argumentsOf(READ_IN, request);
  if (offset > Number.MAX_SAFE_INTEGER) throw new Refusal("EINVAL");
  const { node, directory } = handles.directory(fh);
  const room = Math.min(size, MAX_REPLY_BYTES);
  const most = Math.floor(room / (extraBytes + sizeOf(1)));
  const entries: Entry[] = [];
  let bytes = 0;
  for (const entry of await directory.entries(offset, Math.max(1, most))) {
    const needed = extraBytes + sizeOf(entry.name.length);
    if (bytes + needed > room) break;
    entries.push(entry);
    bytes += needed;
  }
  return { node, index: offset, entries, bytes };
}

export const readDirectory: Operation = async (tree, request) => {
  const page = await pageOf(tree, request, 0);
  const reply = replyOf(page.bytes);
  let offset = OUT_HEADER_BYTES;
  for (const [index, entry] of page.entries.entries())
    offset += putEntryName(reply, offset, entry, page.index + index + 1, UNKNOWN_INODE);
  return reply;
};

/** Each entry as if it had been looked up. What cannot be looked up any more is told as a mere name. */
export const readDirectoryPlus: Operation = async (tree, request) => {
  const page = await pageOf(tree, request, ENTRY_BYTES);
  const found = await Promise.all(
    page.entries.map(async ({ name }, index): Promise<Found | undefined> => {
      if (page.index + index < DOTS) return undefined;
      return await tree.nodes.enter(page.node, name).catch(() => undefined);
    }),
  );
  const reply = replyOf(page.bytes);
  let offset = OUT_HEADER_BYTES;
  for (const [index, entry] of page.entries.entries()) {
    const each = found[index];
    if (each !== undefined) putEntry(reply, offset, each, tree.home);
    const ino = each === undefined ? UNKNOWN_INODE : reply.readBigUInt64LE(offset + 40);
    offset += ENTRY_BYTES;
    offset += putEntryName(reply, offset, entry, page.index + index + 1, ino);
  }
  return reply;
};

function sizeOf(nameBytes: number): number {
  return Math.ceil((DIRENT.sizeBytes + nameBytes) / 8) * 8;
}

/** `next` is where the guest goes on behind this entry. */
function putEntryName(out: Buffer, offset: number, { name, type }: Entry, next: number, ino: bigint): number {
  DIRENT.encode(out, offset, { ino, off: next, namelen: name.length, type });
  out.set(name, offset + DIRENT.sizeBytes);
  return sizeOf(name.length);
}
