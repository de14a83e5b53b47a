/**
 * The store: what FlameBox has of images, shared by all its processes and without a process of its own.
 *
 *     DATA/blobs/sha256/HEX      manifests and configs, as they came
 *          layers/HEX.blob       converted layers by diff ID: file data …
 *          layers/HEX.headers    … what its archive had besides, to make it again …
 *          layers/HEX.index      … and entries; published last, so the layer is there when this is
 *          layers/HEX.stamp      … what the blob looked like when it was right           (stamp.ts)
 *          images/HASH.json      one record a reference: what it is made of            (records.ts)
 *          rootfs/KEY.*          metadata image and disk description, derived           (rootfs.ts)
 *          leases/               what living processes use                              (lease.ts)
 *          locks/                so that two pulls download a layer once                (../util/lock.ts)
 *          reserve               for the day when the disk is full                     (reserve.ts)
          tmp/OWNER/            half-made things of living processes                   (workspace.ts)
 *
 *     source ─► ingest: tmp/OWNER/x ─fsync─► rename ─► blobs, layers ─► record ─► openRootfs
 *                                                         ▲
 *     collect: what no record and no lease names ─► tmp/OWNER ─► looked at again ─► deleted or put back
 *
 * Nothing needs a lock to be right. Contents are named by digests, so two who publish the same thing publish
 * the same bytes; a name appears with its content complete; a process may be killed between any two steps,
 * and what it leaves is either complete, or in `tmp/`, or a part that its commit point does not name yet.
 * Whoever finds something missing or damaged treats it as not there, and fetches it again.
 *
 * A store belongs to one pid namespace: seen from another one, all its processes are dead.
 */
import { chmod, readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { makePrivateDir, pidOfTemporary } from "../util/atomic-file.ts";
import { startTicksOf } from "../util/liveness.ts";
import { removeIfDead } from "../util/lock.ts";
import { collectOrphans } from "./collect.ts";
import { StoreError, explainDiskError } from "./error.ts";
import { BLOB_ALGORITHMS, blobsDir, layoutOf } from "./layout.ts";
import type { Layout, Store } from "./layout.ts";
import { removeDeadLeases } from "./lease.ts";
import { keepReserve, withReserve } from "./reserve.ts";
import { isUntidy } from "./untidy.ts";
import { makeWorkspace, sweepTmp } from "./workspace.ts";

export type { Store } from "./layout.ts";

/** What others may write to can be swapped under us; what they may read are somebody's files. */
async function claimDir(dir: string): Promise<void> {
  await makePrivateDir(dir);
  const { uid, mode } = await stat(dir);
  const own = process.getuid?.();
  if (uid !== own && own !== 0) {
    throw new StoreError("store-unusable", `${dir} belongs to another user (uid ${uid})`, {
      hint: "set FLAMEBOX_HOME to a directory of your own",
    });
  }
  if ((mode & 0o077) !== 0) await chmod(dir, 0o700);
}

async function makeDirs(layout: Layout): Promise<void> {
  await claimDir(layout.dir);
  const blobs = BLOB_ALGORITHMS.map((algorithm) => blobsDir(layout, algorithm));
  const { layersDir, imagesDir, rootfsDir, leasesDir, locksDir, tmpDir } = layout;
  for (const dir of [...blobs, layersDir, imagesDir, rootfsDir, leasesDir, locksDir, tmpDir]) {
    await makePrivateDir(dir);
  }
}

/** One may be left by a process that could not remove it, and ended in good order. */
async function removeDeadLocks({ layout: { locksDir }, workspace }: Store): Promise<void> {
  for (const name of await readdir(locksDir)) {
    const path = join(locksDir, name);
    const pid = pidOfTemporary(name);
    // A lock on its way: as long as its process writes it, nothing in it says who holds it.
    if (pid === undefined) await removeIfDead(path, { tmpDir: workspace });
    else if (startTicksOf(pid) === undefined) await rm(path, { force: true });
  }
}

/** A killed process may also have left parts without their commit point, leases and locks. */
async function heal(store: Store): Promise<void> {
  const swept = await sweepTmp(store.layout.tmpDir, store.workspace);
  await removeDeadLocks(store);
  if (swept === 0) return;
  await removeDeadLeases(store);
  await collectOrphans(store);
}

async function isTidiedUp(store: Store): Promise<boolean> {
  try {
    await collectOrphans(store);
    return true;
  } catch {
    return false;
  }
}

async function open(layout: Layout): Promise<Store> {
  await makeDirs(layout);
  const workspace = await makeWorkspace(layout.tmpDir);
  const close = async () => {
    // A workspace that stays tells the next one who opens the store that there is something to heal.
    if (isUntidy(layout) && !(await isTidiedUp(store))) return;
    await rm(workspace, { recursive: true, force: true });
  };
  const store: Store = { layout, workspace, [Symbol.asyncDispose]: close };
  try {
    await heal(store);
    await keepReserve(layout, workspace);
    return store;
  } catch (error) {
    await close();
    throw error;
  }
}

/**
 * Opens the store in `dataDir`, makes it where there is none, and removes what killed processes left.
 * Dispose it at the end; a process that does not leaves an empty directory to the next one.
 * @throws StoreError `disk-full`, `store-unusable`
 */
export async function openStore(paths: { readonly dataDir: string }): Promise<Store> {
  const layout = layoutOf(paths.dataDir);
  try {
    return await withReserve(layout, () => open(layout));
  } catch (error) {
    throw explainDiskError(error, layout.dir);
  }
}
