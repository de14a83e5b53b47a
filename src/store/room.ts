/** Whether there is room on the store's disk, before it is full and everybody's writes fail. */
import { statfsSync } from "node:fs";
import { StoreError } from "./error.ts";
import type { Store } from "./layout.ts";

/** Left to others on the same disk. */
const SPARE_BYTES = 256 * 2 ** 20;
/** Of a small disk less. */
const SPARE_PART = 0.01;

/**
 * @param wantedBytes what is going to be written at least, 0 for what is being written already
 * @throws StoreError `disk-full`
 */
export function requireRoom({ layout }: Pick<Store, "layout">, wantedBytes: number): void {
  const { bsize, blocks, bavail } = statfsSync(layout.dir);
  // Some file systems, of networks and of users, say nothing.
  if (blocks === 0) return;
  const spareBytes = Math.min(SPARE_BYTES, blocks * bsize * SPARE_PART);
  const freeBytes = bavail * bsize;
  if (freeBytes >= wantedBytes + spareBytes) return;
  const mib = (bytes: number) => `${Math.ceil(bytes / 2 ** 20)} MiB`;
  const wanted = wantedBytes > 0 ? `, and the image takes at least ${mib(wantedBytes)}` : "";
  throw new StoreError("disk-full", `${layout.dir} has ${mib(freeBytes)} left${wanted}`, {
    hint: "free space there (flamebox rmi removes images), or set FLAMEBOX_HOME to a directory on another disk",
  });
}
