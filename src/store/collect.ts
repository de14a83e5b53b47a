/**
 * Collection: deletes what no record and no living lease names. The drawing in lease.ts shows why it is right
 * beside concurrent pulls and runs.
 */
import { link, lstat, rename, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import { randomBytes } from "node:crypto";
import { makePrivateDir } from "../util/atomic-file.ts";
import { systemCode } from "../util/error.ts";
import { withLock } from "../util/lock.ts";
import { explainDiskError } from "./error.ts";
import { takeInventory } from "./inventory.ts";
import type { StoredThing } from "./inventory.ts";
import type { Store, StoredName } from "./layout.ts";
import { collectLockPath, leasedNames, removeDeadLeases } from "./lease.ts";
import { namesOfContainers } from "./kept.ts";
import { namesOf, readRecords } from "./records.ts";
import { withReserve } from "./reserve.ts";
import { markUntidy } from "./untidy.ts";

export interface Collected {
  /** What was deleted, whole things and parts of things alike. */
  readonly names: readonly StoredName[];
  readonly reclaimedBytes: number;
}

interface Moved {
  readonly name: StoredName;
  readonly isWhole: boolean;
  /** In the order in which they were moved: the commit point first. */
  readonly files: { readonly from: string; readonly to: string }[];
}

/** Whether a thing has to stay. */
type Pinned = (thing: Pick<StoredThing, "name" | "isWhole">) => boolean;

/**
 * Leases keep also a part that has no commit point yet: somebody is publishing it. Records keep only what is
 * whole, or the parts that a killed process left of a named image would stay for ever.
 */
async function readPins(store: Store): Promise<Pinned> {
  // Leases first: see lease.ts.
  const leased = await leasedNames(store);
  const kept = await namesOfContainers(store);
  const { images, hasNewer } = await readRecords(store);
  // What is used cannot be known, so everything is.
  if (leased === "unknown" || kept === "unknown" || hasNewer) return () => true;
  const recorded = new Set([...images.flatMap(namesOf), ...kept]);
  return ({ name, isWhole }) => leased.has(name) || (isWhole && recorded.has(name));
}

/** `files` has those that were moved, also when one of them cannot be. */
async function moveAside(thing: StoredThing, grave: string, files: Moved["files"]): Promise<void> {
  for (const from of thing.paths) {
    const to = join(grave, `${thing.name.split(" ", 1)[0]}-${basename(from)}`);
    try {
      await rename(from, to);
      files.push({ from, to });
    } catch (error) {
      if (systemCode(error) !== "ENOENT") throw error;
    }
  }
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
  const isPinned = await readPins(store);
  const { things } = await takeInventory(store);
  const candidates = things.filter((thing) => !isPinned(thing) && isCandidate(thing));
  if (candidates.length === 0) return [];
  const moved: Moved[] = [];
  const gone: Moved[] = [];
  // For the case that something goes wrong on the way: everything goes back then.
  let isPinnedNow: Pinned = () => true;
  try {
    for (const thing of candidates) {
      const { name, isWhole } = thing;
      const files: Moved["files"] = [];
      moved.push({ name, isWhole, files });
      await moveAside(thing, grave, files);
    }
    isPinnedNow = await readPins(store);
  } finally {
    for (const one of moved) {
      if (isPinnedNow(one)) await putBack(one);
      else gone.push(one);
    }
  }
  return gone;
}

async function collectThose(
  store: Store,
  isCandidate: (thing: StoredThing) => boolean,
  signal?: AbortSignal,
) {
  const grave = join(store.workspace, `collect-${randomBytes(6).toString("hex")}`);
  try {
    const locking = { signal, tmpDir: store.workspace };
    const gone = await withReserve(store.layout, async () => {
      await makePrivateDir(grave);
      return await withLock(collectLockPath(store), locking, () => separate(store, grave, isCandidate));
    });
    let reclaimedBytes = 0;
    for (const one of gone) reclaimedBytes += await sizeOf(one);
    return { names: gone.map(({ name }) => name), reclaimedBytes };
  } catch (error) {
    markUntidy(store.layout);
    throw explainDiskError(error, store.layout.dir);
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
