/**
 * Where a file goes that somebody names. What is a file is replaced as a whole; a FIFO or a character device, under
 * its own name or behind links as `/dev/stdout` is, is written into: a file in its place would be of use to nobody,
 * and of /dev/null it would be the end.
 */
import { createWriteStream, open as openCallback } from "node:fs";
import { constants, lstat, realpath, stat } from "node:fs/promises";
import { Socket } from "node:net";
import { resolve } from "node:path";
import type { Writable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { FlameBoxError, systemCode } from "./error.ts";
import { printable } from "./printable.ts";

const openDescriptor = promisify(openCallback);
/** How often it is looked whether a FIFO has a reader. */
const READER_POLL_MS = 50;

export interface OutputPlace {
  /** Absolute; of a file behind links, the file's own. */
  readonly path: string;
  readonly isThere: boolean;
  /** Written into with `intoStream`, and never replaced. */
  readonly stream?: "fifo" | "device" | undefined;
  /** Whether somebody may still come to read: not of a shell's pipe, which has no name. */
  readonly hasName: boolean;
}

async function unlessMissing<T>(looking: Promise<T>): Promise<T | undefined> {
  try {
    return await looking;
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

/** @throws FlameBoxError `invalid-output` for a directory, a block device and a socket */
export async function outputPlace(given: string): Promise<OutputPlace> {
  const path = resolve(given);
  const found = await unlessMissing(stat(path));
  if (found === undefined) {
    const link = await unlessMissing(lstat(path));
    return { path, isThere: link !== undefined, hasName: true };
  }
  const real = await unlessMissing(realpath(path));
  const place = { path: real ?? path, isThere: true, hasName: real !== undefined };
  if (found.isFIFO()) return { ...place, stream: "fifo" };
  // An open file without a name can be written into and not be replaced, like a device.
  if (found.isCharacterDevice() || (found.isFile() && real === undefined))
    return { ...place, stream: "device" };
  if (found.isFile()) return place;
  const what = found.isDirectory() ? "a directory" : found.isBlockDevice() ? "a block device" : "a socket";
  throw new FlameBoxError("invalid-output", `${printable(path)} is ${what}, and no file`, {
    hint: "give the name of a file, of a FIFO or of a character device",
  });
}

/** Waits for a reader without a thread that waits in open(), where no signal would end it. */
async function openFifo({ path, hasName }: OutputPlace, signal: AbortSignal | undefined): Promise<Writable> {
  for (;;) {
    signal?.throwIfAborted();
    try {
      const fd = await openDescriptor(path, constants.O_WRONLY | constants.O_NONBLOCK);
      return new Socket({ fd, readable: false, writable: true });
    } catch (error) {
      if (systemCode(error) !== "ENXIO") throw error;
      if (!hasName) throw new FlameBoxError("output-closed", `nobody reads from ${printable(path)}`);
    }
    // Its own error says less than the signal's reason.
    await sleep(READER_POLL_MS, undefined, { signal }).catch(() => {});
  }
}

/**
 * Writes into a FIFO, when it has a reader, or a device. It is closed afterwards, and what has been written is taken.
 * @throws FlameBoxError `output-closed`; what opening and writing throw; the signal's reason
 */
export async function intoStream<T>(
  place: OutputPlace,
  signal: AbortSignal | undefined,
  job: (stream: Writable) => Promise<T>,
): Promise<T> {
  const stream = place.stream === "fifo" ? await openFifo(place, signal) : createWriteStream(place.path);
  // Whoever writes next is told, and so is whoever waits.
  stream.on("error", () => {});
  const stop = (): void => void stream.destroy(signal?.reason as Error);
  signal?.addEventListener("abort", stop, { once: true });
  try {
    const result = await job(stream);
    await new Promise<void>((taken, failed) => {
      stream.write(new Uint8Array(), (error) => (error ? failed(error) : taken()));
    });
    return result;
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  } finally {
    signal?.removeEventListener("abort", stop);
    if (!stream.closed) await new Promise<void>((closed) => stream.once("close", closed).destroy());
  }
}
