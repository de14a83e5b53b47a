/**
 * Reads files of lines that are rotated (`NAME`, before that `NAME.1`, …), oldest first, and, if asked, what is still
 * being written, across any rotation on the way. A file is known by its inode, as its name changes; one that is open
 * keeps it, and can be read to its end after it was removed.
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

/** What the lines of a file are. */
export interface LineFormat<Entry extends { readonly time: string }> {
  /** The newest one's name. */
  readonly file: string;
  /** Of a line without its line feed; undefined for what is none of ours. */
  readonly decode: (line: Buffer) => Entry | undefined;
  /** Whether the entry ends what people call a line; default: each does. */
  readonly isWhole?: ((entry: Entry) => boolean) | undefined;
}

interface Place<Entry extends { readonly time: string }> {
  readonly dir: string;
  readonly format: LineFormat<Entry>;
}

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
/** Behind a file's name. */
const AGE = /^\.(\d+)$/;
const LINE_FEED = 0x0a;

/** Oldest first. */
async function filesOf(dir: string, file: string): Promise<string[]> {
  const names = await readdir(dir).catch(() => []);
  return names
    .filter((name) => name.startsWith(file))
    .flatMap((name) => {
      const match = AGE.exec(name.slice(file.length));
      return match === null && name !== file ? [] : [{ name, age: Number(match?.[1] ?? 0) }];
    })
    .toSorted((a, b) => b.age - a.age)
    .map(({ name }) => join(dir, name));
}

class LineFile<Entry> implements AsyncDisposable {
  readonly inode: number;
  readonly #handle: FileHandle;
  readonly #decode: (line: Buffer) => Entry | undefined;
  #rest: Buffer = Buffer.alloc(0);
  #tooLong = false;

  private constructor(handle: FileHandle, inode: number, decodeLine: (line: Buffer) => Entry | undefined) {
    this.#handle = handle;
    this.#decode = decodeLine;
    this.inode = inode;
  }

  static async open<Entry>(
    path: string,
    decodeLine: (line: Buffer) => Entry | undefined,
  ): Promise<LineFile<Entry> | undefined> {
    try {
      const handle = await open(path, "r");
      return new LineFile(handle, (await handle.stat()).ino, decodeLine);
    } catch (error) {
      if (systemCode(error) === "ENOENT") return undefined;
      throw error;
    }
  }

