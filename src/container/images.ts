/** What is done with images besides running them; each opens the store for itself. */
import { describeImage } from "../images/describe.ts";
import type { ImageDetails } from "../images/describe.ts";
import { findImage, infoOf, removeImage as remove } from "../images/images.ts";
import type { ImageInfo, RemovedImage } from "../images/images.ts";
import { tagImage as tag } from "../images/tag.ts";
import { checkImages as check, imageUsage as usage, pruneImages as prune } from "../images/usage.ts";
import type { CheckOptions, ImageUsage, PruneOptions } from "../images/usage.ts";
import { parse } from "../reference/reference.ts";
import type { StoreProblem } from "../store/check.ts";
import { FlameBoxError } from "../util/error.ts";
import { locatePaths } from "../util/paths.ts";
import { openHome } from "./home.ts";
import { readRecords } from "./lifecycle/roster.ts";
import { importFrom, load } from "./load.ts";
import type { ArchiveSource, ImportImageOptions, LoadImagesOptions } from "./load.ts";
import type { OperationOptions, PullOptions } from "./options.ts";
import { pushTo } from "./push.ts";
import type { PushReport } from "./push.ts";
import { save } from "./save.ts";
import type { SaveImagesOptions } from "./save.ts";

/** @throws FlameBoxError `invalid-archive`, `image-not-found`, `platform-not-found`, … */
export async function loadImages(from: ArchiveSource, options: LoadImagesOptions = {}): Promise<ImageInfo[]> {
  await using store = await openHome(options);
  const images = await load(store, from, options);
  return await Promise.all(images.map((image) => infoOf(store, image)));
}

/** @throws FlameBoxError `invalid-change`, `invalid-reference`, `tar-…` */
export async function importImage(
  from: ArchiveSource,
  reference: string | undefined,
  options: ImportImageOptions = {},
): Promise<ImageInfo> {
  await using store = await openHome(options);
  return await infoOf(store, await importFrom(store, from, reference, options));
}

/** @throws FlameBoxError `image-not-found`, `file-exists`, … */
export async function saveImages(references: readonly string[], options: SaveImagesOptions): Promise<void> {
  await using store = await openHome(options);
  await save(store, references, options);
}

/** @throws FlameBoxError `image-not-found`, `invalid-reference`, `invalid-tag` */
export async function tagImage(
  reference: string,
  target: string,
  options: OperationOptions = {},
): Promise<ImageInfo> {
  const parsed = parse(target);
  await using store = await openHome(options);
  return await infoOf(store, await tag(store, reference, parsed, options));
}

/** @throws FlameBoxError `image-not-found`, `unauthorized`, `denied`, `registry-unreachable`, … */
export async function push(reference: string, options: PullOptions = {}): Promise<PushReport> {
  await using store = await openHome(options);
  return await pushTo(store, reference, options);
}

/** @throws FlameBoxError `image-not-found`, `ambiguous-image-id` */
export async function inspectImage(reference: string, options: OperationOptions = {}): Promise<ImageDetails> {
  await using store = await openHome(options);
  return await describeImage(store, reference);
}

/** @throws FlameBoxError `invalid-filter` */
export async function pruneImages(options: OperationOptions & PruneOptions = {}): Promise<RemovedImage> {
  await using store = await openHome(options);
  const records = await readRecords(options.paths ?? locatePaths());
  const inUse = new Set([...(options.inUse ?? []), ...records.map(({ image }) => image.configDigest)]);
  return await prune(store, { ...options, inUse });
}

export interface RemoveImageOptions extends OperationOptions {
  /**
   * Also one that a container was made of; the container keeps what it needs of it. And, by its id, one that has several
   * names: all of them.
   */
  readonly force?: boolean | undefined;
}

/** @throws FlameBoxError `image-not-found`, `ambiguous-image-id`, `image-in-use`, `several-names` */
export async function removeImage(
  reference: string,
  options: RemoveImageOptions = {},
): Promise<RemovedImage> {
  await using store = await openHome(options);
  const image = options.force === true ? undefined : await findImage(store, reference);
  if (image !== undefined) {
    const records = await readRecords(options.paths ?? locatePaths());
    const users = records.filter((record) => record.image.configDigest === image.configDigest);
    if (users.length > 0)
      throw new FlameBoxError(
        "image-in-use",
        `the image ${reference} is that of ${users.length === 1 ? "the container" : "the containers"} ${users
          .map(({ name }) => name)
          .slice(0, 6)
          .join(", ")}`,
        { hint: "remove it first: flamebox rm; or use -f, which removes the image's name only" },
      );
  }
  return await remove(store, reference, options);
}

export async function imageUsage(options: OperationOptions = {}): Promise<ImageUsage> {
  await using store = await openHome(options);
  return await usage(store);
}

export async function checkImages(options: OperationOptions & CheckOptions = {}): Promise<StoreProblem[]> {
  await using store = await openHome(options);
  return await check(store, options);
}
