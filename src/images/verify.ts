/** Every byte that an image is started from, read and held against its sums: for one start, what `system check` does for all. */
import { rm } from "node:fs/promises";
import { hexOf } from "../reference/digest.ts";
import { layerPaths, rootfsKey, rootfsPaths } from "../store/layout.ts";
import type { Store } from "../store/layout.ts";
import { silent } from "../util/progress.ts";
import type { OnProgress } from "../util/progress.ts";
import { readLayer } from "./layer.ts";
import { incomplete } from "./make-rootfs.ts";
import type { Layered } from "./make-rootfs.ts";

/**
 * A start trusts stamps (store/stamp.ts), which tell nothing of a disk that changes bits by itself. Without them all
 * layers are read, by this and by a pull that follows when one is damaged. Metadata and documents are read at every start.
 * @throws ImageError `image-incomplete` when a layer has to be fetched again
 */
export async function verifyImage(
  store: Store,
  image: Layered,
  options: { readonly signal?: AbortSignal | undefined; readonly onProgress?: OnProgress | undefined } = {},
): Promise<void> {
  const { signal, onProgress = silent } = options;
  const layers = [...new Set(image.diffIds)];
  // All of them before the first is read: a damaged one ends this, and the pull is to read the others.
  for (const diffId of layers) await rm(layerPaths(store.layout, diffId).stampPath, { force: true });
  // The disk in one file is made again from its parts.
  await rm(rootfsPaths(store.layout, rootfsKey(image.diffIds)).rawStampPath, { force: true });
  const step = { id: "verify", label: "layers, byte by byte", total: layers.length, unit: "steps" } as const;
  for (const [current, diffId] of layers.entries()) {
    signal?.throwIfAborted();
    onProgress({ ...step, state: "running", current, note: `layer ${hexOf(diffId).slice(0, 12)}` });
    if (await readLayer(store, diffId)) continue;
    onProgress({ ...step, state: "failed" });
    throw incomplete(image, diffId);
  }
  onProgress({ ...step, state: "done", current: layers.length });
}
