/**
 * A file that is written at its end and rotated: `NAME`, before that `NAME.1`, and so on. It is made at the first byte,
 * and is never larger than asked by more than one piece. One process writes it.
 */
import type { FileHandle } from "node:fs/promises";
import { open, rename, rm } from "node:fs/promises";
import { systemCode } from "../../util/error.ts";

export interface LogLimits {
  readonly maxSizeBytes: number;
  readonly maxFiles: number;
}

export class RotatingFile implements AsyncDisposable {
  readonly #path: string;
  readonly #limits: LogLimits;
  #handle: FileHandle | undefined;
  #sizeBytes = 0;

  constructor(path: string, limits: LogLimits) {
    this.#path = path;
    this.#limits = limits;
  }

  /** One call at a time. @throws the system's error */
  async append(bytes: Buffer): Promise<void> {
    if (this.#handle === undefined) await this.#open();
    if (this.#sizeBytes > 0 && this.#sizeBytes + bytes.length > this.#limits.maxSizeBytes) {
      await this.#rotate();
      await this.#open();
    }
    await this.#handle?.appendFile(bytes);
    this.#sizeBytes += bytes.length;
  }

  async #open(): Promise<void> {
    this.#handle = await open(this.#path, "a", 0o600);
    this.#sizeBytes = (await this.#handle.stat()).size;
  }

  async #rotate(): Promise<void> {
    await this[Symbol.asyncDispose]();
    const oldest = this.#limits.maxFiles - 1;
    if (oldest === 0) return await rm(this.#path, { force: true });
    for (let number = oldest - 1; number >= 1; number--)
      await moveIfThere(`${this.#path}.${number}`, `${this.#path}.${number + 1}`);
    await rename(this.#path, `${this.#path}.1`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
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
