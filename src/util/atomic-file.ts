/**
 * Publish = temporary file, fsync, rename, fsync of the directory. A reader sees the old file, the new file
 * or none, never a part of one; a process killed in between leaves only a file in `tmpDir`, which the next
 * clean-up collects.
 */
import { randomBytes } from "node:crypto";
import { mkdir, open, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";

export async function makePrivateDir(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 });
}

/** A fresh name in `dir` that says whose it is: collectors skip those of living processes. */
export function temporaryName(dir: string, label: string): string {
  return join(dir, `${label}.${process.pid}.${randomBytes(6).toString("hex")}.tmp`);
}

/** The process whose file this is; undefined when `temporaryName` did not make the name. */
export function pidOfTemporary(name: string): number | undefined {
  const pid = /\.([0-9]{1,10})\.[0-9a-f]{12}\.tmp$/.exec(name)?.[1];
  return pid === undefined ? undefined : Number(pid);
}

async function syncDir(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Moves a finished, already synced file to its final name, and makes the name durable. */
export async function publish(temporary: string, path: string): Promise<void> {
  await rename(temporary, path);
  await syncDir(dirname(path));
}

/** Writes a small file so that it appears at once or not at all. `tmpDir` is on the same file system. */
export async function writeFileAtomic(
  path: string,
  data: string | Uint8Array,
  options: { readonly tmpDir?: string; readonly mode?: number } = {},
): Promise<void> {
  const temporary = temporaryName(options.tmpDir ?? dirname(path), "write");
  try {
    const handle = await open(temporary, "wx", options.mode ?? 0o600);
    try {
      await handle.writeFile(data);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await publish(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}
