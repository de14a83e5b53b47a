/** Everything that is known of an image that is here: for `inspect` and `history`. */
import { parseConfig } from "../oci/config.ts";
import type { ImageConfig } from "../oci/config.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import type { Platform } from "../oci/platform.ts";
import type { Digest } from "../reference/digest.ts";
import { familiar, familiarName, parse } from "../reference/reference.ts";
import { fileSizeBytes } from "../store/rootfs.ts";
import { layerPaths } from "../store/layout.ts";
import type { Store } from "../store/layout.ts";
import { readRecords } from "../store/records.ts";
import { infoOf, requireImage } from "./images.ts";
import type { Image } from "./images.ts";
import { readKept } from "./leave.ts";
import { isUnnamed } from "./names.ts";

export type { Descriptor, Digest, Platform };

export interface LayerDetails {
  readonly diffId: string;
  /** Of the blob that the manifest names. */
  readonly digest: string;
  readonly mediaType: string;
  readonly compressedBytes: number;
  /** On disk here, shared with other images. */
  readonly storedBytes: number;
}

export interface HistoryLine {
  readonly createdAt?: string;
  readonly createdBy: string;
  readonly comment: string;
  /** The layer that it made; undefined when it changed the config only. */
  readonly layer?: LayerDetails;
}

export interface ImageDetails {
  readonly id: string;
  /** As people write them: `alpine:3`. */
  readonly tags: readonly string[];
  /** `alpine@sha256:…`: what the registries call it. */
  readonly digests: readonly string[];
  readonly manifest: Descriptor;
  readonly platform: Image["platform"];
  readonly createdAt?: string;
  readonly pulledAt: string;
  readonly author: string;
  readonly config: NonNullable<ImageConfig["config"]>;
  readonly layers: readonly LayerDetails[];
  /** Latest first. */
  readonly history: readonly HistoryLine[];
  readonly sizeBytes: number;
}

/** What the layer takes here: data, entries, headers. */
export async function storedBytesOf(store: Store, diffId: Image["diffIds"][number]): Promise<number> {
  const paths = Object.values(layerPaths(store.layout, diffId));
  const sizes = await Promise.all(paths.map(async (path) => (await fileSizeBytes(path)) ?? 0));
  return sizes.reduce((sum, size) => sum + size, 0);
}

/** The history and the layers beside each other; an image without a history has its layers alone. */
function historyOf({ history = [], created }: ImageConfig, layers: readonly LayerDetails[]): HistoryLine[] {
  const rest = [...layers];
  const lines: HistoryLine[] = history.map((entry) => {
    const layer = entry.empty_layer === true ? undefined : rest.shift();
    return {
      ...(entry.created === undefined ? {} : { createdAt: entry.created }),
      createdBy: entry.created_by ?? "",
      comment: entry.comment ?? "",
      ...(layer === undefined ? {} : { layer }),
    };
  });
  // More layers than the history tells of.
  const untold = rest.map((layer) => ({
    ...(created === undefined ? {} : { createdAt: created }),
    createdBy: "",
    comment: "",
    layer,
  }));
  return [...lines, ...untold].toReversed();
}

/** @throws ImageError `image-not-found`, `ambiguous-image-id`, `image-incomplete` */
export async function describeImage(store: Store, text: string): Promise<ImageDetails> {
  const image = await requireImage(store, text);
  const { manifest, manifestBytes, configBytes, layers: known } = await readKept(store, image);
  const config = parseConfig(configBytes);
  const { images } = await readRecords(store);
  const same = images.filter(({ configDigest }) => configDigest === image.configDigest);
  const references = same.map((one) => ({ one, reference: parse(one.reference) }));
  const named = references.filter(({ reference }) => !isUnnamed(reference));
  const layers = await Promise.all(
    known.map(async ({ descriptor, diffId }) => ({
      diffId,
      digest: descriptor.digest,
      mediaType: descriptor.mediaType,
      compressedBytes: descriptor.size,
      storedBytes: await storedBytesOf(store, diffId),
    })),
  );
  return {
    id: image.configDigest,
    tags: named
      .filter(({ reference }) => reference.digest === undefined)
      .map(({ reference }) => familiar(reference)),
    digests: [...new Set(named.map(({ one, reference }) => `${familiarName(reference)}@${one.digest}`))],
    manifest: { mediaType: manifest.mediaType, digest: image.manifestDigest, size: manifestBytes.length },
    platform: image.platform,
    ...(image.createdAt === undefined ? {} : { createdAt: image.createdAt }),
    pulledAt: image.pulledAt,
    author: config.author ?? "",
    config: config.config ?? {},
    layers,
    history: historyOf(config, layers),
    sizeBytes: (await infoOf(store, image)).sizeBytes,
  };
}
