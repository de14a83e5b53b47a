/**
 * A few blocks put by for the day when the disk is full: then even removing an image has to make a directory
 * and a lock first. Whoever finds no space for that deletes the reserve and tries again; the next one who
 * opens the store lays in a new one, if it can.
 */
import { randomBytes } from "node:crypto";
import { rename, rm, stat, unlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { temporaryName } from "../util/atomic-file.ts";
import { systemCode } from "../util/error.ts";
import { isDiskFull } from "./error.ts";
import type { Layout } from "./layout.ts";

/** Sixteen blocks: what a collection makes needs four. */
const RESERVE_BYTES = 64 * 1024;

function reservePath(layout: Layout): string {
  return join(layout.dir, "reserve");
}

/** Best effort: without it the store works as well, until the disk is full. */
export async function keepReserve(layout: Layout, workspace: string): Promise<void> {
  const temporary = temporaryName(workspace, "reserve");
  try {
    const { size } = await stat(reservePath(layout));
    if (size === RESERVE_BYTES) return;
  } catch (error) {
    if (systemCode(error) !== "ENOENT") return;
  }
  try {
    // Random, because some file systems keep zeros for nothing.
    await writeFile(temporary, randomBytes(RESERVE_BYTES), { flag: "wx", mode: 0o600 });
    await rename(temporary, reservePath(layout));
  } catch {
    await rm(temporary, { force: true });
  }
}

/** Does `job`, a second time if the disk is full and there is a reserve to give up. */
export async function withReserve<T>(layout: Layout, job: () => Promise<T>): Promise<T> {
  try {
    return await job();
  } catch (error) {
    if (!isDiskFull(error)) throw error;
    try {
      await unlink(reservePath(layout));
    } catch {
      throw error;
    }
    return await job();
  }
}
