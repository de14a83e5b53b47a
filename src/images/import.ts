/**
 * An image out of one file system archive: `rootfs.tar` becomes the only layer of a new image.
 *
 *     tar, plain or compressed ─► one layer, diff ID as it comes ─► config, manifest ─► record
 */
import { randomBytes } from "node:crypto";
import { rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { applyChanges } from "../oci/change.ts";
import { LayerType, MediaType } from "../oci/media-type.ts";
import type { Platform } from "../oci/platform.ts";
import { digestOf } from "../reference/digest.ts";
import type { Digest } from "../reference/digest.ts";
import type { Reference } from "../reference/reference.ts";
import { createConverterPool } from "../rootfs/converter-pool.ts";
import type { ConvertedLayer, ConvertTarget } from "../rootfs/convert.ts";
import { sniff } from "../source/archive/sniff.ts";
import { writeBlob } from "../store/blobs.ts";
import { ingest } from "../store/ingest.ts";
import { layerPaths } from "../store/layout.ts";
import type { Store } from "../store/layout.ts";
import { takeLease } from "../store/lease.ts";
import { namesOf, writeRecord } from "../store/records.ts";
import { stampFile } from "../store/stamp.ts";
import { CleanupStack } from "../util/cleanup.ts";
import { systemCode } from "../util/error.ts";
import type { OnProgress } from "../util/progress.ts";
import { ImageBudget } from "./budget.ts";
import type { ImageLimits } from "./budget.ts";
import type { Image } from "./images.ts";
import { layerLimits } from "./layer.ts";
import { canonical, unnamed } from "./names.ts";
import { ensureRootfs } from "./rootfs.ts";

export interface ImportOptions {
  readonly platform: Platform;
  /** Instructions such as `CMD ["/bin/sh"]`. */
  readonly changes?: readonly string[] | undefined;
  /** For the image's history. */
  readonly message?: string | undefined;
  /** What the archive is called there: a path, `-`. */
  readonly from?: string | undefined;
  /** What the image may take. */
  readonly limits?: ImageLimits | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
}

/** Tells how much of the archive has been read. */
async function* counted(stream: AsyncIterable<Uint8Array>, onProgress: OnProgress | undefined) {
  let current = 0;
  for await (const chunk of stream) {
    current += chunk.length;
    onProgress?.({ id: "import", label: "archive", state: "running", current, unit: "bytes" });
    yield chunk;
  }
}

export interface Documents {
  readonly configBytes: Buffer;
  readonly configDigest: Digest;
  readonly manifestBytes: Buffer;
  readonly manifestDigest: Digest;
  readonly createdAt: string;
}

/** A config and a manifest, and what they are called. */
export function documentsOf(config: object, layers: readonly object[], createdAt: string): Documents {
  const configBytes = Buffer.from(JSON.stringify(config));
  const configDigest = digestOf(configBytes);
  const manifestBytes = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: MediaType.ociManifest,
      config: { mediaType: MediaType.ociConfig, digest: configDigest, size: configBytes.length },
      layers,
    }),
  );
  return { configBytes, configDigest, manifestBytes, manifestDigest: digestOf(manifestBytes), createdAt };
}

/** A layer as it is unpacked. */
export function plainLayer({ diffId, tarBytes }: ConvertedLayer): object {
  return { mediaType: LayerType.none, digest: diffId, size: tarBytes };
}

function documentsFor(layer: ConvertedLayer, options: ImportOptions): Documents {
  const { platform, changes = [], message, from = "-" } = options;
  const created = new Date().toISOString();
  const config = {
    created,
    architecture: platform.architecture,
    os: platform.os,
    variant: platform.variant,
    config: applyChanges({}, changes),
    rootfs: { type: "layers", diff_ids: [layer.diffId] },
    history: [{ created, comment: message ?? `Imported from ${from}` }],
  };
  return documentsOf(config, [plainLayer(layer)], created);
}

async function moveIfThere(from: string, to: string): Promise<void> {
  try {
    await rename(from, to);
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw error;
  }
}

/** Its name is not known before it is converted, so that it is staged from files that are there already. */
async function publishLayer(store: Store, diffId: Digest, made: ConvertTarget): Promise<void> {
  const final = layerPaths(store.layout, diffId);
  await ingest(store, async (stage) => {
    for (const part of ["blobPath", "headersPath", "indexPath"] as const)
      await moveIfThere(made[part] ?? "", stage(final[part]));
  });
  await stampFile(store, final.blobPath, final.stampPath);
}

/**
 * Makes a layer of an archive and then, of what `documentsFor` has to say of it, an image.
 * @throws `tar-…`, `layer-…` for what is no archive of a file system; ImageError `image-too-large`; StoreError `disk-full`
 */
export async function imageOfLayer(
  store: Store,
  archive: AsyncIterable<Uint8Array>,
  reference: Reference | undefined,
  options: LayerImageOptions,
): Promise<Image> {
  const { signal, onProgress, platform, below = [], documents } = options;
  const budget = new ImageBudget(store, options.limits);
  const base = join(store.workspace, `import-${randomBytes(6).toString("hex")}`);
  const made = { blobPath: `${base}.blob`, headersPath: `${base}.headers`, indexPath: `${base}.index` };
  await using pool = createConverterPool();
  try {
    const { all, compression } = await sniff(archive, options.from ?? "-");
    const bounds = { limits: layerLimits(budget), onGrowth: budget.meter() };
    const layer = await pool.convertLayer(counted(all, onProgress), compression, made, { signal, ...bounds });
    onProgress?.({ id: "import", label: "archive", state: "done" });
    const { configBytes, manifestBytes, createdAt, ...digests } = documents(layer);
    const contents = { ...digests, diffIds: [...below, layer.diffId] };
    await using cleanup = new CleanupStack();
    cleanup.use(await takeLease(store, namesOf(contents), { signal }));
    await publishLayer(store, layer.diffId, made);
    await writeBlob(store, digests.configDigest, configBytes);
    await writeBlob(store, digests.manifestDigest, manifestBytes);
    const name = reference ? canonical(reference) : unnamed(digests.manifestDigest);
    const record = { reference: name, digest: digests.manifestDigest, ...contents, platform, createdAt };
    await ensureRootfs(store, record, { signal, onProgress });
    return await writeRecord(store, { ...record, pulledAt: createdAt });
  } finally {
    for (const path of Object.values(made)) await rm(path, { force: true });
  }
}

export interface LayerImageOptions
  extends Pick<ImportOptions, "platform" | "from" | "limits" | "signal" | "onProgress"> {
  /** Of the layers below it, lowest first. */
  readonly below?: readonly Digest[] | undefined;
  readonly documents: (layer: ConvertedLayer) => Documents;
}

/**
 * @throws OciError `invalid-change` before anything is read; `tar-…`, `layer-…` for what is no archive of a file
 *   system; StoreError `disk-full`
 */
export async function importImage(
  store: Store,
  archive: AsyncIterable<Uint8Array>,
  reference: Reference | undefined,
  options: ImportOptions,
): Promise<Image> {
  applyChanges({}, options.changes ?? []);
  const documents = (layer: ConvertedLayer) => documentsFor(layer, options);
  return await imageOfLayer(store, archive, reference, { ...options, documents });
}
