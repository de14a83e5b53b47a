/**
 * Images that are here: what they are called, listing, finding, removing.
 *
 *     reference ─► pull.ts: source ─► layers (layer.ts) ─► record ─► rootfs.ts ─► machine
 *                                                            │
 *                                          list, find, remove, prune: this file
 */
import { stat } from "node:fs/promises";
import { formatPlatform, mismatchOf } from "../oci/platform.ts";
import type { Platform } from "../oci/platform.ts";
import { parseConfig } from "../oci/config.ts";
import type { ImageConfig } from "../oci/config.ts";
import { isDigest } from "../reference/digest.ts";
import type { Digest } from "../reference/digest.ts";
import { familiar, familiarName, parse } from "../reference/reference.ts";
import type { Reference } from "../reference/reference.ts";
import { readBlob } from "../store/blobs.ts";
import { collect } from "../store/collect.ts";
import type { Collected } from "../store/collect.ts";
import { layerPaths, rootfsKey, rootfsPaths } from "../store/layout.ts";
import type { Store } from "../store/layout.ts";
import { removeProblemRecord, readRecord, readRecords, removeRecord } from "../store/records.ts";
import type { ImageRecord } from "../store/records.ts";
import { systemCode } from "../util/error.ts";
import { nearest } from "../util/nearest.ts";
import { ImageError } from "./error.ts";
import { canonical, isUnnamed } from "./names.ts";

/** An image that is here, as the store has it. */
export type Image = ImageRecord;

/** An image that is here, for people and programs. */
export interface ImageInfo {
  /** As people write it: `alpine:latest`, `localhost:5000/app@sha256:…`. */
  readonly reference: string;
  /** The reference without tag and digest; `<none>` when the image has no name. */
  readonly repository: string;
  readonly tag?: string;
  /** What the registry calls it: the digest of the index where there is one, else of the manifest. */
  readonly digest: string;
  /** Digest of the image config, Docker's image ID. */
  readonly id: string;
  /** `linux/amd64` */
  readonly platform: string;
  /** Expanded, on disk: its layers (which other images may share) and its metadata image. */
  readonly sizeBytes: number;
  /** When it was made, as its config says: RFC 3339. */
  readonly createdAt?: string;
  /** RFC 3339. */
  readonly pulledAt: string;
}

export interface RemovedImage {
  /** References that stood for it, as people write them. */
  readonly untagged: string[];
  /** Digests of manifests and configs, diff IDs of layers. What a running machine uses is not among them yet. */
  readonly deleted: string[];
  readonly reclaimedBytes: number;
}

export interface ListOptions {
  readonly signal?: AbortSignal | undefined;
  /** `reference=alp*`, `dangling=true`, …: filter.ts. */
  readonly filters?: readonly string[] | undefined;
  /** Told of each record that cannot be used, one line. */
  readonly onNotice?: ((notice: string) => void) | undefined;
}

/** Whether the image is for this platform; if not, the reference has to be pulled again for it. */
export function fitsPlatform(image: Image, wanted: Platform): boolean {
  return mismatchOf(wanted, image.platform) !== undefined;
}

async function sizeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if (systemCode(error) === "ENOENT") return 0;
    throw error;
  }
}

async function sizeBytesOf(store: Store, image: Image): Promise<number> {
  const blobs = [...new Set(image.diffIds)].map((diffId) => layerPaths(store.layout, diffId).blobPath);
  const { metadataPath } = rootfsPaths(store.layout, rootfsKey(image.diffIds));
  const sizes = await Promise.all([...blobs, metadataPath].map(sizeOf));
  return sizes.reduce((sum, size) => sum + size, 0);
}

export async function infoOf(store: Store, image: Image): Promise<ImageInfo> {
  const reference = parse(image.reference);
  return {
    reference: familiar(reference),
    repository: isUnnamed(reference) ? "<none>" : familiarName(reference),
    ...(reference.tag === undefined ? {} : { tag: reference.tag }),
    digest: image.digest,
    id: image.configDigest,
    platform: formatPlatform(image.platform),
    sizeBytes: await sizeBytesOf(store, image),
    ...(image.createdAt === undefined ? {} : { createdAt: image.createdAt }),
    pulledAt: image.pulledAt,
  };
}

/** By reference. */
export async function listImages(store: Store, options: ListOptions = {}): Promise<ImageInfo[]> {
  const { images, problems } = await readRecords(store);
  for (const { path, message } of problems) options.onNotice?.(`${message}: ${path}`);
  options.signal?.throwIfAborted();
  const { filters = [] } = options;
  if (filters.length > 0) {
    const { filterImages, parseFilters } = await import("./filter.ts");
    const kept = await filterImages(store, images, parseFilters(filters));
    return await Promise.all(kept.map((image) => infoOf(store, image)));
  }
  return await Promise.all(images.map((image) => infoOf(store, image)));
}

/** The config as the image's maker wrote it. @throws ImageError `image-incomplete`; OciError `invalid-config` */
export async function imageConfig(store: Pick<Store, "layout">, image: Image): Promise<ImageConfig> {
  const bytes = await readBlob(store, image.configDigest);
  if (bytes) return parseConfig(bytes);
  throw new ImageError("image-incomplete", `image ${image.reference}: its config is missing or damaged`, {
    hint: "pull the image again",
  });
}

const ID = /^(?:sha256:)?([0-9a-f]{4,64})$/;

