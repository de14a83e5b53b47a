/**
 * Where half-made things are. Each open store has a directory in `tmp/` of its own that is named after its
 * process; what a killed process leaves there is recognised by that name and removed by the next one.
 */
import { randomBytes } from "node:crypto";
import { mkdir, readdir, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { pidOfTemporary } from "../util/atomic-file.ts";
import { systemCode } from "../util/error.ts";
import { isAlive, ownIdentity, startTicksOf } from "../util/liveness.ts";
import type { ProcessIdentity } from "../util/liveness.ts";

const DAY_MS = 24 * 3600 * 1000;

/** `PID.STARTTICKS.BOOTID.RANDOM`: whose a file or directory is, readable without opening it. */
export function ownedName(identity: ProcessIdentity): string {
  return `${identity.pid}.${identity.startTicks}.${identity.bootId}.${randomBytes(6).toString("hex")}`;
}

export function ownerOf(name: string): ProcessIdentity | undefined {
  const match = /^([0-9]{1,10})\.([0-9]{1,15})\.([0-9a-f-]{1,64})\.[0-9a-f]{12}(?:\.|$)/.exec(name);
  if (!match?.[3]) return undefined;
  return { pid: Number(match[1]), startTicks: Number(match[2]), bootId: match[3] };
}

export async function makeWorkspace(tmpDir: string): Promise<string> {
  const path = join(tmpDir, ownedName(ownIdentity()));
  await mkdir(path, { mode: 0o700 });
  return path;
}

/** Files that others put beside the directories: `temporaryName` says the pid; anything else gets a day. */
async function isAbandoned(tmpDir: string, name: string): Promise<boolean> {
  const owner = ownerOf(name);
  if (owner) return !isAlive(owner);
  const pid = pidOfTemporary(name);
  if (pid !== undefined) return startTicksOf(pid) === undefined;
  const { mtimeMs } = await stat(join(tmpDir, name));
  return Date.now() - mtimeMs > DAY_MS;
}

/**
 * Removes what dead processes left in `tmpDir`, through `workspace`: two processes that clean up at once
 * never delete in one directory together, because a rename has one winner.
 * @returns how many entries there were
 */
export async function sweepTmp(tmpDir: string, workspace: string): Promise<number> {
  let swept = 0;
  for (const name of await readdir(tmpDir)) {
    try {
      if (!(await isAbandoned(tmpDir, name))) continue;
      const grave = join(workspace, `swept-${randomBytes(6).toString("hex")}`);
      await rename(join(tmpDir, name), grave);
      swept++;
      await rm(grave, { recursive: true, force: true });
    } catch (error) {
      if (systemCode(error) !== "ENOENT") throw error;
    }
  }
  return swept;
}
