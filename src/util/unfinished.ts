/**
 * Folders that are being made or removed, beside those that they become: `.new.PID.TICKS.RANDOM`. The name says
 * whose one is (owned-folder.ts).
 */
import { rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { systemCode } from "./error.ts";
import { collectAbandoned, ownedName } from "./owned-folder.ts";

const PREFIX = ".new";

export function unfinishedName(): string {
  return ownedName(PREFIX);
}

/** By way of an unfinished one's name, so that nobody finds half of it. @returns whether it was there */
export async function removeWhole(parent: string, name: string): Promise<boolean> {
  const doomed = join(parent, unfinishedName());
  try {
    await rename(join(parent, name), doomed);
  } catch (error) {
    if (systemCode(error) === "ENOENT") return false;
    throw error;
  }
  await rm(doomed, { recursive: true, force: true });
  return true;
}

/** Removes what killed processes left half made or half removed. */
export async function collectUnfinished(parent: string): Promise<void> {
  await collectAbandoned(parent, PREFIX);
}
