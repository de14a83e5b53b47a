/**
 * Reads a container's log: the rotated files, oldest first, and, if asked, what is still being written, across any
 * rotation on the way. A file is known by its inode, as its name changes; one that is open keeps it, and can be read to
 * its end after it was removed.
 *
 * A follower has every line once and in order as long as it is no further behind than the files that are kept. When it
 * is, it goes on with the oldest of them: what was removed in between is missing, nothing is told twice.
 */
import { watch } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { open, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { systemCode } from "../../util/error.ts";
import type { LogEntry } from "./format.ts";
import { decode, MAX_ENTRY_BYTES } from "./format.ts";
import { LOG_FILE } from "./writer.ts";

export interface ReadOptions {
  /** Only the last so many lines. */
  readonly tail?: number | undefined;
  /** Milliseconds since the epoch: entries from then on. */
  readonly sinceMs?: number | undefined;
  /** Entries until then. */
  readonly untilMs?: number | undefined;
  /** Goes on until this says that nobody writes any more. Without it, the end of what is there is the end. */
  readonly isOver?: (() => Promise<boolean>) | undefined;
  readonly signal?: AbortSignal | undefined;
}

const CHUNK_BYTES = 64 * 1024;
/** Changes are told by the kernel; this is for file systems where it does not. */
const POLL_MS = 500;
const NAME = new RegExp(`^${LOG_FILE.replace(".", "\\.")}(?:\\.(\\d+))?$`);
const LINE_FEED = 0x0a;

/** Oldest first. */
async function filesOf(dir: string): Promise<string[]> {
  const names = await readdir(dir).catch(() => []);
  return names
    .flatMap((name) => {
      const match = NAME.exec(name);
      return match === null ? [] : [{ name, age: Number(match[1] ?? 0) }];
    })
    .toSorted((a, b) => b.age - a.age)
    .map(({ name }) => join(dir, name));
}

class LogFile implements AsyncDisposable {
  readonly inode: number;
  readonly #handle: FileHandle;
  #rest: Buffer = Buffer.alloc(0);
  #tooLong = false;

  private constructor(handle: FileHandle, inode: number) {
    this.#handle = handle;
    this.inode = inode;
  }

  static async open(path: string): Promise<LogFile | undefined> {
    try {
      const handle = await open(path, "r");
      return new LogFile(handle, (await handle.stat()).ino);
    } catch (error) {
      if (systemCode(error) === "ENOENT") return undefined;
      throw error;
    }
  }

  /** From where the last call has ended to the end as it is now. */
  async *entries(): AsyncGenerator<LogEntry> {
    for (;;) {
      const { bytesRead, buffer } = await this.#handle.read(Buffer.alloc(CHUNK_BYTES), 0, CHUNK_BYTES);
      if (bytesRead === 0) return;
      let bytes = Buffer.concat([this.#rest, buffer.subarray(0, bytesRead)]);
      for (let end = bytes.indexOf(LINE_FEED); end !== -1; end = bytes.indexOf(LINE_FEED)) {
        const entry = this.#tooLong ? undefined : decode(bytes.subarray(0, end));
        this.#tooLong = false;
        bytes = bytes.subarray(end + 1);
        if (entry !== undefined) yield entry;
      }
      this.#tooLong ||= bytes.length > MAX_ENTRY_BYTES;
      this.#rest = this.#tooLong ? Buffer.alloc(0) : bytes;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#handle.close();
  }
}

/** Inodes of the files, oldest first, as they are called now. */
async function inodesOf(dir: string): Promise<number[]> {
  const inodes: number[] = [];
  for (const path of await filesOf(dir)) {
    const found = await stat(path).catch(() => undefined);
    if (found !== undefined) inodes.push(found.ino);
  }
  return inodes;
}

/** All files, oldest first. A rotation in the middle of it would have some twice, and others not at all. */
async function openAll(dir: string): Promise<LogFile[]> {
  for (;;) {
    const opened: LogFile[] = [];
    for (const path of await filesOf(dir)) {
      const file = await LogFile.open(path);
      if (file !== undefined) opened.push(file);
    }
    const now = await inodesOf(dir);
    if (opened.length === now.length && opened.every(({ inode }, index) => inode === now[index]))
      return opened;
    for (const file of opened) await file[Symbol.asyncDispose]();
  }
}

/** The file that came after that one; the oldest when it is there no more; undefined when there is none yet. */
async function nextAfter(dir: string, inode: number): Promise<LogFile | undefined> {
  const opened = await openAll(dir);
  const at = opened.findIndex((file) => file.inode === inode);
  const next = opened[at + 1];
  for (const file of opened) if (file !== next) await file[Symbol.asyncDispose]();
  return next;
}

/** What is there, then `undefined` once, then what comes. */
async function* allEntries(
  dir: string,
  { isOver, signal }: ReadOptions,
): AsyncGenerator<LogEntry | undefined> {
  let file = await nextAfter(dir, -1);
  let caughtUp = false;
  await using changes = isOver === undefined ? undefined : watchChanges(dir);
  try {
    for (;;) {
      signal?.throwIfAborted();
      // Asked before the last look: what was written until then is seen by it.
      const over = isOver === undefined || (await isOver());
      if (file !== undefined) yield* file.entries();
      const next: LogFile | undefined = await nextAfter(dir, file?.inode ?? -1);
      if (next !== undefined) {
        // What came between the last look and the rotation.
        if (file !== undefined) yield* file.entries();
        await file?.[Symbol.asyncDispose]();
        file = next;
        continue;
      }
      if (!caughtUp) yield undefined;
      caughtUp = true;
      if (over) return;
      await changes?.next(signal);
    }
  } finally {
    await file?.[Symbol.asyncDispose]();
  }
}

/** Wakes whoever waits when something in the folder changes. */
function watchChanges(dir: string) {
  let wake = () => {};
  let watcher: ReturnType<typeof watch> | undefined;
  try {
    watcher = watch(dir, { persistent: false }, () => wake());
    watcher.on("error", () => {});
  } catch {
    // Too many watches on this host; it is looked at now and then.
  }
  return {
    async next(signal: AbortSignal | undefined): Promise<void> {
      const awake = new AbortController();
      wake = () => awake.abort();
      const either = signal === undefined ? awake.signal : AbortSignal.any([signal, awake.signal]);
      await sleep(POLL_MS, undefined, { signal: either }).catch(() => signal?.throwIfAborted());
    },
    async [Symbol.asyncDispose](): Promise<void> {
      watcher?.close();
    },
  };
}

/** Of the entries before the `undefined`, only the last `count` lines, and what was begun behind them. */
async function* onlyLast(
  entries: AsyncIterable<LogEntry | undefined>,
  count: number,
): AsyncGenerator<LogEntry | undefined> {
  const kept: LogEntry[] = [];
  let lines = 0;
  let caughtUp = false;
  for await (const entry of entries) {
    if (caughtUp) yield entry;
    else if (entry === undefined) {
      caughtUp = true;
      yield* kept.splice(0);
    } else {
      kept.push(entry);
      if (entry.isWhole) lines++;
      const begun = entry.isWhole ? 0 : 1;
      while (kept.length > 0 && lines + begun > count) if (kept.shift()?.isWhole === true) lines--;
    }
  }
}

/**
 * @param dir the container's
 * @throws the signal's reason
 */
export async function* readLog(dir: string, options: ReadOptions = {}): AsyncGenerator<LogEntry> {
  const { tail, sinceMs, untilMs } = options;
  const all = allEntries(dir, options);
  for await (const entry of tail === undefined ? all : onlyLast(all, tail)) {
    if (entry === undefined) continue;
    const timeMs = Date.parse(entry.time);
    if (untilMs !== undefined && timeMs > untilMs) return;
    if (sinceMs === undefined || timeMs >= sinceMs) yield entry;
  }
}
