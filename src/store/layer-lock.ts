/** The lock that lets two pulls of one layer download it once. */
import { join } from "node:path";
import { hexOf } from "../reference/digest.ts";
import type { Digest } from "../reference/digest.ts";
import { withLock } from "../util/lock.ts";
import type { WaitOptions } from "../util/lock.ts";
import { explainDiskError } from "./error.ts";
import type { Store } from "./layout.ts";

/** Does `job` while no other process does one for the same layer. @throws StoreError `disk-full` */
export async function withLayerLock<T>(
  store: Store,
  diffId: Digest,
  options: Pick<WaitOptions, "signal" | "onWait">,
  job: () => Promise<T>,
): Promise<T> {
  const path = join(store.layout.locksDir, `layer-${hexOf(diffId)}.lock`);
  try {
    return await withLock(path, { ...options, tmpDir: store.workspace }, job);
  } catch (error) {
    throw explainDiskError(error, store.layout.dir);
  }
}
