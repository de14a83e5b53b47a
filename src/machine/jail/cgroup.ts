/**
 * A control group a jailed VMM, which bounds how many threads it can have: `flamebox/fb-PID-TICKS-X` in the hierarchy of
 * the controller `pids`, of version 2 or 1. The jailer makes it; nobody but FlameBox removes it.
 * https://docs.kernel.org/admin-guide/cgroup-v2.html
 */
import { mkdir, readFile, readdir, rmdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { systemCode } from "../../util/error.ts";
import { isAbandoned } from "../../util/owned-folder.ts";

export const CGROUP_PARENT = "flamebox";
const CONTROLLER = "pids";
/** The kernel is done with a process a moment after its parent has been told. */
const REMOVE_TRIES = 50;
const REMOVE_PAUSE_MS = 10;

export interface Hierarchy {
  readonly version: 1 | 2;
  /** Where it is mounted. */
  readonly dir: string;
}

/** Where a group can be made; undefined where none can. */
export async function findHierarchy(): Promise<Hierarchy | undefined> {
  for (const hierarchy of await mountedHierarchies()) if (await canHold(hierarchy)) return hierarchy;
  return undefined;
}

async function mountedHierarchies(): Promise<Hierarchy[]> {
  const mounts = (await readFile("/proc/mounts", "utf8")).split("\n").map((line) => line.split(" "));
  return mounts.flatMap(([, dir = "", kind, options = ""]): Hierarchy[] => {
    if (kind === "cgroup2") return [{ version: 2, dir }];
    return kind === "cgroup" && options.split(",").includes(CONTROLLER) ? [{ version: 1, dir }] : [];
  });
}

/** In a container the group at the top may be read-only, or have processes and so no groups with controllers. */
async function canHold({ version, dir }: Hierarchy): Promise<boolean> {
  try {
    if (version === 2) {
      const there = (await readFile(join(dir, "cgroup.controllers"), "utf8")).split(/\s+/);
      if (!there.includes(CONTROLLER)) return false;
      await writeFile(join(dir, "cgroup.subtree_control"), `+${CONTROLLER}`);
    }
    await mkdir(join(dir, CGROUP_PARENT), { recursive: true });
    return true;
  } catch {
    return false;
  }
}

/** When its processes have ended. */
export async function removeCgroup({ dir }: Hierarchy, id: string): Promise<void> {
  for (let tries = 0; tries < REMOVE_TRIES; tries++) {
    try {
      await rmdir(join(dir, CGROUP_PARENT, id));
      break;
    } catch (error) {
      if (systemCode(error) !== "EBUSY") break;
    }
    await sleep(REMOVE_PAUSE_MS);
  }
  // The last one closes the door; the jailer makes it again for the next.
  await rmdir(join(dir, CGROUP_PARENT)).catch(() => {});
}

/** Those of killed processes. */
export async function collectCgroups(): Promise<void> {
  for (const hierarchy of await mountedHierarchies()) {
    const names = await readdir(join(hierarchy.dir, CGROUP_PARENT)).catch(() => []);
    // A group's name has no dots, because the jailer takes none.
    for (const name of names)
      if (isAbandoned(name.replaceAll("-", "."), "fb")) await removeCgroup(hierarchy, name);
  }
}