  /** From where the last call has ended to the end as it is now. */
  async *entries(): AsyncGenerator<Entry> {
    for (;;) {
      const { bytesRead, buffer } = await this.#handle.read(Buffer.alloc(CHUNK_BYTES), 0, CHUNK_BYTES);
      if (bytesRead === 0) return;
      let bytes = Buffer.concat([this.#rest, buffer.subarray(0, bytesRead)]);
      for (let end = bytes.indexOf(LINE_FEED); end !== -1; end = bytes.indexOf(LINE_FEED)) {
        const entry = this.#tooLong ? undefined : this.#decode(bytes.subarray(0, end));
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
async function inodesOf(dir: string, file: string): Promise<number[]> {
  const inodes: number[] = [];
  for (const path of await filesOf(dir, file)) {
    const found = await stat(path).catch(() => undefined);
    if (found !== undefined) inodes.push(found.ino);
  }
  return inodes;
}

/** All files, oldest first. A rotation in the middle of it would have some twice, and others not at all. */
async function openAll<Entry extends { readonly time: string }>(
  place: Place<Entry>,
): Promise<LineFile<Entry>[]> {
  const { dir, format } = place;
  for (;;) {
    const opened: LineFile<Entry>[] = [];
    for (const path of await filesOf(dir, format.file)) {
      const file = await LineFile.open(path, format.decode);
      if (file !== undefined) opened.push(file);
    }
    const now = await inodesOf(dir, format.file);
    if (opened.length === now.length && opened.every(({ inode }, index) => inode === now[index]))
      return opened;
    for (const file of opened) await file[Symbol.asyncDispose]();
  }
}

/** The file that came after that one; the oldest when it is there no more; undefined when there is none yet. */
async function nextAfter<Entry extends { readonly time: string }>(
  place: Place<Entry>,
  inode: number,
): Promise<LineFile<Entry> | undefined> {
  const opened = await openAll(place);
  const at = opened.findIndex((file) => file.inode === inode);
  const next = opened[at + 1];
  for (const file of opened) if (file !== next) await file[Symbol.asyncDispose]();
  return next;
}

/** What is there, then `undefined` once, then what comes. */
async function* allEntries<Entry extends { readonly time: string }>(
  place: Place<Entry>,
  { isOver, signal }: ReadOptions,
): AsyncGenerator<Entry | undefined> {
  let file = await nextAfter(place, -1);
  /** The one before it, which a writer that had opened it may still be about to write to. */
  let left: LineFile<Entry> | undefined;
  let caughtUp = false;
  await using changes = isOver === undefined ? undefined : watchChanges(place.dir);
  try {
    for (;;) {
      signal?.throwIfAborted();
      // Asked before the last look: what was written until then is seen by it.
      const over = isOver === undefined || (await isOver());
      if (left !== undefined) yield* left.entries();
      if (file !== undefined) yield* file.entries();
      const next: LineFile<Entry> | undefined = await nextAfter(place, file?.inode ?? -1);
      if (next !== undefined) {
        // What came between the last look and the rotation.
        if (file !== undefined) yield* file.entries();
        await left?.[Symbol.asyncDispose]();
        left = file;
        file = next;
        continue;
      }
      if (!caughtUp) yield undefined;
      caughtUp = true;
      if (over) return;
      await changes?.next(signal);
    }
  } finally {
    await left?.[Symbol.asyncDispose]();
    await file?.[Symbol.asyncDispose]();
  }
}

/** Wakes whoever waits when something in the folder changes. */
function watchChanges(dir: string) {
  let wake = () => {};
  /** Since the last wait has ended: what comes while its reader is busy is not slept over. */
  let changed = false;
  let watcher: ReturnType<typeof watch> | undefined;
  try {
    watcher = watch(dir, { persistent: false }, () => {
      changed = true;
      wake();
    });
    watcher.on("error", () => {});
  } catch {
    // Too many watches on this host; it is looked at now and then.
  }
  return {
    async next(signal: AbortSignal | undefined): Promise<void> {
      const awake = new AbortController();
      wake = () => awake.abort();
      const either = signal === undefined ? awake.signal : AbortSignal.any([signal, awake.signal]);
      if (!changed) await sleep(POLL_MS, undefined, { signal: either }).catch(() => signal?.throwIfAborted());
      changed = false;
    },
    async [Symbol.asyncDispose](): Promise<void> {
      watcher?.close();
    },
  };
}

/** Of the entries before the `undefined`, only the last `count` lines, and what was begun behind them. */
async function* onlyLast<Entry>(
  entries: AsyncIterable<Entry | undefined>,
  count: number,
  isWhole: (entry: Entry) => boolean,
): AsyncGenerator<Entry | undefined> {
  const kept: Entry[] = [];
  let lines = 0;
  let caughtUp = false;
  for await (const entry of entries) {
    if (caughtUp) yield entry;
    else if (entry === undefined) {
      caughtUp = true;
      yield* kept.splice(0);
    } else {
      kept.push(entry);
      if (isWhole(entry)) lines++;
      const begun = isWhole(entry) ? 0 : 1;
      while (kept.length > 0 && lines + begun > count) {
        const [oldest] = kept.splice(0, 1);
        if (oldest !== undefined && isWhole(oldest)) lines--;
      }
    }
  }
}

/** @throws the signal's reason */
export async function* readRotated<Entry extends { readonly time: string }>(
  dir: string,
  format: LineFormat<Entry>,
  options: ReadOptions = {},
): AsyncGenerator<Entry> {
  const { tail, sinceMs, untilMs } = options;
  const { isWhole = () => true } = format;
  const all = allEntries({ dir, format }, options);
  for await (const entry of tail === undefined ? all : onlyLast(all, tail, isWhole)) {
    if (entry === undefined) continue;
    const timeMs = Date.parse(entry.time);
    if (untilMs !== undefined && timeMs > untilMs) return;
    if (sinceMs === undefined || timeMs >= sinceMs) yield entry;
  }
}

const CONTAINER_LOG: LineFormat<LogEntry> = { file: LOG_FILE, decode, isWhole: ({ isWhole }) => isWhole };

/**
 * A container's own output.
 * @param dir the container's
 * @throws the signal's reason
 */
export async function* readLog(dir: string, options: ReadOptions = {}): AsyncGenerator<LogEntry> {
  yield* readRotated(dir, CONTAINER_LOG, options);
}
