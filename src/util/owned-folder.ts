/**
 * Folders whose names say which process they belong to, `PREFIX.PID.TICKS.RANDOM`: so that what a killed process left
 * is told from what a living one is about.
 */
import { randomBytes } from "node:crypto";
import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { bootId, isAlive, ownIdentity } from "./liveness.ts";

export function ownedName(prefix: string): string {
  const { pid, startTicks } = ownIdentity();
  return `${prefix}.${pid}.${startTicks}.${randomBytes(8).toString("hex")}`;
}

/** Whether a name is one of that prefix whose process is no more. */
export function isAbandoned(name: string, prefix: string): boolean {
  if (!name.startsWith(`${prefix}.`)) return false;
  const [, pid, startTicks] = /^\.(\d{1,10})\.(\d{1,15})\.[^.]/.exec(name.slice(prefix.length)) ?? [];
  if (pid === undefined || startTicks === undefined) return false;
  return !isAlive({ pid: Number(pid), startTicks: Number(startTicks), bootId: bootId() });
}

/** Removes what killed processes left. */
export async function collectAbandoned(parent: string, prefix: string): Promise<void> {
  for (const name of await readdir(parent).catch(() => []))
    if (isAbandoned(name, prefix)) await rm(join(parent, name), { recursive: true, force: true });
}
