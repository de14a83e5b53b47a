/** A rootfs out of its layers' indexes: the one part of opening an image that most opens do without. */
import { hexOf } from "../reference/digest.ts";
import type { Digest } from "../reference/digest.ts";
import { rootfsDisk, vmdkDescriptor } from "../rootfs/attach.ts";
import { BLOCK_SIZE } from "../rootfs/layer-index.ts";
import { Merger, buildMetadata } from "../rootfs/metadata.ts";
import { layerPaths, rootfsKey, rootfsPaths } from "../store/layout.ts";
import type { Store } from "../store/layout.ts";
import { publishRootfs } from "../store/rootfs.ts";
import type { RootfsSummary } from "../store/rootfs.ts";
import { ImageError } from "./error.ts";
import type { Image } from "./images.ts";
import { readLayer } from "./layer.ts";

/** All that a rootfs depends on, and what to call it in messages. */
export type Layered = Pick<Image, "reference" | "diffIds">;

export function incomplete(image: Layered, diffId: Digest): ImageError {
  const layer = `layer ${hexOf(diffId).slice(0, 12)}`;
  return new ImageError("image-incomplete", `image ${image.reference}: ${layer} is missing or damaged`, {
    hint: "pull the image again",
  });
}

/** Merges the layers that have not been merged yet. */
async function mergeRest(
  store: Store,
  image: Layered,
  merger: Merger,
  signal?: AbortSignal,
): Promise<Merger> {
  for (const diffId of image.diffIds.slice(merger.layers.length)) {
    signal?.throwIfAborted();
    const index = await readLayer(store, diffId);
    if (!index) throw incomplete(image, diffId);
    merger.add({ diffId, index });
  }
  return merger;
}

/** All layers of an image that is here, merged. @throws ImageError `image-incomplete` */
export async function mergeImage(store: Store, image: Layered, signal?: AbortSignal): Promise<Merger> {
  return await mergeRest(store, image, new Merger(), signal);
}

/**
 * Merges an image's layers while others are still fetched: a layer is merged when it and all below it are here.
 * What goes wrong here is left for `ensureRootfs` to find again, and to tell.
 */
export class EarlyMerge {
  readonly #store: Store;
  readonly #image: Layered;
  readonly #here = new Set<Digest>();
  #merger = new Merger();
  #work: Promise<void> = Promise.resolve();

  constructor(store: Store, image: Layered) {
    this.#store = store;
    this.#image = image;
  }

  arrived(diffId: Digest): void {
    this.#here.add(diffId);
    this.#work = this.#work.then(() => this.#advance()).catch(() => this.#giveUp());
  }

  /** What has been merged so far, for one use. */
  async result(): Promise<Merger> {
    await this.#work;
    return this.#merger;
  }

  async #advance(): Promise<void> {
    const { reference, diffIds } = this.#image;
    const missing = diffIds.findIndex((diffId) => !this.#here.has(diffId));
    const ready = missing < 0 ? diffIds : diffIds.slice(0, missing);
    await mergeRest(this.#store, { reference, diffIds: ready }, this.#merger);
  }

  #giveUp(): void {
    this.#here.clear();
    this.#merger = new Merger();
  }
}

export interface MakeOptions {
  readonly signal?: AbortSignal | undefined;
  /** Layers of this image that have been merged already. */
  readonly early?: EarlyMerge | undefined;
}

export async function makeRootfs(
  store: Store,
  image: Layered,
  { early, signal }: MakeOptions,
): Promise<RootfsSummary> {
  const key = rootfsKey(image.diffIds);
  const final = rootfsPaths(store.layout, key);
  const merger = await mergeRest(store, image, (await early?.result()) ?? new Merger(), signal);
  const { layers } = merger;
  return await publishRootfs(store, key, async (path) => {
    const metadata = await buildMetadata(merger, { path, signal });
    const blobs = layers.map(({ diffId, index }) => ({
      diffId,
      path: layerPaths(store.layout, diffId).blobPath,
      blobBlocks: index.blobBlocks,
    }));
    const disk = rootfsDisk({ path: final.metadataPath, metadataBlocks: metadata.metadataBlocks }, blobs);
    return {
      vmdk: vmdkDescriptor(disk, { baseDir: store.layout.rootfsDir }),
      blobs: blobs
        .filter(({ blobBlocks }) => blobBlocks > 0)
        .map(({ diffId, blobBlocks }) => ({ diffId, sizeBytes: blobBlocks * BLOCK_SIZE })),
    };
  });
}
