/**
 * An image out of another one and a layer on top of it: what a container has changed becomes part of an image.
 *
 *     base's config ─► changes, one diff ID and one line of history more ─► config
 *     base's layers ─► one more ─► manifest
 */
import { applyChanges } from "../oci/change.ts";
import type { ExecutionConfig } from "../oci/config.ts";
import { parseManifest } from "../oci/manifest.ts";
import { compressionOf, LayerType } from "../oci/media-type.ts";
import type { Reference } from "../reference/reference.ts";
import { readBlob } from "../store/blobs.ts";
import type { Store } from "../store/layout.ts";
import type { OnProgress } from "../util/progress.ts";
import type { ImageLimits } from "./budget.ts";
import { ImageError } from "./error.ts";
import type { Image } from "./images.ts";
import { documentsOf, imageOfLayer, plainLayer } from "./import.ts";

export interface CommitOptions {
  /** Instructions such as `CMD ["/bin/sh"]`. */
  readonly changes?: readonly string[] | undefined;
  readonly message?: string | undefined;
  readonly author?: string | undefined;
  /** What the new layer may take. */
  readonly limits?: ImageLimits | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
}

interface ConfigDocument extends Record<string, unknown> {
  readonly config?: ExecutionConfig;
  readonly rootfs?: { readonly diff_ids?: readonly string[] };
  readonly history?: readonly object[];
}

async function documentOf(store: Store, base: Image, digest: Image["configDigest"]): Promise<Buffer> {
  const bytes = await readBlob(store, digest);
  if (bytes !== undefined) return Buffer.from(bytes);
  throw new ImageError(
    "image-incomplete",
    `image ${base.reference}: a document of it is missing or damaged`,
    {
      hint: "pull the image again",
    },
  );
}

/**
 * @param layer a tar archive with whiteouts
 * @throws OciError `invalid-change`; ImageError `image-incomplete`; as `importImage`
 */
export async function commitImage(
  store: Store,
  base: Image,
  layer: AsyncIterable<Uint8Array>,
  reference: Reference | undefined,
  options: CommitOptions,
): Promise<Image> {
  const { changes = [], message, author, limits, signal, onProgress } = options;
  const configBytes = await documentOf(store, base, base.configDigest);
  const config = JSON.parse(configBytes.toString("utf8")) as ConfigDocument;
  const execution = applyChanges(config.config ?? {}, changes);
  const manifest = parseManifest(await documentOf(store, base, base.manifestDigest));
  // Docker's names for kinds of layers are not for a manifest of the OCI's.
  const below = manifest.layers.map(({ mediaType, digest, size }) => ({
    mediaType: LayerType[compressionOf(mediaType)],
    digest,
    size,
  }));
  return await imageOfLayer(store, layer, reference, {
    platform: base.platform,
    below: base.diffIds,
    from: "the container",
    limits,
    signal,
    onProgress,
    documents: (converted) => {
      const created = new Date().toISOString();
      const made = {
        ...config,
        created,
        ...(author !== undefined && { author }),
        config: execution,
        rootfs: { type: "layers", diff_ids: [...base.diffIds, converted.diffId] },
        history: [
          ...(config.history ?? []),
          { created, created_by: "flamebox commit", ...(message !== undefined && { comment: message }) },
        ],
      };
      return documentsOf(made, [...below, plainLayer(converted)], created);
    },
  });
}
