/** One layer: from the source, through conversion, into the store. */
import { readFile } from "node:fs/promises";
import type { Layer } from "../oci/layer.ts";
import type { Compression } from "../oci/media-type.ts";
import { hexOf } from "../reference/digest.ts";
import type { Digest } from "../reference/digest.ts";
import { decodeLayerIndex } from "../rootfs/layer-index-file.ts";
import { DEFAULT_LIMITS } from "../rootfs/convert.ts";
import type { ConvertLimits, ConvertTarget, Growth } from "../rootfs/convert.ts";
import type { LayerIndex } from "../rootfs/layer-index.ts";
import type { ResolvedImage } from "../source/source.ts";
import { layerDamage } from "../store/check.ts";
import { ingest } from "../store/ingest.ts";
import { withLayerLock } from "../store/layer-lock.ts";
import { layerPaths } from "../store/layout.ts";
import type { Store } from "../store/layout.ts";
import { stampFile } from "../store/stamp.ts";
import { FlameBoxError, systemCode } from "../util/error.ts";
import type { OnProgress, ProgressEvent } from "../util/progress.ts";
import type { ImageBudget } from "./budget.ts";

/** What `convertLayer` of rootfs/ is, and what a pool of workers has to look like. */
export type ConvertLayer = (
  compressed: AsyncIterable<Uint8Array>,
  compression: Compression,
  target: ConvertTarget,
  options: {
    readonly signal?: AbortSignal | undefined;
    readonly expectedDiffId?: Digest | undefined;
    readonly ownsInput?: boolean | undefined;
    readonly limits?: Pick<ConvertLimits, "maxTarBytes"> | undefined;
    readonly onGrowth?: ((growth: Growth) => void) | undefined;
  },
) => Promise<unknown>;

export interface FetchOptions {
  readonly signal: AbortSignal;
  readonly onProgress: OnProgress;
  readonly convert: ConvertLayer;
  /** Of the image that the layer is of. */
  readonly budget: ImageBudget;
}

/** What the layer's bounds are beside those of its image, which count first. */
export function layerLimits({ maxBytes }: ImageBudget): Pick<ConvertLimits, "maxTarBytes"> {
  return { maxTarBytes: Math.max(DEFAULT_LIMITS.maxTarBytes, maxBytes) + 2 ** 30 };
}

/** The entries of a layer that is here and sound; undefined when it has to be fetched. */
export async function readLayer(store: Store, diffId: Digest): Promise<LayerIndex | undefined> {
  const { indexPath } = layerPaths(store.layout, diffId);
  let index: LayerIndex;
  try {
    index = decodeLayerIndex(await readFile(indexPath));
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    if (error instanceof FlameBoxError && error.code === "layer-index-corrupt") return undefined;
    throw error;
  }
  return (await layerDamage(store, diffId, index)) ? undefined : index;
}

/** Tells of one layer, whoever speaks. */
function teller({ descriptor }: Layer, onProgress: OnProgress) {
  const id = `layer:${descriptor.digest}`;
  const label = `layer ${hexOf(descriptor.digest).slice(0, 12)}`;
  const total = descriptor.size;
  const tell = (state: ProgressEvent["state"], more: { current?: number; note?: string } = {}) =>
    onProgress({ id, label, state, total, unit: "bytes", ...more });
  return { id, label, tell };
}

/**
 * Makes the layer be here. Two who want it at once, in whatever processes, download it once; should the lock
 * fail them, they download it twice and publish the same bytes.
 */
export async function fetchLayer(
  store: Store,
  resolved: ResolvedImage,
  layer: Layer,
  options: FetchOptions,
): Promise<void> {
  const { tell } = teller(layer, options.onProgress);
  const isHere = async () => {
    const kept = await readLayer(store, layer.diffId);
    if (kept === undefined) return false;
    options.budget.addKept(kept);
    tell("cached");
    return true;
  };
  if (await isHere()) return;
  const locking = {
    signal: options.signal,
    onWait: () => tell("running", { current: 0, note: "waiting for another pull of this layer" }),
  };
  await withLayerLock(store, layer.diffId, locking, async () => {
    if (await isHere()) return;
    await download(store, resolved, layer, options);
  });
}

async function download(
  store: Store,
  resolved: ResolvedImage,
  layer: Layer,
  { signal, onProgress, convert, budget }: FetchOptions,
): Promise<void> {
  const { descriptor, diffId, compression } = layer;
  const { id, label, tell } = teller(layer, onProgress);
  const compressed = resolved.openBlob(descriptor, {
    signal,
    // The end of the download is not the end of the layer.
    onProgress: (event) => event.state === "running" && onProgress(event),
    progressId: id,
    progressLabel: label,
  });
  const final = layerPaths(store.layout, diffId);
  try {
    await ingest(store, async (stage) => {
      const target = {
        blobPath: stage(final.blobPath),
        headersPath: stage(final.headersPath),
        indexPath: stage(final.indexPath),
      };
      const bounds = { limits: layerLimits(budget), onGrowth: budget.meter() };
      await convert(compressed, compression, target, {
        signal,
        expectedDiffId: diffId,
        ownsInput: true,
        ...bounds,
      });
    });
  } catch (error) {
    tell("failed");
    throw error;
  }
  await stampFile(store, final.blobPath, final.stampPath);
  tell("done", { current: descriptor.size });
}
