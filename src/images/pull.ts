/**
 * Pull: from a source into the store.
 *
 *     resolve ─► manifest, config ─► layers, at most 4 at once ─► rootfs ─► record
 *                     └─ lease ────────┴── each: lock, openBlob ─► convertLayer ─► commit
 *
 * The record is written when everything that it names is there, so an image is complete or absent. What was
 * fetched before a failure stays until the next collection: a second try begins where the first one ended.
 */
import { MAX_CONFIG_BYTES, parseConfig } from "../oci/config.ts";
import type { ImageConfig } from "../oci/config.ts";
import { layersOf } from "../oci/layer.ts";
import type { Layer } from "../oci/layer.ts";
import type { Digest } from "../reference/digest.ts";
import { requirePlatform } from "../oci/choose.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { parseManifest } from "../oci/manifest.ts";
import type { Manifest } from "../oci/manifest.ts";
import { normalize } from "../oci/platform.ts";
import type { Platform } from "../oci/platform.ts";
import { createConverterPool } from "../rootfs/converter-pool.ts";
import type { Reference } from "../reference/reference.ts";
import type { ImageSource, ResolvedImage } from "../source/source.ts";
import { readBlob, writeBlob } from "../store/blobs.ts";
import { StoreError } from "../store/error.ts";
import { layerPaths, stored } from "../store/layout.ts";
import type { Store } from "../store/layout.ts";
import { takeLease } from "../store/lease.ts";
import { namesOf, readRecord, readRecords, writeRecord } from "../store/records.ts";
import { requireRoom } from "../store/room.ts";
import { fileSizeBytes } from "../store/rootfs.ts";
import { limit } from "../util/limit.ts";
import { silent } from "../util/progress.ts";
import type { OnProgress } from "../util/progress.ts";
import { ImageBudget, LOOK_BYTES } from "./budget.ts";
import type { ImageLimits } from "./budget.ts";
import type { Image } from "./images.ts";
import { canonical, unnamed } from "./names.ts";
import { fetchLayer } from "./layer.ts";
import type { ConvertLayer } from "./layer.ts";
import { EarlyMerge } from "./make-rootfs.ts";
import { ensureRootfs } from "./rootfs.ts";

/** As many as the converter takes at once: then its threads never wait for a download to begin. */
const DEFAULT_CONCURRENCY = 4;
/** Of a compressed layer that is here before others have begun in earnest. */
const SMALL_LAYER_BYTES = 8 * 2 ** 20;

export interface PullOptions {
  readonly platform: Platform;
  readonly signal?: AbortSignal | undefined;
  /** `layer:DIGEST` for each layer, in bytes of the compressed blob, and `rootfs`. */
  readonly onProgress?: OnProgress | undefined;
  /** Layers at once, default 4. */
  readonly concurrency?: number | undefined;
  /** `REGISTRY/REPOSITORY` that is asked, where it is a registry: what leaves again may be found there. */
  readonly origin?: string | undefined;
  /** An image without an index is taken whatever it is for. */
  readonly anyPlatform?: boolean | undefined;
  /** What the image as a whole may take. */
  readonly limits?: ImageLimits | undefined;
  /** Converts a layer; default: in a thread beside this one, which is gone when all layers are here. */
  readonly convert?: ConvertLayer | undefined;
}

