/** An image's layers, as its manifest and its config together describe them. */
import type { Digest } from "../reference/digest.ts";
import type { ImageConfig } from "./config.ts";
import type { Descriptor } from "./descriptor.ts";
import { OciError } from "./error.ts";
import type { Manifest } from "./manifest.ts";
import { compressionOf } from "./media-type.ts";
import type { Compression } from "./media-type.ts";

export interface Layer {
  /** Of the blob as the source delivers it. */
  readonly descriptor: Descriptor;
  /** Of the tar archive inside it. */
  readonly diffId: Digest;
  readonly compression: Compression;
}

/**
 * The image's layers, lowest first.
 * @throws OciError `invalid-config` when manifest and config disagree on how many there are
 */
export function layersOf(manifest: Manifest, config: ImageConfig): Layer[] {
  const diffIds = config.rootfs.diff_ids;
  if (diffIds.length !== manifest.layers.length) {
    const message = `image config names ${diffIds.length} layers, the manifest has ${manifest.layers.length}`;
    throw new OciError("invalid-config", message);
  }
  return diffIds.map((diffId, i) => {
    const descriptor = manifest.layers[i] as Descriptor;
    return { descriptor, diffId, compression: compressionOf(descriptor.mediaType) };
  });
}
