/**
 * Leases: what a living process uses, or is about to.
 *
 *     pull, run                        collect
 *     1 writes the lease               a takes its lock; reads leases, then records
 *     2 waits while one collects       b moves aside what none of them names
 *     3 looks whether X is there       c reads them again; puts back what is named now
 *     4 uses X, or fetches it          d leaves the lock, deletes the rest
 *
 * Either `a` sees the lease and leaves X alone, or the lease came after `a`: then `2` waits until X is deleted
 * or back, and `3` sees which. A collector that dies, or that is stopped for longer than `2` waits, makes X
 * missing, which `4` is ready for. Leases are read before records, because a pull writes its record before it
 * gives up its lease: one of the two is always there to be seen.
 *
 * A lease is a set of files that never change, each named after the process, so that a reader of the
 * directory sees every one that was there when it began. They are not synced: after a power failure their
 * processes are gone as well.
 */
import { readFile, readdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as v from "valibot";
import { temporaryName } from "../util/atomic-file.ts";
import { systemCode } from "../util/error.ts";
import { isAlive, ownIdentity } from "../util/liveness.ts";
import type { ProcessIdentity } from "../util/liveness.ts";
import { whenUnlocked } from "../util/lock.ts";
import { explainDiskError } from "./error.ts";
import { isStoredName } from "./layout.ts";
import type { Store, StoredName } from "./layout.ts";
import { ownedName, ownerOf } from "./workspace.ts";

/** Collecting takes milliseconds; a collector that takes this long has been stopped. */
const COLLECTOR_PATIENCE_MS = 10_000;

export interface Lease extends AsyncDisposable {
  /** Adds names. Once it resolves, what is there stays there until the lease is released. */
  add(names: Iterable<StoredName>): Promise<void>;
  /** A second call does nothing. */
  release(): Promise<void>;
}

export interface LeaseOptions {
  readonly signal?: AbortSignal | undefined;
  /** Whose life the lease has: a monitor's, for a container that outlives the command. Default: this process. */
  readonly holder?: ProcessIdentity | undefined;
}

const leaseSchema = v.object({
  names: v.array(
    v.pipe(
      v.string(),
      v.custom<StoredName>((name) => isStoredName(name as string), "not a name in the store"),
    ),
  ),
});

export function collectLockPath(store: Store): string {
  return join(store.layout.locksDir, "collect.lock");
}

/** @throws StoreError `disk-full`, `store-unusable`; the signal's reason */
export async function takeLease(
  store: Store,
  names: Iterable<StoredName>,
  options: LeaseOptions = {},
): Promise<Lease> {
  const { signal, holder = ownIdentity() } = options;
  const files: string[] = [];
  const release = async () => {
    for (const file of files.splice(0)) await rm(file, { force: true });
  };
  const add = async (more: Iterable<StoredName>) => {
    const temporary = temporaryName(store.workspace, "lease");
    const file = join(store.layout.leasesDir, `${ownedName(holder)}.json`);
    try {
      await writeFile(temporary, JSON.stringify({ names: [...more] }), { flag: "wx", mode: 0o600 });
      await rename(temporary, file);
    } catch (error) {
      await rm(temporary, { force: true });
      throw explainDiskError(error, store.layout.dir);
    }
    files.push(file);
    await whenUnlocked(collectLockPath(store), { signal, timeoutMs: COLLECTOR_PATIENCE_MS });
  };
  try {
    await add(names);
  } catch (error) {
    await release();
    throw error;
  }
  return { add, release, [Symbol.asyncDispose]: release };
}

/** What living processes use; "unknown" when one of them has a lease that cannot be read. */
export async function leasedNames(store: Store): Promise<Set<StoredName> | "unknown"> {
  const leased = new Set<StoredName>();
  for (const name of await readdir(store.layout.leasesDir)) {
    const owner = ownerOf(name);
    if (!owner || !isAlive(owner)) continue;
    try {
      const text = await readFile(join(store.layout.leasesDir, name), "utf8");
      for (const one of v.parse(leaseSchema, JSON.parse(text)).names) leased.add(one);
    } catch (error) {
      // Released since the directory was read.
      if (systemCode(error) === "ENOENT") continue;
      return "unknown";
    }
  }
  return leased;
}

/** The same process identity never comes back, so this needs no lock. */
export async function removeDeadLeases(store: Store): Promise<void> {
  for (const name of await readdir(store.layout.leasesDir)) {
    const owner = ownerOf(name);
    if (!owner || !isAlive(owner)) await rm(join(store.layout.leasesDir, name), { force: true });
  }
}
