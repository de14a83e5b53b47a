/**
 * An image on its way out of the store: its manifest and config as they came, its layers as archives that are made
 * again (rootfs/layer-tar.ts), so that diff IDs and image ID are those it came with.
 * docs/decisions/0021-the-archive-can-be-made-again.md
 */
import { layersOf } from "../oci/layer.ts";
import { parseConfig } from "../oci/config.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { parseManifest } from "../oci/manifest.ts";
import type { Manifest } from "../oci/manifest.ts";
import { LayerType, MediaType, compressionOf } from "../oci/media-type.ts";
import { digestOf } from "../reference/digest.ts";
import type { Digest } from "../reference/digest.ts";
import { layerTar, layerTarBytes } from "../rootfs/layer-tar.ts";
import { reporter } from "../source/local.ts";
import type { BlobOptions, ResolvedImage } from "../source/source.ts";
import { readBlob } from "../store/blobs.ts";
import { layerPaths } from "../store/layout.ts";
import type { Store } from "../store/layout.ts";
import { ImageError } from "./error.ts";
import type { Image } from "./images.ts";

/** The documents of an image that is here, and its layers. The caller has a lease. */
export interface KeptImage {
  readonly image: Image;
  readonly manifest: Manifest;
  readonly manifestBytes: Uint8Array;
  readonly configBytes: Uint8Array;
  readonly layers: ReturnType<typeof layersOf>;
}

/** @throws ImageError `image-incomplete` */
export async function readKept(store: Store, image: Image): Promise<KeptImage> {
  const [manifestBytes, configBytes] = await Promise.all([
    readBlob(store, image.manifestDigest),
    readBlob(store, image.configDigest),
  ]);
  if (manifestBytes === undefined || configBytes === undefined) {
    const what = manifestBytes === undefined ? "manifest" : "config";
    const message = `image ${image.reference}: its ${what} is missing or damaged`;
    throw new ImageError("image-incomplete", message, { hint: "pull the image again" });
  }
  const manifest = parseManifest(manifestBytes);
  return {
    image,
    manifest,
    manifestBytes,
    configBytes,
    layers: layersOf(manifest, parseConfig(configBytes)),
  };
}

/** The archive of a layer that is here; its progress is told in bytes of the archive. */
export async function* openLayerTar(
  store: Store,
  diffId: Digest,
  sizeBytes: number,
  options: BlobOptions = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  const report = reporter({ digest: diffId, size: sizeBytes }, options);
  let done = 0;
  for await (const chunk of layerTar(layerPaths(store.layout, diffId), diffId, options)) {
    done += chunk.length;
    report(done);
    yield chunk;
  }
}

/** Same bytes for the same image on every host: annotations stay, everything else follows from the config. */
async function plainManifest(store: Store, { image, manifest, configBytes }: KeptImage): Promise<Uint8Array> {
  const layers: Descriptor[] = [];
  for (const digest of image.diffIds) {
    const size = await layerTarBytes(layerPaths(store.layout, digest));
    layers.push({ mediaType: LayerType.none, digest, size });
  }
  const config = { mediaType: MediaType.ociConfig, digest: image.configDigest, size: configBytes.length };
  const { annotations } = manifest;
  const document = { schemaVersion: 2, mediaType: MediaType.ociManifest, config, layers, annotations };
  return Buffer.from(JSON.stringify(document));
}

/** Whether the layers of the manifest are archives as they are. */
function isPlain({ manifest, image }: KeptImage): boolean {
  return (
    manifest.mediaType === MediaType.ociManifest &&
    manifest.layers.every(
      ({ mediaType, digest }, i) => compressionOf(mediaType) === "none" && digest === image.diffIds[i],
    )
  );
}

/**
 * The image with plain layers: as it came if its layers are plain, else with a manifest of its own. Its parts are
 * read while they are asked for; the caller has a lease meanwhile.
 * @throws ImageError `image-incomplete`; LayerHeadersError
 */
export async function leavingImage(store: Store, image: Image): Promise<ResolvedImage> {
  const kept = await readKept(store, image);
  const manifestBytes = isPlain(kept) ? kept.manifestBytes : await plainManifest(store, kept);
  const digest = digestOf(manifestBytes);
  return {
    descriptor: {
      mediaType: MediaType.ociManifest,
      digest,
      size: manifestBytes.length,
      platform: image.platform,
    },
    manifestBytes,
    referenceDigest: digest,
    openBlob: (descriptor, options) =>
      descriptor.digest === image.configDigest
        ? once(kept.configBytes)
        : openLayerTar(store, descriptor.digest, descriptor.size, options),
  };
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes;
}
