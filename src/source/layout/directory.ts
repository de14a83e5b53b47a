/** The files of a directory. Names are formed by layouts from digests and constants, never from a document. */
import { constants } from "node:fs";
import { open, stat } from "node:fs/promises";
import { join } from "node:path";
import { systemCode } from "../../util/error.ts";
import { printable } from "../../util/printable.ts";
import { SourceError } from "../error.ts";
import type { ImageFile, ImageFiles } from "../files.ts";
import { invalidArchive } from "../local.ts";

const CHUNK_BYTES = 256 * 1024;

/** One opened for reading, and nothing that is no regular file: a FIFO would never answer, a device never end. */
async function* chunksOfFile(path: string, where: string, signal?: AbortSignal): AsyncGenerator<Uint8Array> {
  await using handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  if (!(await handle.stat()).isFile()) throw invalidArchive(where, "a part of it is no regular file");
  for (;;) {
    signal?.throwIfAborted();
    const buffer = Buffer.allocUnsafeSlow(CHUNK_BYTES);
    const { bytesRead } = await handle.read(buffer, 0, CHUNK_BYTES, null);
    if (bytesRead === 0) return;
    yield buffer.subarray(0, bytesRead);
  }
}

/** @throws SourceError `image-not-found` when there is no such directory */
export async function directoryFiles(path: string): Promise<ImageFiles> {
  const isDirectory = await stat(path).then(
    (found) => found.isDirectory(),
    (error: unknown) => {
      if (systemCode(error) === "ENOENT" || systemCode(error) === "ENOTDIR") return false;
      throw error;
    },
  );
  if (!isDirectory) {
    const message = `there is no directory ${printable(path)}`;
    throw new SourceError("image-not-found", message, { hint: "look at the path in the image's name" });
  }
  return {
    name: path,
    find: async (name) => await findFile(join(path, name), path),
    async [Symbol.asyncDispose]() {},
  };
}

async function findFile(path: string, where: string): Promise<ImageFile | undefined> {
  try {
    const found = await stat(path);
    if (!found.isFile()) throw invalidArchive(where, "a part of it is no regular file");
    return { sizeBytes: found.size, chunks: (signal) => chunksOfFile(path, where, signal) };
  } catch (error) {
    if (systemCode(error) === "ENOENT" || systemCode(error) === "ENOTDIR") return undefined;
    throw error;
  }
}
