/** Words that are looked for where they must not be: in files, and in the memory of VMMs. */
import { randomBytes } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import { open, readFile, readdir } from "node:fs/promises";

const CHUNK_BYTES = 4 * 2 ** 20;
/** What is told of a place besides the word that was looked for. */
const BEHIND_BYTES = 32;
/** Of what a VMM has mapped, only the memory of its guest is that large. */
const LEAST_GUEST_BYTES = 32 * 2 ** 20;

/** Made up, so that no other test's are found; each has a label, by which it is known again. */
export interface Marks {
  of(label: string): string;
  /** Labels of the marks that are in a file. */
  inFile(path: string): Promise<Set<string>>;
  /** Labels of the marks that are in the memory of a VMM's guest. */
  inGuestOf(pid: number): Promise<Set<string>>;
}

export function makeMarks(): Marks {
  const beginning = `mark${randomBytes(8).toString("hex")}`;
  const given = new Set<string>();
  // What a guest has freed may be written over in part, and is no mark then.
  const labelsOf = (texts: readonly string[]) => {
    const labels = texts.map((behind) => /^-(\w+)-/.exec(behind)?.[1] ?? "");
    return new Set(labels.filter((label) => given.has(label)));
  };
  return {
    of: (label) => {
      given.add(label);
      return `${beginning}-${label}-`;
    },
    inFile: async (path) => labelsOf(await behindEach(path, beginning)),
    inGuestOf: async (pid) => {
      const found: string[] = [];
      for (const range of await guestMemory(pid))
        found.push(...(await behindEach(`/proc/${pid}/mem`, beginning, range)));
      return labelsOf(found);
    },
  };
}

interface Range {
  readonly start: number;
  /** Undefined is the end of the file. */
  readonly end?: number;
}

/** What follows each place where a file has `word`. */
export async function behindEach(path: string, word: string, range: Range = { start: 0 }): Promise<string[]> {
  const found: string[] = [];
  const handle = await open(path, "r");
  try {
    const wanted = Buffer.from(word);
    const chunk = Buffer.alloc(CHUNK_BYTES);
    const overlap = wanted.length + BEHIND_BYTES;
    for (let at = range.start; ; at += CHUNK_BYTES - overlap) {
      const length = await fill(handle, chunk, at, range.end);
      const isLast = length < CHUNK_BYTES;
      const bytes = chunk.subarray(0, length);
      for (let i = bytes.indexOf(wanted); i !== -1; i = bytes.indexOf(wanted, i + 1)) {
        // What lies in the overlap is found again, with all that is behind it.
        if (!isLast && i >= length - overlap) break;
        const behind = i + wanted.length;
        found.push(bytes.toString("latin1", behind, behind + BEHIND_BYTES));
      }
      if (isLast) return found;
    }
  } finally {
    await handle.close();
  }
}

async function fill(
  handle: FileHandle,
  chunk: Buffer,
  at: number,
  end = Number.MAX_SAFE_INTEGER,
): Promise<number> {
  let length = 0;
  const wanted = Math.min(chunk.length, Math.max(0, end - at));
  while (length < wanted) {
    const { bytesRead } = await handle.read(chunk, length, wanted - length, at + length);
    if (bytesRead === 0) break;
    length += bytesRead;
  }
  return length;
}

/** A restored guest's memory is a private mapping of its template's. */
async function guestMemory(pid: number): Promise<Range[]> {
  const ranges: Range[] = [];
  for (const line of (await readFile(`/proc/${pid}/maps`, "latin1")).split("\n")) {
    const [, from = "", to = "", inode = ""] = /^(\w+)-(\w+) rw-p \w+ \S+ (\d+)/.exec(line) ?? [];
    const [start, end] = [Number.parseInt(from, 16), Number.parseInt(to, 16)];
    if (inode !== "0" && end - start >= LEAST_GUEST_BYTES) ranges.push({ start, end });
  }
  return ranges;
}

/** Those that this process has begotten and that have the memory of a guest. */
export async function vmmsOfThisProcess(): Promise<number[]> {
  const parents = new Map<number, number>();
  for (const name of await readdir("/proc")) {
    const stat = /^\d+$/.test(name) ? await readFile(`/proc/${name}/stat`, "latin1").catch(() => "") : "";
    const parent = /^\d+ \(.*\) \S (\d+)/s.exec(stat)?.[1];
    if (parent !== undefined) parents.set(Number(name), Number(parent));
  }
  const isOurs = (pid: number | undefined): boolean =>
    pid !== undefined && (pid === process.pid || isOurs(parents.get(pid)));
  const found: number[] = [];
  for (const pid of parents.keys())
    if (pid !== process.pid && isOurs(pid) && (await guestMemory(pid).catch(() => [])).length > 0)
      found.push(pid);
  return found;
}
