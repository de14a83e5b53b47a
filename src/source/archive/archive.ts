/**
 * The files in a tar archive, found by name. Names are keys of a table and nothing else: no path on the host is
 * ever made from one.
 *
 *     file, or stdin ─► compressed, or no file? ─► copied plain to a file without a name ─┐
 *                                                                                        ▼
 *                           members by name ◄── headers read, data skipped ◄── plain archive
 */
import { open, unlink, type FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { randomBytes } from "node:crypto";
import { decompress } from "../../formats/compression/decompress.ts";
import { TarError } from "../../formats/tar/error.ts";
import { listMembers } from "../../formats/tar/members.ts";
import type { TarMember } from "../../formats/tar/members.ts";
import { messageOf, systemCode } from "../../util/error.ts";
import { printable, quote } from "../../util/printable.ts";
import { SourceError } from "../error.ts";
import type { ImageFile, ImageFiles } from "../files.ts";
import { invalidArchive } from "../local.ts";
import { HEAD_BYTES, compressionOfHead, sniff } from "./sniff.ts";

const CHUNK_BYTES = 256 * 1024;
const DIRECTORY_HINT =
  "a layout in a directory is oci:PATH or dir:PATH; a root file system in one is taken by flamebox import";
/** Links within an archive, one to the next. */
const MAX_HOPS = 8;
/** A plain archive that has to be copied first. */
const DEFAULT_MAX_COPY_BYTES = 256 * 2 ** 30;

export interface ArchiveOptions {
  /** A directory for the copy that compressed archives and streams need. */
  readonly workspace: string;
  readonly maxCopyBytes?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What is read from: a file by its path, or a stream by the name to call it. */
export type ArchiveInput =
  | { readonly path: string }
  | { readonly stream: AsyncIterable<Uint8Array>; readonly name: string };

async function* readAll(handle: FileHandle): AsyncGenerator<Uint8Array, void, undefined> {
  for (let at = 0; ; ) {
    const buffer = Buffer.allocUnsafeSlow(CHUNK_BYTES);
    const { bytesRead } = await handle.read(buffer, 0, CHUNK_BYTES, at);
    if (bytesRead === 0) return;
    at += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}

/** A plain copy in a file that has no name any more: whatever ends this process also removes it. */
async function copyPlain(
  stream: AsyncIterable<Uint8Array>,
  name: string,
  options: ArchiveOptions,
): Promise<FileHandle> {
  const { workspace, signal, maxCopyBytes = DEFAULT_MAX_COPY_BYTES } = options;
  const { all, compression } = await sniff(stream, name);
  const path = join(workspace, `archive-${randomBytes(6).toString("hex")}`);
  const handle = await open(path, "wx+", 0o600);
  try {
    await unlink(path);
    const plain = decompress(all, compression, { signal, maxOutputBytes: maxCopyBytes });
    let at = 0;
    for await (const chunk of plain) {
      for (let done = 0; done < chunk.length; ) {
        const { bytesWritten } = await handle.write(chunk, done, chunk.length - done, at + done);
        done += bytesWritten;
      }
      at += chunk.length;
    }
    return handle;
  } catch (error) {
    await handle.close();
    throw error;
  }
}

async function openPath(path: string, options: ArchiveOptions): Promise<FileHandle> {
  let handle: FileHandle;
  try {
    handle = await open(path, "r");
  } catch (error) {
    if (systemCode(error) !== "ENOENT" && systemCode(error) !== "ENOTDIR") throw error;
    const message = `there is no file ${printable(path)}`;
    throw new SourceError("image-not-found", message, { hint: "look at the path in the image's name" });
  }
  try {
    const found = await handle.stat();
    if (found.isDirectory()) throw invalidArchive(path, "it is a directory", DIRECTORY_HINT);
    const head = Buffer.alloc(HEAD_BYTES);
    if (found.isFile()) await handle.read(head, 0, HEAD_BYTES, 0);
    if (found.isFile() && compressionOfHead(head, path) === "none") return handle;
    // A pipe, or a compressed archive.
    const chunks = found.isFile() ? readAll(handle) : handle.createReadStream({ autoClose: false });
    const copy = await copyPlain(chunks, path, options);
    await handle.close();
    return copy;
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** A member's name as a key: without leading `./` and `/`; undefined for one that leads out of the archive. */
export function memberKey(name: string): string | undefined {
  const parts: string[] = [];
  for (const part of name.split("/")) {
    if (part === "" || part === ".") continue;
    if (part !== "..") parts.push(part);
    else if (parts.pop() === undefined) return undefined;
  }
  return parts.length === 0 ? undefined : parts.join("/");
}

type Table = ReadonlyMap<string, TarMember | "twice">;

function tableOf(members: readonly TarMember[]): Table {
  const table = new Map<string, TarMember | "twice">();
  for (const member of members) {
    const key = memberKey(Buffer.from(member.name).toString("utf8"));
    if (key === undefined || member.kind === "other") continue;
    // Which of two counts depends on the reader. What is named by its digest is the same twice, or damaged.
    const isAgain = table.has(key) && !key.startsWith("blobs/");
    if (isAgain) table.set(key, "twice");
    else if (!table.has(key)) table.set(key, member);
  }
  return table;
}

/** The file that a name stands for; links are followed in the table only. */
function follow(table: Table, name: string, archive: string): TarMember | undefined {
  let key: string | undefined = name;
  for (let hops = 0; hops <= MAX_HOPS; hops++) {
    const member: TarMember | "twice" | undefined = key === undefined ? undefined : table.get(key);
    if (member === "twice") throw invalidArchive(archive, `it has ${quote(key ?? "")} twice`);
    if (member === undefined || member.kind === "file") return member;
    const target = Buffer.from(member.linkName).toString("utf8");
    const dir = (key ?? "").split("/").slice(0, -1).join("/");
    key = memberKey(member.kind === "hardlink" || target.startsWith("/") ? target : `${dir}/${target}`);
  }
  throw invalidArchive(archive, `${quote(name)} is a link to a link, more than ${MAX_HOPS} times`);
}

async function* chunksOfMember(
  handle: FileHandle,
  { offset, sizeBytes }: TarMember,
  archive: string,
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  for (let done = 0; done < sizeBytes; ) {
    signal?.throwIfAborted();
    const length = Math.min(CHUNK_BYTES, sizeBytes - done);
    const buffer = Buffer.allocUnsafeSlow(length);
    const { bytesRead } = await handle.read(buffer, 0, length, offset + done);
    if (bytesRead === 0) throw invalidArchive(archive, "it ends within a file");
    done += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}

/**
 * Opens a tar archive: plain, or compressed with gzip or zstd.
 * @throws SourceError `image-not-found`, `invalid-archive`; what the stream throws
 */
export async function openArchive(input: ArchiveInput, options: ArchiveOptions): Promise<ImageFiles> {
  const name = "path" in input ? input.path : input.name;
  const handle =
    "path" in input ? await openPath(input.path, options) : await copyPlain(input.stream, name, options);
  try {
    const read = async (at: number, length: number) => {
      const buffer = Buffer.alloc(length);
      const { bytesRead } = await handle.read(buffer, 0, length, at);
      return buffer.subarray(0, bytesRead);
    };
    const table = tableOf(await listMembers(read, options.signal));
    return {
      name,
      find: async (file): Promise<ImageFile | undefined> => {
        const member = follow(table, file, name);
        return (
          member && {
            sizeBytes: member.sizeBytes,
            chunks: (signal) => chunksOfMember(handle, member, name, signal),
          }
        );
      },
      [Symbol.asyncDispose]: () => handle.close(),
    };
  } catch (error) {
    await handle.close();
    if (!(error instanceof TarError)) throw error;
    throw invalidArchive(name, `it is no archive that can be read: ${messageOf(error)}`, undefined, error);
  }
}
