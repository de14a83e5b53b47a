/**
 * A directory that the guest has open, read in order. The guest's kernel asks for the same entries again when they
 * did not fit its caller's buffer, so the last ones are kept; whoever goes further back makes it be read anew.
 */
import type { Dir, Dirent } from "node:fs";
import { opendir } from "node:fs/promises";
import { itself } from "./system.ts";

/** More than one reply has, and few enough that a guest may have hundreds of directories open. */
const KEPT_ENTRIES = 256;
const READ_AHEAD_ENTRIES = 64;

/** As d_type of readdir(3). */
const Type = {
  unknown: 0,
  fifo: 1,
  character: 2,
  directory: 4,
  block: 6,
  file: 8,
  link: 10,
  socket: 12,
} as const;

export interface Entry {
  readonly name: Buffer;
  readonly type: number;
}

const DOTS: readonly Entry[] = [".", ".."].map((name) => ({ name: Buffer.from(name), type: Type.directory }));

export class Directory {
  readonly #fd: number;
  #dir: Dir | undefined;
  #kept: Entry[] = [];
  /** Index of the first that is kept. */
  #first = 0;
  #turn: Promise<unknown> = Promise.resolve();

  /** `fd` stays the caller's, who keeps it open. */
  private constructor(fd: number, dir: Dir) {
    this.#fd = fd;
    this.#dir = dir;
    this.#kept = [...DOTS];
  }

  /** @throws the system's EACCES, … */
  static async open(fd: number): Promise<Directory> {
    return new Directory(fd, await list(fd));
  }

  /**
   * At most `count` entries from `index` on, in order; none at the end. From 0 the directory is read anew.
   * One call after the other, however many are made at once.
   */
  async entries(index: number, count: number): Promise<Entry[]> {
    const turn = this.#turn.then(async () => await this.#entries(index, count));
    this.#turn = turn.catch(() => {});
    return await turn;
  }

  async close(): Promise<void> {
    await this.#turn;
    await this.#dir?.close();
    this.#dir = undefined;
  }

  async #entries(index: number, count: number): Promise<Entry[]> {
    if (index < this.#first || (index === 0 && this.#kept.length > DOTS.length)) await this.#rewind();
    while (this.#first + this.#kept.length < index + count) {
      const entry = await this.#dir?.read();
      if (entry === null || entry === undefined) break;
      // With encoding "buffer", names are bytes, whatever the declaration says.
      this.#kept.push({ name: entry.name as unknown as Buffer, type: typeOf(entry) });
      if (this.#kept.length >= KEPT_ENTRIES + count) {
        const dropped = Math.min(this.#kept.length - KEPT_ENTRIES / 2, Math.max(0, index - this.#first));
        this.#kept = this.#kept.slice(dropped);
        this.#first += dropped;
      }
    }
    const start = index - this.#first;
    return this.#kept.slice(start, start + count);
  }

  async #rewind(): Promise<void> {
    const old = this.#dir;
    this.#dir = undefined;
    await old?.close();
    this.#dir = await list(this.#fd);
    this.#kept = [...DOTS];
    this.#first = 0;
  }
}

async function list(fd: number): Promise<Dir> {
  const options = { encoding: "buffer", bufferSize: READ_AHEAD_ENTRIES } as unknown as Parameters<
    typeof opendir
  >[1];
  return await opendir(itself(fd), options);
}

function typeOf(entry: Dirent): number {
  if (entry.isFile()) return Type.file;
  if (entry.isDirectory()) return Type.directory;
  if (entry.isSymbolicLink()) return Type.link;
  if (entry.isFIFO()) return Type.fifo;
  if (entry.isSocket()) return Type.socket;
  if (entry.isCharacterDevice()) return Type.character;
  return entry.isBlockDevice() ? Type.block : Type.unknown;
}
