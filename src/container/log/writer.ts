/**
 * Writes a container's log, and rotates it: `container.log`, before that `container.log.1`, and so on. The file is made
 * at the first byte, and is never larger than asked by more than one piece of output.
 */
import type { FileHandle } from "node:fs/promises";
import { open, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { messageOf, systemCode } from "../../util/error.ts";
import type { LogStream } from "./format.ts";
import { encode, timestamp } from "./format.ts";

export const LOG_FILE = "container.log";

export interface LogLimits {
  readonly maxSizeBytes: number;
  readonly maxFiles: number;
}

export class LogWriter implements AsyncDisposable {
  readonly #dir: string;
  readonly #limits: LogLimits;
  /** Told once: a log that cannot be written must not end the container. */
  readonly #onProblem: (message: string) => void;
  #handle: FileHandle | undefined;
  #sizeBytes = 0;
  #broken = false;
  #last: Promise<void> = Promise.resolve();
  #room: Buffer = Buffer.alloc(0);

  constructor(dir: string, limits: LogLimits, onProblem: (message: string) => void) {
    this.#dir = dir;
    this.#limits = limits;
    this.#onProblem = onProblem;
  }

  /** Resolves when the system has it. In the order of the calls. */
  async write(stream: LogStream, bytes: Buffer): Promise<void> {
    const time = timestamp(performance.timeOrigin + performance.now());
    this.#last = this.#last.then(async () => await this.#append(stream, time, bytes));
    await this.#last;
  }

  async #append(stream: LogStream, time: string, bytes: Buffer): Promise<void> {
    if (this.#broken) return;
    const { room, length } = encode(stream, time, bytes, this.#room);
    this.#room = room;
    const entries = room.subarray(0, length);
    try {
      if (this.#handle !== undefined && this.#sizeBytes + entries.length > this.#limits.maxSizeBytes)
        await this.#rotate();
      if (this.#handle === undefined) {
        this.#handle = await open(join(this.#dir, LOG_FILE), "a", 0o600);
        this.#sizeBytes = (await this.#handle.stat()).size;
      }
      await this.#handle.appendFile(entries);
      this.#sizeBytes += entries.length;
    } catch (error) {
      this.#broken = true;
      this.#onProblem(`the container's log ends here: ${messageOf(error)}`);
    }
  }

  async #rotate(): Promise<void> {
    await this.#handle?.close();
    this.#handle = undefined;
    const path = join(this.#dir, LOG_FILE);
    const oldest = this.#limits.maxFiles - 1;
    if (oldest === 0) return await rm(path, { force: true });
    for (let number = oldest - 1; number >= 1; number--)
      await moveIfThere(`${path}.${number}`, `${path}.${number + 1}`);
    await rename(path, `${path}.1`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#last;
    await this.#handle?.close();
    this.#handle = undefined;
  }
}

async function moveIfThere(from: string, to: string): Promise<void> {
  try {
    await rename(from, to);
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw error;
  }
}
