/**
 * Folders that are being made or removed, beside those that they become: `.new.PID.TICKS.RANDOM`. The name says
 * whose one is, so that what a killed process left is told from what a living one is about.
 */
import { randomBytes } from "node:crypto";
import { readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { systemCode } from "./error.ts";
import { bootId, isAlive, ownIdentity } from "./liveness.ts";

const UNFINISHED = /^\.new\.(\d{1,10})\.(\d{1,15})\./;

export function unfinishedName(): string {
  const { pid, startTicks } = ownIdentity();
  return `.new.${pid}.${startTicks}.${randomBytes(8).toString("hex")}`;
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
  for (const name of await readdir(parent).catch(() => [])) {
    const [, pid, startTicks] = UNFINISHED.exec(name) ?? [];
    if (pid === undefined || startTicks === undefined) continue;
    const owner = { pid: Number(pid), startTicks: Number(startTicks), bootId: bootId() };
    if (!isAlive(owner)) await rm(join(parent, name), { recursive: true, force: true });
  }
}
