/**
 * The writable layer's disk: a sparse ext4 file, copied from one that was formatted once for its size. The
 * copy keeps the holes, so it takes milliseconds and almost no space.
 */
import { link, open, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { makePrivateDir } from "../util/atomic-file.ts";
import { runCommand } from "../util/command.ts";
import { FlameBoxError, systemCode } from "../util/error.ts";
import { findProgram } from "../util/find-program.ts";
import type { Paths } from "../util/paths.ts";

export const DEFAULT_STORAGE_BYTES = 10 * 1024 ** 3;
const MIN_STORAGE_BYTES = 16 * 1024 ** 2;
const MAX_STORAGE_BYTES = 16 * 1024 ** 4;
const BLOCK_BYTES = 4096;

/** @throws FlameBoxError `invalid-option`, `program-missing`, `disk-full` */
export async function makeScratchDisk(
  paths: Paths,
  path: string,
  sizeBytes: number,
  signal?: AbortSignal,
): Promise<void> {
  const source = await formattedDisk(paths, sizeBytes, { near: path, signal });
  try {
    // coreutils' cp knows how to copy only what is not a hole, and to share blocks where the file system can.
    await runCommand("cp", ["--sparse=always", "--reflink=auto", "--", source, path], { signal });
  } catch (error) {
    if (error instanceof FlameBoxError && error.message.includes("No space left"))
      throw new FlameBoxError("disk-full", `no space left for the container's disk in ${paths.dataDir}`, {
        hint: "free space there: flamebox rmi removes images",
        cause: error,
      });
    throw error;
  }
}

interface FormatOptions {
  /** Where it is formatted is the container's own directory, which is collected should this process be killed. */
  readonly near: string;
  readonly signal: AbortSignal | undefined;
}

async function formattedDisk(
  paths: Paths,
  sizeBytes: number,
  { near, signal }: FormatOptions,
): Promise<string> {
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes < MIN_STORAGE_BYTES || sizeBytes > MAX_STORAGE_BYTES)
    throw new FlameBoxError(
      "invalid-option",
      `the writable layer can have 16 MiB to 16 TiB, not ${sizeBytes} bytes`,
    );
  const rounded = Math.ceil(sizeBytes / BLOCK_BYTES) * BLOCK_BYTES;
  const dir = join(paths.dataDir, "scratch");
  const path = join(dir, `${rounded}.ext4`);
  if (await exists(path)) return path;
  await makePrivateDir(dir);
  const temporary = `${near}.unformatted`;
  try {
    const handle = await open(temporary, "wx", 0o600);
    await handle.truncate(rounded);
    await handle.close();
    const mkfs = await findProgram("mkfs.ext4");
    if (mkfs === undefined)
      throw new FlameBoxError(
        "program-missing",
        "mkfs.ext4 is not installed, which formats the writable layer",
        {
          hint: "install Debian's package e2fsprogs",
        },
      );
    // No journal: the disk ends with its container, so there is nothing to recover. No reserved blocks either.
    const features = ["-O", "^has_journal", "-m", "0", "-E", "lazy_itable_init=1,nodiscard,root_owner=0:0"];
    await runCommand(mkfs, ["-q", "-F", ...features, temporary], { signal });
    // The first one stays: cp gives up on a source that is replaced under its hands.
    await link(temporary, path).catch((error: unknown) => {
      if (systemCode(error) !== "EEXIST") throw error;
    });
    return path;
  } finally {
    await rm(temporary, { force: true });
  }
}

async function exists(path: string): Promise<boolean> {
  return await stat(path).then(
    () => true,
    () => false,
  );
}