/** Ids as Docker takes them: config digests, and manifest digests, from 4 digits on. */
function matchId(images: readonly Image[], prefix: string): Image[] {
  const matches = (digest: Digest) => digest.startsWith(`sha256:${prefix}`);
  const found = images.filter(
    (image) => matches(image.configDigest) || matches(image.manifestDigest) || matches(image.digest),
  );
  const ids = [...new Set(found.map(({ configDigest }) => configDigest))];
  if (ids.length <= 1) return found;
  const shown = found.map((image) => `${image.reference} (${image.configDigest.slice(7, 23)})`).slice(0, 6);
  const message = `${prefix} begins the id of ${ids.length} images: ${shown.join(", ")}`;
  throw new ImageError("ambiguous-image-id", message, { hint: "give more digits, or a name" });
}

/** What the reference names exactly, or, for a digest, what has this digest in the repository. */
async function matchReference(
  store: Store,
  images: readonly Image[],
  reference: Reference,
): Promise<Image[]> {
  const exact = await readRecord(store, canonical(reference));
  if (exact) return [exact];
  const { digest } = reference;
  if (digest === undefined) return [];
  return images.filter((image) => {
    if (image.digest !== digest && image.manifestDigest !== digest) return false;
    const { registry, repository } = parse(image.reference);
    return registry === reference.registry && repository === reference.repository;
  });
}

/**
 * The images that `text` names: a reference, a reference with a digest, or the beginning of an id. Several
 * only where they are one image under several names.
 */
async function findAll(store: Store, text: string): Promise<Image[]> {
  const { images } = await readRecords(store);
  const id = ID.exec(text)?.[1];
  if (id !== undefined && (id.length === 64 || text.startsWith("sha256:"))) return matchId(images, id);
  if (isDigest(text)) return [];
  const named = await matchReference(store, images, parse(text));
  return named.length > 0 || id === undefined ? named : matchId(images, id);
}

/**
 * The image that `text` names here; nothing is asked of a registry.
 * @throws ImageError `ambiguous-image-id`; FlameBoxError `invalid-reference`
 */
export async function findImage(store: Store, text: string): Promise<Image | undefined> {
  return (await findAll(store, text))[0];
}

/** @throws ImageError `image-not-found`, `ambiguous-image-id` */
export async function requireImage(store: Store, text: string): Promise<Image> {
  const image = await findImage(store, text);
  if (image) return image;
  throw await notHere(store, text);
}

async function notHere(store: Store, text: string): Promise<ImageError> {
  const { images } = await readRecords(store);
  const named = images.map(({ reference }) => parse(reference)).filter((reference) => !isUnnamed(reference));
  // A tag is left out often, and as often another one than somebody remembers.
  const bySpelling = new Map(
    named.flatMap((one) => [familiarName(one), familiar(one)].map((text) => [text, one])),
  );
  const spellings = [...bySpelling.keys()];
  const near = nearest(text, spellings) ?? nearest(text.replace(/:[^/:]*$/, ""), spellings);
  const meant = near === undefined ? undefined : bySpelling.get(near);
  return new ImageError("image-not-found", `no such image here: ${text}`, {
    hint:
      meant === undefined
        ? "flamebox images lists what is here"
        : `did you mean ${familiar(meant)}? See flamebox images`,
  });
}

function removed(untagged: readonly Image[], { names, reclaimedBytes }: Collected): RemovedImage {
  const digests = names.flatMap((name) => {
    const [kind, rest = ""] = name.split(" ");
    return kind === "rootfs" ? [] : [rest];
  });
  return {
    untagged: untagged.map(({ reference }) => familiar(parse(reference))),
    deleted: [...new Set(digests)],
    reclaimedBytes,
  };
}

const MAX_SHOWN_NAMES = 10;

/** An id may be typed for one of its names by somebody who does not think of the others. As Docker has it. */
function requireOneName(text: string, images: readonly Image[]): void {
  const named = images.map(({ reference }) => parse(reference)).filter((reference) => !isUnnamed(reference));
  const tags = named.filter(({ tag }) => tag !== undefined).length;
  if (tags <= 1 && new Set(named.map(familiarName)).size <= 1) return;
  const shown = named.slice(0, MAX_SHOWN_NAMES).map(familiar).join(", ");
  const more = named.length > MAX_SHOWN_NAMES ? ` and ${named.length - MAX_SHOWN_NAMES} more` : "";
  const message = `the image ${text} has several names: ${shown}${more}`;
  throw new ImageError("several-names", message, {
    hint: "remove the names that are to go, or use -f, which removes all of them",
  });
}

/**
 * Forgets what `text` names and deletes what nothing needs any more. A name removes that name; an id or a
 * digest removes all names of the image, and needs `force` where it has several. What a living process
 * uses stays until a collection after its end.
 * @throws ImageError `image-not-found`, `ambiguous-image-id`, `several-names`
 */
export async function removeImage(
  store: Store,
  text: string,
  options: { readonly signal?: AbortSignal | undefined; readonly force?: boolean | undefined } = {},
): Promise<RemovedImage> {
  const images = await findAll(store, text);
  if (images.length === 0) throw await notHere(store, text);
  if (options.force !== true) requireOneName(text, images);
  options.signal?.throwIfAborted();
  for (const image of images) await removeRecord(store, image.reference);
  return removed(images, await collect(store, options));
}

/** Deletes whatever no image needs, and records that cannot be used. */
export async function prune(
  store: Store,
  options: { readonly signal?: AbortSignal | undefined } = {},
): Promise<RemovedImage> {
  const { problems } = await readRecords(store);
  for (const problem of problems) await removeProblemRecord(problem);
  return removed([], await collect(store, options));
}
