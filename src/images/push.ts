/**
 * An image to a registry. For each layer, the first of these that works:
 *
 *     there already? ─► mounted from another repository there? ─► the blob as it was, from where it came from
 *                                                                     │ cannot be had
 *                                                                     └─► the archive made again, gzip
 *
 * The manifest goes as it came when every layer did; else a new one does, with the same config, so that the image's
 * id stays. docs/decisions/0021-the-archive-can-be-made-again.md
 */
import { createGzip } from "node:zlib";
import { pipeline } from "node:stream/promises";
import { PassThrough, Readable } from "node:stream";
import type { Descriptor } from "../oci/descriptor.ts";
import type { Layer } from "../oci/layer.ts";
import { LayerType, MediaType } from "../oci/media-type.ts";
import { digestOf, hexOf } from "../reference/digest.ts";
import type { Digest } from "../reference/digest.ts";
import { layerTarBytes } from "../rootfs/layer-tar.ts";
import type { RegistryTarget } from "../source/registry/push.ts";
import type { ResolvedImage } from "../source/source.ts";
import { layerPaths } from "../store/layout.ts";
import type { Store } from "../store/layout.ts";
import { takeLease } from "../store/lease.ts";
import { namesOf } from "../store/records.ts";
import { CleanupStack } from "../util/cleanup.ts";
import { messageOf } from "../util/error.ts";
import { limit } from "../util/limit.ts";
import { silent } from "../util/progress.ts";
import type { OnProgress } from "../util/progress.ts";
import type { Image } from "./images.ts";
import { openLayerTar, readKept } from "./leave.ts";
import type { KeptImage } from "./leave.ts";

const DEFAULT_CONCURRENCY = 3;
const DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip";

export interface PushOptions {
  readonly signal?: AbortSignal | undefined;
  /** `layer:DIGEST` for each layer. */
  readonly onProgress?: OnProgress | undefined;
  readonly onNotice?: ((notice: string) => void) | undefined;
  /** Repositories of the destination's registry that have the image's blobs, as far as is known. */
  readonly mountFrom?: readonly string[] | undefined;
  /** Blobs of the image from where it came from; tried in turn. */
  readonly origins?: readonly Origin[] | undefined;
  readonly concurrency?: number | undefined;
}

export interface Origin {
  readonly name: string;
  readonly openBlob: ResolvedImage["openBlob"];
}

export interface PushedImage {
  /** What was put under the tag. */
  readonly digest: Digest;
  readonly sizeBytes: number;
  /** Layers that could not be sent as they came. */
  readonly rebuiltLayers: number;
}

type Tell = (
  state: "running" | "done" | "cached" | "failed",
  more?: { readonly current?: number; readonly total?: number; readonly note?: string },
) => void;

function teller({ descriptor }: Layer, onProgress: OnProgress): Tell {
  const id = `layer:${descriptor.digest}`;
  const label = `layer ${hexOf(descriptor.digest).slice(0, 12)}`;
  return (state, more = {}) =>
    onProgress({ id, label, state, total: descriptor.size, unit: "bytes", ...more });
}

/** Mounted or there. */
async function isAtDestination(
  target: RegistryTarget,
  digest: Digest,
  { mountFrom = [], signal }: PushOptions,
): Promise<{ readonly note: string } | undefined> {
  if (await target.has(digest, signal)) return { note: "already there" };
  for (const from of mountFrom)
    if (await target.mount(digest, from, signal)) return { note: `mounted from ${from}` };
  return undefined;
}

/** @returns whether an origin had it */
async function sendAsItWas(
  target: RegistryTarget,
  layer: Layer,
  options: PushOptions,
  tell: Tell,
): Promise<boolean> {
  const { origins = [], signal, onNotice } = options;
  const { descriptor } = layer;
  for (const origin of origins) {
    let failure: unknown;
    const open = async function* () {
      try {
        yield* origin.openBlob(descriptor, { signal });
      } catch (error) {
        failure = error;
        throw error;
      }
    };
    try {
      const onSent = (current: number) => tell("running", { current, note: `from ${origin.name}` });
      await target.upload({ digest: descriptor.digest, open }, { signal, onSent });
      return true;
    } catch (error) {
      signal?.throwIfAborted();
      // The destination's own failures end the push; the origin's only this way.
      if (failure === undefined) throw error;
      onNotice?.(
        `layer ${hexOf(descriptor.digest).slice(0, 12)} is not to be had again: ${messageOf(failure)}`,
      );
    }
  }
  return false;
}

/** The same bytes for the same archive, as long as zlib stays what it is. */
function gzipped(tar: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
  const out = new PassThrough({ highWaterMark: 1024 * 1024 });
  // Errors of either side come out of `out`.
  pipeline(
    Readable.from(tar, { objectMode: false }),
    createGzip({ level: 6, chunkSize: 256 * 1024 }),
    out,
  ).catch((error: unknown) => out.destroy(error as Error));
  return out;
}

