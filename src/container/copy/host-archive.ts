/** A file or folder of the host as a tar archive, read as it is sent: what somebody copies into a container. */
import type { Stats } from "node:fs";
import { lstat, open, readdir, readlink, stat } from "node:fs/promises";
import { END_BYTES, encodeHeader, paddingOf } from "../../formats/tar/encode.ts";
import type { TypeFlag } from "../../formats/tar/encode.ts";
import { FlameBoxError, messageOf } from "../../util/error.ts";
import { quote } from "../../util/printable.ts";

export interface HostArchiveOptions {
  /** Name of what is copied in the archive; "" sends what is in the folder. */
  readonly as: string;
  /** Whether a link that is asked for by name is followed; those in a folder never are. */
  readonly follow: boolean;
  /** Told what cannot be sent: sockets. */
  readonly onSkipped: (path: string) => void;
}

const CHUNK_BYTES = 256 * 1024;
const SLASH = Buffer.from("/");

/** @throws FlameBoxError `copy-source-failed` */
export async function* hostArchive(path: string, options: HostArchiveOptions): AsyncGenerator<Buffer> {
  const bytes = Buffer.from(path);
  const status = await read(bytes, options.follow ? stat : lstat);
  if (options.as === "") {
    if (!status.isDirectory()) throw failed(bytes, "it is no directory");
    yield* children(bytes, Buffer.alloc(0), options);
  } else yield* member(bytes, Buffer.from(options.as), status, options);
  yield Buffer.alloc(END_BYTES);
}

async function* children(dir: Buffer, name: Buffer, options: HostArchiveOptions): AsyncGenerator<Buffer> {
  const entries = await readdir(dir, { encoding: "buffer" });
  for (const entry of entries.toSorted((a, b) => a.compare(b))) {
    const path = Buffer.concat([dir, SLASH, entry]);
    const own = name.length === 0 ? entry : Buffer.concat([name, SLASH, entry]);
    yield* member(path, own, await read(path, lstat), options);
  }
}

async function* member(
  path: Buffer,
  name: Buffer,
  status: Stats,
  options: HostArchiveOptions,
): AsyncGenerator<Buffer> {
  if (status.isDirectory()) {
    yield headerOf(Buffer.concat([name, SLASH]), status, "5");
    yield* children(path, name, options);
  } else if (status.isFile()) yield* file(path, name, status);
  else if (status.isSymbolicLink())
    yield headerOf(name, status, "2", await readlink(path, { encoding: "buffer" }));
  else if (status.isFIFO()) yield headerOf(name, status, "6");
  else options.onSkipped(path.toString("utf8"));
}

function headerOf(name: Buffer, status: Stats, type: TypeFlag, linkName?: Buffer): Buffer {
  const wholeMs = Math.floor(status.mtimeMs / 1000) * 1000;
  return encodeHeader({
    type,
    name: name.toString("latin1"),
    linkName: linkName?.toString("latin1"),
    mode: status.mode & 0o7777,
    uid: status.uid,
    gid: status.gid,
    storedBytes: type === "0" ? status.size : 0,
    mtimeSeconds: wholeMs / 1000,
    mtimeNanoseconds: Math.floor((status.mtimeMs - wholeMs) * 1e6),
  });
}

/** As many bytes as were announced, whatever is done to the file meanwhile. */
async function* file(path: Buffer, name: Buffer, status: Stats): AsyncGenerator<Buffer> {
  yield headerOf(name, status, "0");
  const handle = await open(path, "r").catch((error: unknown) => {
    throw failed(path, messageOf(error));
  });
  try {
    for (let left = status.size; left > 0; ) {
      const { bytesRead, buffer } = await handle.read(Buffer.alloc(Math.min(left, CHUNK_BYTES)));
      if (bytesRead === 0) throw failed(path, "it became shorter while it was copied");
      left -= bytesRead;
      yield buffer.subarray(0, bytesRead);
    }
  } finally {
    await handle.close();
  }
  yield Buffer.alloc(paddingOf(status.size));
}

async function read(path: Buffer, look: (path: Buffer) => Promise<Stats>): Promise<Stats> {
  try {
    return await look(path);
  } catch (error) {
    throw failed(path, messageOf(error));
  }
}

function failed(path: Buffer, why: string): FlameBoxError {
  return new FlameBoxError("copy-source-failed", `${quote(path.toString("utf8"))} cannot be copied: ${why}`);
}
