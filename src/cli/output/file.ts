/**
 * A file that appears when it is complete: written beside its place, and renamed into it. A FIFO or a device, as
 * /dev/stdout is one, is written into and stays what it is.
 */
import { createWriteStream as open } from "node:fs";
import { realpath, rename, rm, stat } from "node:fs/promises";
import type { Writable } from "node:stream";
import { finished } from "node:stream/promises";

export interface OutputFile {
  readonly stream: Writable;
  /** Everything has been written. */
  keep(): Promise<void>;
  /** Of one that is not kept nothing is left. */
  discard(): Promise<void>;
}

async function unless<T>(looking: Promise<T>): Promise<T | undefined> {
  return await looking.catch(() => undefined);
}

/** Opening it tells what is wrong with the path. */
export async function createWriteStream(given: string): Promise<OutputFile> {
  const found = await unless(stat(given));
  // What is open without a name, a shell's pipe, has no place to be renamed into.
  const real = await unless(realpath(given));
  const isStream = found?.isFIFO() === true || found?.isCharacterDevice() === true;
  return isStream || (found !== undefined && real === undefined)
    ? existingStream(given)
    : newFile(real ?? given);
}

function existingStream(path: string): OutputFile {
  const stream = open(path);
  stream.on("error", () => {});
  return {
    stream,
    keep: async () => {
      stream.end();
      await finished(stream);
    },
    discard: async () => void stream.destroy(),
  };
}

function newFile(path: string): OutputFile {
  const temporary = `${path}.${process.pid}.part`;
  const stream = open(temporary, { flags: "wx", mode: 0o600, flush: true });
  stream.on("error", () => {});
  return {
    stream,
    keep: async () => {
      stream.end();
      await finished(stream);
      await rename(temporary, path);
    },
    discard: async () => {
      // One that is still being opened would appear behind the removal.
      if (!stream.closed) await new Promise<void>((closed) => stream.once("close", closed).destroy());
      await rm(temporary, { force: true });
    },
  };
}
