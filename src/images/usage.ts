/** What images take, what would come free, and whether all of it is sound. */
import { rm, stat } from "node:fs/promises";
import type { Digest } from "../reference/digest.ts";
import { decodeLayerIndex } from "../rootfs/layer-index-file.ts";
import { layerTar } from "../rootfs/layer-tar.ts";
import { checkStore } from "../store/check.ts";
import type { StoreProblem } from "../store/check.ts";
import { takeInventory } from "../store/inventory.ts";
import { layerPaths, rootfsKey, stored } from "../store/layout.ts";
import type { Store, StoredName } from "../store/layout.ts";
import { leasedNames } from "../store/lease.ts";
import { namesOf, readRecords, removeRecord } from "../store/records.ts";
import { systemCode } from "../util/error.ts";
import { familiar, parse } from "../reference/reference.ts";
import type { OnProgress } from "../util/progress.ts";
import { filterImages, parseFilters } from "./filter.ts";
import { prune } from "./images.ts";
import type { Image, RemovedImage } from "./images.ts";
import { isUnnamed } from "./names.ts";

export interface ImageUsage {
  /** Distinct images. */
  readonly images: number;
  /** Those that a living process uses. */
  readonly active: number;
  readonly layers: number;
  /** All of blobs, layers and root file systems. */
  readonly sizeBytes: number;
  /** What would come free if every image that is not in use were removed. */
  readonly reclaimableBytes: number;
}

async function sizeBytesOf(paths: readonly string[]): Promise<number> {
  let sum = 0;
  for (const path of paths) {
    try {
      // What is taken on disk: blobs have holes.
      sum += (await stat(path)).blocks * 512;
    } catch (error) {
      if (systemCode(error) !== "ENOENT") throw error;
    }
  }
  return sum;
}

function isActive(image: Image, leased: ReadonlySet<StoredName> | "unknown"): boolean {
  return leased === "unknown" || leased.has(stored.rootfs(rootfsKey(image.diffIds)));
}

export async function imageUsage(store: Store): Promise<ImageUsage> {
  const [{ things }, { images }, leased] = [
    await takeInventory(store),
    await readRecords(store),
    await leasedNames(store),
  ];
  const active = images.filter((image) => isActive(image, leased));
  const needed = new Set(active.flatMap(namesOf));
  let sizeBytes = 0;
  let neededBytes = 0;
  for (const { name, paths } of things) {
    const size = await sizeBytesOf(paths);
    sizeBytes += size;
    if (needed.has(name)) neededBytes += size;
  }
  const distinct = (some: readonly Image[]) => new Set(some.map(({ configDigest }) => configDigest)).size;
  return {
    images: distinct(images),
    active: distinct(active),
    layers: things.filter(({ name }) => name.startsWith("layer ")).length,
    sizeBytes,
    reclaimableBytes: sizeBytes - neededBytes,
  };
}

export interface PruneOptions {
  /** Also images that have a name and that nothing uses. */
  readonly all?: boolean | undefined;
  /** `until=24h`, `label=…`: only those. */
  readonly filters?: readonly string[] | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Images that something uses which is not running: stopped containers. */
  readonly inUse?: ReadonlySet<string> | undefined;
}

/**
 * Removes images without a name, and with `all` those that nothing uses; then whatever no image needs.
 * @throws ImageError `invalid-filter`
 */
export async function pruneImages(store: Store, options: PruneOptions = {}): Promise<RemovedImage> {
  const { all = false, filters = [], signal, inUse = new Set() } = options;
  const { images } = await readRecords(store);
  const leased = await leasedNames(store);
  const candidates = (await filterImages(store, images, parseFilters(filters))).filter(
    (image) =>
      (all || isUnnamed(parse(image.reference))) &&
      !inUse.has(image.configDigest) &&
      !isActive(image, leased),
  );
  signal?.throwIfAborted();
  for (const { reference } of candidates) await removeRecord(store, reference);
  const removed = await prune(store, { signal });
  return { ...removed, untagged: candidates.map(({ reference }) => familiar(parse(reference))) };
}

export interface CheckOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
  /** Only what can be told without reading the layers' data. */
  readonly quick?: boolean | undefined;
  /** Removes what is damaged, so that the next pull fetches it again. */
  readonly repair?: boolean | undefined;
}

/**
 * All parts of what the problem is in; a machine that has them open keeps what it has. The part that says that the
 * rest is there goes first.
 */
async function removeDamaged(store: Store, problems: readonly StoreProblem[]): Promise<void> {
  const damaged = new Set(problems.filter(({ kind }) => kind === "damaged").map(({ path }) => path));
  const { things } = await takeInventory(store);
  for (const { paths } of things)
    if (paths.some((path) => damaged.has(path))) for (const path of paths) await rm(path, { force: true });
}

/** The data of a layer, by making its archive again. */
async function layerProblem(
  store: Store,
  diffId: Digest,
  signal: AbortSignal | undefined,
): Promise<StoreProblem | undefined> {
  const paths = layerPaths(store.layout, diffId);
  try {
    for await (const _ of layerTar(paths, diffId, { signal }));
    return undefined;
  } catch (error) {
    signal?.throwIfAborted();
    const code = systemCode(error);
    // An older FlameBox, or an archive too strange: nothing to compare with.
    if (code === "layer-headers-missing") return undefined;
    if (code !== "layer-headers-corrupt") throw error;
    return { kind: "damaged", path: paths.blobPath, message: "the layer's data differs from its diff ID" };
  }
}

/** Everything that is wrong with what is here; changes nothing unless it is to repair. */
export async function checkImages(store: Store, options: CheckOptions = {}): Promise<StoreProblem[]> {
  const problems = await findProblems(store, options);
  if (options.repair === true) await removeDamaged(store, problems);
  return problems;
}

async function findProblems(store: Store, options: CheckOptions): Promise<StoreProblem[]> {
  const { signal, onProgress, quick = false } = options;
  const problems = await checkStore(store, { inspectIndex: decodeLayerIndex, signal });
  if (quick) return problems;
  const { things } = await takeInventory(store);
  const layers = things.filter(({ name, isWhole }) => isWhole && name.startsWith("layer "));
  for (const [i, { name, paths }] of layers.entries()) {
    onProgress?.({
      id: "check",
      label: "layers",
      state: "running",
      current: i,
      total: layers.length,
      unit: "steps",
    });
    // What is known to be damaged need not be read.
    if (problems.some(({ path }) => paths.includes(path))) continue;
    const problem = await layerProblem(store, name.slice("layer ".length) as Digest, signal);
    if (problem) problems.push(problem);
  }
  onProgress?.({ id: "check", label: "layers", state: "done" });
  return problems;
}
