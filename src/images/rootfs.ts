/**
 * An image's rootfs: made from its layers' indexes, found again by its layers, opened for a machine.
 */
import { randomBytes } from "node:crypto";
import { rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { flatten, rootfsDisk } from "../rootfs/attach.ts";
import type { RootfsDisk } from "../rootfs/attach.ts";
import { BLOCK_SIZE } from "../rootfs/layer-index.ts";
import { explainDiskError } from "../store/error.ts";
import { layerPaths, rootfsKey, rootfsPaths } from "../store/layout.ts";
import type { RootfsPaths, Store } from "../store/layout.ts";
import { takeLease } from "../store/lease.ts";
import type { Lease, LeaseOptions } from "../store/lease.ts";
import { namesOf } from "../store/records.ts";
import { fileSizeBytes, inspectRootfs } from "../store/rootfs.ts";
import type { RootfsSummary } from "../store/rootfs.ts";
import { isAsStamped, stampFile } from "../store/stamp.ts";
import { silent } from "../util/progress.ts";
import type { OnProgress } from "../util/progress.ts";
import type { Image } from "./images.ts";
import type { EarlyMerge, Layered } from "./make-rootfs.ts";

export interface RootfsOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
  /** Layers of this image that have been merged already. */
  readonly early?: EarlyMerge | undefined;
}

/** A rootfs ready for a machine. Dispose it when the machine has ended: its files may go then. */
export interface OpenRootfs extends AsyncDisposable {
  /** The files that make up the disk, in order; read-only. */
  readonly disk: RootfsDisk;
  /** The same disk for QEMU. */
  readonly vmdkPath: string;
  /** The same disk in one file, for VMMs that know nothing else. Made at first use, and kept with the rootfs. */
  readonly rawFile: (options?: Pick<RootfsOptions, "signal" | "onProgress">) => Promise<string>;
  readonly lease: Lease;
}

/**
 * Makes the rootfs be here and sound. The caller has a lease on the image.
 * @throws ImageError `image-incomplete`; RootfsError for layers that make no tree; StoreError `disk-full`
 */
export async function ensureRootfs(
  store: Store,
  image: Layered,
  options: RootfsOptions = {},
): Promise<RootfsSummary> {
  const { onProgress = silent } = options;
  const tell = (state: "running" | "done" | "cached" | "failed") =>
    onProgress({ id: "rootfs", label: "root file system", state });
  const found = await inspectRootfs(store, rootfsKey(image.diffIds));
  if (found.state === "sound") {
    tell("cached");
    return found.summary;
  }
  const { incomplete, makeRootfs } = await import("./make-rootfs.ts");
  if (found.state === "unverified") {
    const { readLayer } = await import("./layer.ts");
    // Reads each of them, and remembers what it found.
    for (const diffId of found.diffIds)
      if (!(await readLayer(store, diffId))) throw incomplete(image, diffId);
    tell("cached");
    return found.summary;
  }
  if (found.state === "incomplete") throw incomplete(image, found.diffId);
  tell("running");
  try {
    const summary = await makeRootfs(store, image, options);
    tell("done");
    return summary;
  } catch (error) {
    tell("failed");
    throw error;
  }
}

function diskOf(store: Store, image: Layered, { metadata, blobs }: RootfsSummary): RootfsDisk {
  const { metadataPath } = rootfsPaths(store.layout, rootfsKey(image.diffIds));
  return rootfsDisk(
    { path: metadataPath, metadataBlocks: metadata.sizeBytes / BLOCK_SIZE },
    blobs.map(({ diffId, sizeBytes }) => ({
      path: layerPaths(store.layout, diffId).blobPath,
      blobBlocks: sizeBytes / BLOCK_SIZE,
    })),
  );
}

/**
 * The image's rootfs, made again where it is missing or damaged, and kept as long as the result is not
 * disposed and its holder (by default this process) lives.
 * @throws ImageError `image-incomplete` when a layer has to be fetched again; as ensureRootfs
 */
export async function openRootfs(
  store: Store,
  image: Image,
  options: RootfsOptions & Pick<LeaseOptions, "holder"> = {},
): Promise<OpenRootfs> {
  const { signal, holder } = options;
  const lease = await takeLease(store, namesOf(image), { signal, holder });
  try {
    const disk = diskOf(store, image, await ensureRootfs(store, image, options));
    const { vmdkPath, rawPath, rawStampPath } = rootfsPaths(store.layout, rootfsKey(image.diffIds));
    return {
      disk,
      vmdkPath,
      rawFile: async (raw = {}) => await ensureRaw(store, disk, { rawPath, rawStampPath }, raw),
      lease,
      [Symbol.asyncDispose]: () => lease.release(),
    };
  } catch (error) {
    await lease.release();
    throw error;
  }
}

/** Two that make it at once make the same bytes; the last one's name stays. */
async function ensureRaw(
  store: Store,
  disk: RootfsDisk,
  { rawPath, rawStampPath }: Pick<RootfsPaths, "rawPath" | "rawStampPath">,
  options: Pick<RootfsOptions, "signal" | "onProgress">,
): Promise<string> {
  const isThere = (await fileSizeBytes(rawPath)) === disk.sizeBytes;
  // One that somebody has touched is made again, from parts that are known to be right.
  if (isThere && (await isAsStamped(rawPath, rawStampPath))) return rawPath;
  const temporary = join(store.workspace, `raw-${randomBytes(6).toString("hex")}`);
  try {
    await flatten(disk, temporary, options);
    await rename(temporary, rawPath);
    await stampFile(store, rawPath, rawStampPath);
    return rawPath;
  } catch (error) {
    await rm(temporary, { force: true });
    throw explainDiskError(error, store.layout.dir);
  }
}
