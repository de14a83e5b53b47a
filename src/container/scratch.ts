/**
 * The writable layer's disk: a sparse ext4 file, copied from one that was formatted once for its size. The
 * copy keeps the holes, so it takes milliseconds and almost no space. Where the VMM takes overlays, a disk that a
 * template has used already is not copied at all.
 */
import { link, open, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { overlay } from "../formats/qcow2/writer.ts";
import { makePrivateDir } from "../util/atomic-file.ts";
import { runCommand } from "../util/command.ts";
import { FlameBoxError, systemCode } from "../util/error.ts";
import { findProgram } from "../util/find-program.ts";
import type { Paths } from "../util/paths.ts";

export const DEFAULT_STORAGE_BYTES = 10 * 1024 ** 3;
const MIN_STORAGE_BYTES = 16 * 1024 ** 2;
const MAX_STORAGE_BYTES = 16 * 1024 ** 4;
const BLOCK_BYTES = 4096;
/** The least that ext4 takes with blocks of its usual size. */
const JOURNAL_MIB = 4;

/** Whole blocks. @throws FlameBoxError `invalid-option` */
export function storageSize(sizeBytes: number = DEFAULT_STORAGE_BYTES): number {
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes < MIN_STORAGE_BYTES || sizeBytes > MAX_STORAGE_BYTES)
    throw new FlameBoxError(
      "invalid-option",
      `the writable layer can have 16 MiB to 16 TiB, not ${sizeBytes} bytes`,
    );
  return Math.ceil(sizeBytes / BLOCK_BYTES) * BLOCK_BYTES;
}

export interface ScratchOptions {
  readonly sizeBytes: number;
  /** Of a disk that is used again, whatever has ended the machine that had it. */
  readonly journal?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** @throws FlameBoxError `invalid-option`, `program-missing`, `disk-full` */
export async function makeScratchDisk(paths: Paths, path: string, options: ScratchOptions): Promise<void> {
  const source = await formattedDisk(paths, path, options);
  await copyDisk(source, path, options.signal);
}

/** @throws FlameBoxError `disk-full` */
export async function copyDisk(source: string, path: string, signal?: AbortSignal): Promise<void> {
  try {
    // coreutils' cp knows how to copy only what is not a hole, and to share blocks where the file system can.
    await runCommand("cp", ["--sparse=always", "--reflink=auto", "--", source, path], { signal });
  } catch (error) {
    if (error instanceof FlameBoxError && error.message.includes("No space left"))
      throw diskFull(dirname(path), error);
    throw error;
  }
}

/** An empty overlay over a raw disk of that size, which nobody writes to any more. @throws FlameBoxError `disk-full` */
export async function makeOverlayDisk(path: string, sizeBytes: number): Promise<void> {
  const file = overlay(sizeBytes);
  try {
    await using handle = await open(path, "wx", 0o600);
    await handle.truncate(file.sizeBytes);
    for (const { offset, bytes } of file.pieces) await handle.write(bytes, 0, bytes.length, offset);
  } catch (error) {
    throw systemCode(error) === "ENOSPC" ? diskFull(dirname(path), error) : error;
  }
}

function diskFull(dir: string, cause: unknown): FlameBoxError {
  return new FlameBoxError("disk-full", `no space left for the container's disk in ${dir}`, {
    hint: "free space there: flamebox rmi removes images",
    cause,
  });
}

/** It is formatted near its first use: in a container's own directory, which is collected should this process be killed. */
async function formattedDisk(
  paths: Paths,
  near: string,
  { sizeBytes, journal = false, signal }: ScratchOptions,
): Promise<string> {
  const rounded = storageSize(sizeBytes);
  const dir = join(paths.dataDir, "scratch");
  const path = join(dir, `${rounded}${journal ? "-journal" : ""}.ext4`);
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
    // A disk that ends with its container has nothing to recover. No reserved blocks either.
    const journaling = journal ? ["-J", `size=${JOURNAL_MIB}`] : ["-O", "^has_journal"];
    const features = ["-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner=0:0"];
    await runCommand(mkfs, ["-q", "-F", ...journaling, ...features, temporary], { signal });
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