async function collectBlob(
  resolved: ResolvedImage,
  descriptor: Descriptor,
  signal?: AbortSignal,
): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  for await (const chunk of resolved.openBlob(descriptor, { signal })) {
    sizeBytes += chunk.length;
    // The manifest's parser has bounded the size that it says; a source has to keep to it.
    if (sizeBytes > Math.min(descriptor.size, MAX_CONFIG_BYTES)) {
      throw new StoreError(
        "blob-mismatch",
        `config ${descriptor.digest} is larger than ${descriptor.size} bytes`,
      );
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** A manifest or config. */
interface Document {
  readonly digest: Digest;
  readonly bytes: Uint8Array;
}

async function fetchConfig(
  store: Store,
  resolved: ResolvedImage,
  { config }: Manifest,
  signal?: AbortSignal,
): Promise<Document> {
  const there = await readBlob(store, config.digest);
  return { digest: config.digest, bytes: there ?? (await collectBlob(resolved, config, signal)) };
}

async function keep(store: Store, { digest, bytes }: Document): Promise<void> {
  if (!(await readBlob(store, digest))) await writeBlob(store, digest, bytes);
}

/** An index has already been searched for the platform; a lone manifest says it only in its config. */
function platformOf(
  resolved: ResolvedImage,
  config: ImageConfig,
  { platform: wanted, anyPlatform = false }: PullOptions,
  name: string,
): Platform {
  const { platform } = resolved.descriptor;
  if (platform) return normalize(platform);
  if (!anyPlatform) requirePlatform(config, wanted, name);
  return normalize(config);
}

/** A date of sense, spelled our way; an image may say anything. */
function instantOf(text: string | undefined): string | undefined {
  const ms = text === undefined ? Number.NaN : Date.parse(text);
  return Number.isNaN(ms) ? undefined : new Date(ms).toISOString();
}

/** One that the image has already, or none. */
async function nameOf(store: Store, manifestDigest: Digest): Promise<string> {
  const { images } = await readRecords(store);
  const same = images.find((image) => image.manifestDigest === manifestDigest);
  return same?.reference ?? unnamed(manifestDigest);
}

/** Runs the jobs; the first failure aborts the others, and is thrown when all have ended. */
async function allOrNone(
  jobs: readonly ((signal: AbortSignal) => Promise<void>)[],
  signal: AbortSignal | undefined,
  concurrency: number,
): Promise<void> {
  const failing = new AbortController();
  const either = signal ? AbortSignal.any([signal, failing.signal]) : failing.signal;
  const inTurn = limit(concurrency);
  const run = async (job: (signal: AbortSignal) => Promise<void>) => {
    either.throwIfAborted();
    try {
      await job(either);
    } catch (error) {
      // Those that end because of the first one reject with its error, which abort() keeps.
      failing.abort(error);
      throw error;
    }
  };
  await Promise.allSettled(jobs.map((job) => inTurn(() => run(job))));
  signal?.throwIfAborted();
  if (failing.signal.aborted) throw failing.signal.reason;
}

/**
 * In the order of fetching. A layer that is in the image twice is fetched once. Small ones come first: what is merged
 * waits for those below it. Then the largest begin, or the pull would end with one of them alone.
 */
function inOrderOfFetching(layers: readonly Layer[]): Layer[] {
  const distinct = [...new Map(layers.map((layer) => [layer.diffId, layer])).values()];
  const isSmall = ({ descriptor }: Layer): boolean => descriptor.size < SMALL_LAYER_BYTES;
  const large = distinct.filter((layer) => !isSmall(layer));
  return [...distinct.filter(isSmall), ...large.toSorted((a, b) => b.descriptor.size - a.descriptor.size)];
}

/** What is to be fetched is the least that it takes unpacked. @throws StoreError `disk-full` */
async function requireRoomFor(store: Store, layers: readonly Layer[]): Promise<void> {
  let wantedBytes = 0;
  for (const { diffId, descriptor } of layers) {
    const isHere = await fileSizeBytes(layerPaths(store.layout, diffId).indexPath);
    if (isHere === undefined) wantedBytes += descriptor.size;
  }
  // Of what is small the write itself tells soon enough.
  if (wantedBytes >= LOOK_BYTES) requireRoom(store, wantedBytes);
}

/** Makes all layers be here, and meanwhile the documents too. */
async function fetchAll(
  store: Store,
  resolved: ResolvedImage,
  layers: readonly Layer[],
  documents: readonly Document[],
  options: PullOptions & { readonly convert: ConvertLayer; readonly early: EarlyMerge },
): Promise<void> {
  const { signal, onProgress = silent, concurrency = DEFAULT_CONCURRENCY, convert, early } = options;
  const budget = new ImageBudget(store, options.limits);
  await requireRoomFor(store, layers);
  const jobs = inOrderOfFetching(layers).map((layer) => async (either: AbortSignal) => {
    await fetchLayer(store, resolved, layer, { signal: either, onProgress, convert, budget });
    early.arrived(layer.diffId);
  });
  const keeping = documents.map((document) => () => keep(store, document));
  await allOrNone([...jobs, ...keeping], signal, concurrency);
}

/**
 * Makes `reference` stand for the image that `source` has for the platform; without one the image gets no name.
 * Layers that are here already are not asked for.
 * @throws what the source throws; OciError; `layer-…`, `tar-…`, `diff-id-mismatch` for bad layers; RootfsError
 *   for layers that make no tree; ImageError `image-too-large`; StoreError `disk-full`; the signal's reason. In each case what the reference
 *   stood for before is as it was.
 */
export async function pullImage(
  store: Store,
  reference: Reference | undefined,
  source: ImageSource,
  options: PullOptions,
): Promise<Image> {
  const { platform, signal, onProgress = silent } = options;
  const name = reference && canonical(reference);
  await using pool = createConverterPool();
  // Threads start while the registry is asked, where it is clear that there will be something to do for them.
  if (options.convert === undefined && (name === undefined || !(await readRecord(store, name)))) pool.warm();
  const resolved = await source.resolve({ platform, signal });
  const manifest = parseManifest(resolved.manifestBytes);
  const manifestDigest = resolved.descriptor.digest;

  await using lease = await takeLease(store, [manifestDigest, manifest.config.digest].map(stored.blob), {
    signal,
  });
  const configDocument = await fetchConfig(store, resolved, manifest, signal);
  const config = parseConfig(configDocument.bytes);
  const documents = [{ digest: manifestDigest, bytes: resolved.manifestBytes }, configDocument];
  const layers = layersOf(manifest, config);
  const contents = { manifestDigest, configDigest: manifest.config.digest, diffIds: config.rootfs.diff_ids };
  const record = {
    reference: name ?? (await nameOf(store, manifestDigest)),
    digest: resolved.referenceDigest,
    ...contents,
    platform: platformOf(resolved, config, options, source.name),
    createdAt: instantOf(config.created),
    ...(options.origin === undefined ? {} : { origins: [options.origin] }),
  };
  await lease.add(namesOf(contents));

  const early = new EarlyMerge(store, record);
  const convert = options.convert ?? pool.convertLayer;
  await fetchAll(store, resolved, layers, documents, { ...options, convert, early });
  // Their memory becomes free while the next step takes its own; the end of this function waits for them.
  void pool[Symbol.asyncDispose]();
  // Before the record: layers that make no tree are no image.
  await ensureRootfs(store, record, { signal, onProgress, early });
  return await writeRecord(store, { ...record, pulledAt: new Date().toISOString() });
}