async function sendMadeAgain(
  store: Store,
  target: RegistryTarget,
  layer: Layer,
  kept: KeptImage,
  { signal }: PushOptions,
  tell: Tell,
): Promise<Descriptor> {
  const { diffId } = layer;
  const tarBytes = await layerTarBytes(layerPaths(store.layout, diffId));
  let read = 0;
  const tar = async function* () {
    read = 0;
    for await (const chunk of openLayerTar(store, diffId, tarBytes, { signal })) {
      read += chunk.length;
      tell("running", { current: read, total: tarBytes, note: "compressed anew" });
      yield chunk;
    }
  };
  const { digest, size } = await target.upload({ open: () => gzipped(tar()) }, { signal });
  const isDocker = kept.manifest.mediaType === MediaType.dockerManifest;
  return { mediaType: isDocker ? DOCKER_LAYER_GZIP : LayerType.gzip, digest, size };
}

async function sendLayer(
  store: Store,
  target: RegistryTarget,
  layer: Layer,
  kept: KeptImage,
  options: PushOptions,
): Promise<Descriptor> {
  const tell = teller(layer, options.onProgress ?? silent);
  tell("running", { current: 0 });
  try {
    const there = await isAtDestination(target, layer.descriptor.digest, options);
    if (there) {
      tell("cached", there);
      return layer.descriptor;
    }
    const wasSent = await sendAsItWas(target, layer, options, tell);
    const sent = wasSent ? layer.descriptor : await sendMadeAgain(store, target, layer, kept, options, tell);
    tell("done", { current: sent.size, total: sent.size });
    return sent;
  } catch (error) {
    tell("failed");
    throw error;
  }
}

/** A layer that the image has twice is sent once. */
async function sendLayers(
  store: Store,
  target: RegistryTarget,
  kept: KeptImage,
  options: PushOptions,
): Promise<Descriptor[]> {
  const inTurn = limit(options.concurrency ?? DEFAULT_CONCURRENCY);
  const failing = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, failing.signal]) : failing.signal;
  const sent = new Map<Digest, Promise<Descriptor>>();
  for (const layer of kept.layers) {
    const { digest } = layer.descriptor;
    if (sent.has(digest)) continue;
    const job = inTurn(async () => {
      signal.throwIfAborted();
      return await sendLayer(store, target, layer, kept, { ...options, signal });
    });
    job.catch((error: unknown) => failing.abort(error));
    sent.set(digest, job);
  }
  // All have ended before the first failure is told: none writes to the registry any more then.
  await Promise.allSettled(sent.values());
  options.signal?.throwIfAborted();
  return await Promise.all(
    kept.layers.map(({ descriptor }) => sent.get(descriptor.digest) as Promise<Descriptor>),
  );
}

/** The manifest with other layers; everything else in it stays. */
function withLayers({ manifestBytes }: KeptImage, layers: readonly Descriptor[]): Uint8Array {
  const document = JSON.parse(Buffer.from(manifestBytes).toString("utf8")) as Record<string, unknown>;
  return Buffer.from(JSON.stringify({ ...document, layers }));
}

/**
 * Sends the image, and makes `pointer` stand for it there.
 * @throws SourceError; LayerHeadersError when a layer can neither be had nor made again; the signal's reason
 */
export async function pushImage(
  store: Store,
  image: Image,
  target: RegistryTarget,
  pointer: string,
  options: PushOptions = {},
): Promise<PushedImage> {
  const { signal } = options;
  await using cleanup = new CleanupStack();
  cleanup.use(await takeLease(store, namesOf(image), { signal }));
  const kept = await readKept(store, image);
  const layers = await sendLayers(store, target, kept, options);
  const { digest } = kept.manifest.config;
  if (!(await isAtDestination(target, digest, options))) {
    const open = async function* () {
      yield kept.configBytes;
    };
    await target.upload({ digest, open }, { signal });
  }
  const rebuiltLayers = layers.filter(
    (layer, i) => layer.digest !== kept.layers[i]?.descriptor.digest,
  ).length;
  const bytes = rebuiltLayers === 0 ? kept.manifestBytes : withLayers(kept, layers);
  const { mediaType } = kept.manifest;
  const descriptor = { mediaType, digest: digestOf(bytes), size: bytes.length };
  await target.putManifest(pointer, { bytes, descriptor }, signal);
  const sizeBytes = layers.reduce((sum, { size }) => sum + size, kept.configBytes.length + bytes.length);
  return { digest: descriptor.digest, sizeBytes, rebuiltLayers };
}
