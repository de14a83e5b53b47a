/**
 * Collection: deletes what no record and no living lease names. The drawing in lease.ts shows why it is right
 * beside concurrent pulls and runs.
 */
import { link, lstat, mkdir, rename, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import { randomBytes } from "node:crypto";
import { systemCode } from "../util/error.ts";
import { acquireLock } from "../util/lock.ts";
import { takeInventory } from "./inventory.ts";
import type { StoredThing } from "./inventory.ts";
import type { Store, StoredName } from "./layout.ts";
import { collectLockPath, leasedNames, removeDeadLeases } from "./lease.ts";
import { namesOf, readRecords } from "./records.ts";

export interface Collected {
  /** What was deleted, whole things and parts of things alike. */
  readonly names: readonly StoredName[];
  readonly reclaimedBytes: number;
}

interface Moved {
  readonly name: StoredName;
  /** In the order in which they were moved: the commit point first. */
  readonly files: readonly { readonly from: string; readonly to: string }[];
}

/** What has to stay; undefined when that cannot be known, so that everything has to. */
async function pinnedNames(store: Store): Promise<Set<StoredName> | undefined> {
  // Leases first: see lease.ts.
  const pinned = await leasedNames(store);
  if (pinned === "unknown") return undefined;
  const { images, hasNewer } = await readRecords(store);
  if (hasNewer) return undefined;
  for (const image of images) for (const name of namesOf(image)) pinned.add(name);
  return pinned;
}

async function moveAside(thing: StoredThing, grave: string): Promise<Moved> {
  const files: { from: string; to: string }[] = [];
  for (const from of thing.paths) {
    const to = join(grave, `${thing.name.split(" ", 1)[0]}-${basename(from)}`);
    try {
      await rename(from, to);
      files.push({ from, to });
    } catch (error) {
      if (systemCode(error) !== "ENOENT") throw error;
    }
  }
  return { name: thing.name, files };
}

/** The commit point goes back last. What was published meanwhile is newer, so it stays. */
async function putBack({ files }: Moved): Promise<void> {
  for (const { from, to } of files.toReversed()) {
    try {
      await link(to, from);
    } catch (error) {
      if (systemCode(error) !== "EEXIST") throw error;
    }
  }
}

async function sizeOf({ files }: Moved): Promise<number> {
  let sizeBytes = 0;
  for (const { to } of files) sizeBytes += (await lstat(to)).size;
  return sizeBytes;
}

/** Steps a to c; what is left in `grave` afterwards may be deleted. */
async function separate(
  store: Store,
  grave: string,
  isCandidate: (thing: StoredThing) => boolean,
): Promise<Moved[]> {
  const before = await pinnedNames(store);
  if (!before) return [];
  const { things } = await takeInventory(store);
  const candidates = things.filter((thing) => !before.has(thing.name) && isCandidate(thing));
  if (candidates.length === 0) return [];
  const moved: Moved[] = [];
  const gone: Moved[] = [];
  let after: Set<StoredName> | undefined;
  try {
    for (const thing of candidates) moved.push(await moveAside(thing, grave));
    after = await pinnedNames(store);
  } finally {
    // Also when something went wrong on the way: `after` is undefined then, and everything goes back.
    for (const one of moved) {
      if (!after || after.has(one.name)) await putBack(one);
      else gone.push(one);
    }
  }
  return gone;
}

async function collectThose(store: Store, isCandidate: (thing: StoredThing) => boolean, signal?: AbortSignal) {
  const grave = join(store.workspace, `collect-${randomBytes(6).toString("hex")}`);
  await mkdir(grave, { mode: 0o700 });
  try {
    let gone: Moved[];
    {
      await using _lock = await acquireLock(collectLockPath(store), { signal, tmpDir: store.workspace });
      gone = await separate(store, grave, isCandidate);
    }
    let reclaimedBytes = 0;
    for (const one of gone) reclaimedBytes += await sizeOf(one);
    return { names: gone.map(({ name }) => name), reclaimedBytes };
  } finally {
    await rm(grave, { recursive: true, force: true });
  }
}

/** Deletes whatever nothing names. The signal is heeded until the first file has been moved. */
export async function collect(
  store: Store,
  options: { readonly signal?: AbortSignal | undefined } = {},
): Promise<Collected> {
  await removeDeadLeases(store);
  return await collectThose(store, () => true, options.signal);
}

/** Deletes only parts without their commit point, as a killed process leaves them. */
export async function collectOrphans(store: Store): Promise<Collected> {
  return await collectThose(store, (thing) => !thing.isWhole);
}
