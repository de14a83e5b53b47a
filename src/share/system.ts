/**
 * System calls as promises, and paths that begin at a descriptor. Node has no openat(2), but
 * `/proc/self/fd/N/name` is the same: the walk begins at the open directory, wherever it has been moved to
 * meanwhile, and `name`, being one step, is all that is walked. `/proc/self/fd/N` alone is exactly what was
 * opened, as O_PATH descriptors are only good for that.
 */
import * as fs from "node:fs";
import type { BigIntStats } from "node:fs";
import { promisify } from "node:util";

/** Opens the place and not what is there: no device is touched, no FIFO waited for. open(2); Node does not name it. */
export const O_PATH = 0o10000000;

export const openFile: (path: string | Buffer, flags: number, mode?: number) => Promise<number> = promisify(
  fs.open,
);
export const closeFile = promisify(fs.close);
export const readFile = promisify(fs.read);
export const writeFile = promisify(fs.write);
export const syncFile = promisify(fs.fsync);
export const syncFileData = promisify(fs.fdatasync);
export const resizeFile = promisify(fs.ftruncate);
export const changeMode = promisify(fs.chmod);
export const changeOwner = promisify(fs.chown);
export const changeTimes = promisify(fs.utimes);
const fstat = promisify(fs.fstat) as (fd: number, options: { bigint: true }) => Promise<BigIntStats>;
const lstat = promisify(fs.lstat) as (path: Buffer, options: { bigint: true }) => Promise<BigIntStats>;

export async function statFile(fd: number): Promise<BigIntStats> {
  return await fstat(fd, { bigint: true });
}

export async function statPlace(path: Buffer): Promise<BigIntStats> {
  return await lstat(path, { bigint: true });
}

/** `name` in the directory `fd`. `name` was checked to be one step. */
export function at(fd: number, name: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`/proc/self/fd/${fd}/`), name]);
}

/** What `fd` is open on. */
export function itself(fd: number): string {
  return `/proc/self/fd/${fd}`;
}

/** A descriptor that may be closed while it is used: it stays open, and its number nobody else's, until the last use ends. */
export class Descriptor {
  readonly #fd: number;
  #uses = 0;
  #closing = false;

  constructor(fd: number) {
    this.#fd = fd;
  }

  /** @throws whatever `job` throws. Must be called before anything is waited for since the descriptor was found. */
  async use<T>(job: (fd: number) => Promise<T>): Promise<T> {
    this.#uses++;
    try {
      return await job(this.#fd);
    } finally {
      this.#uses--;
      this.#closeIfDone();
    }
  }

  close(): void {
    if (this.#closing) return;
    this.#closing = true;
    this.#closeIfDone();
  }

  #closeIfDone(): void {
    // Its data were written by write(2); what a close could still say has nobody to hear it.
    if (this.#closing && this.#uses === 0) fs.close(this.#fd, () => {});
  }
}
