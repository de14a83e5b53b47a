/**
 * An image's rootfs: made from its layers' indexes, found again by its layers, opened for a machine or
 * written to one file.
 */
import { randomBytes } from "node:crypto";
import { link, lstat, rename, rm } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
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
import { systemCode } from "../util/error.ts";
import { silent } from "../util/progress.ts";
import type { OnProgress } from "../util/progress.ts";
import { ImageError } from "./error.ts";
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

function exists(path: string): ImageError {
  return new ImageError("file-exists", `${path} exists already`, {
    hint: "choose another name, or force it",
  });
}

/** Gives the finished file its name. link() refuses what has appeared meanwhile. */
async function settle(temporary: string, path: string, force: boolean): Promise<void> {
  if (force) return await rename(temporary, path);
  try {
    await link(temporary, path);
  } catch (error) {
    if (systemCode(error) === "EEXIST") throw exists(path);
    // File systems without hard links.
    if (systemCode(error) !== "EPERM" && systemCode(error) !== "EOPNOTSUPP") throw error;
    return await rename(temporary, path);
  }
  await rm(temporary, { force: true });
}

async function isThere(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch (error) {
    if (systemCode(error) === "ENOENT") return false;
    throw error;
  }
}

/**
 * Writes the rootfs as one EROFS file, which appears under `outPath` when it is complete.
 * @throws ImageError `file-exists` without `force`; as openRootfs
 */
export async function exportRootfs(
  store: Store,
  image: Image,
  outPath: string,
  options: RootfsOptions & { readonly force?: boolean | undefined } = {},
): Promise<{ readonly path: string; readonly sizeBytes: number }> {
  const { signal, onProgress, force = false } = options;
  const path = resolve(outPath);
  if (!force && (await isThere(path))) throw exists(path);
  await using rootfs = await openRootfs(store, image, options);
  const temporary = join(
    dirname(path),
    `.${basename(path).slice(0, 200)}.${randomBytes(6).toString("hex")}.tmp`,
  );
  try {
    await flatten(rootfs.disk, temporary, { signal, onProgress });
    await settle(temporary, path, force);
  } catch (error) {
    await rm(temporary, { force: true });
    throw explainDiskError(error, dirname(path), "write to another directory");
  }
  return { path, sizeBytes: rootfs.disk.sizeBytes };
}
