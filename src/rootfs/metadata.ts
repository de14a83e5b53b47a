/**
 * The metadata image of a root file system: the merged tree of an image's layers, written as EROFS, with
 * extents that point behind its own end, where the layers' blobs will lie (see attach.ts).
 */
import { createHash } from "node:crypto";
import { open, rm } from "node:fs/promises";
import { buildErofs } from "../formats/erofs/writer.ts";
import type { ErofsImage } from "../formats/erofs/writer.ts";
import { BLOCK_SIZE } from "./layer-index.ts";
import { Merger } from "./merge.ts";
import type { Layer } from "./tree.ts";
import { validate } from "./validate.ts";

export { Merger } from "./merge.ts";
export type { Layer } from "./tree.ts";

export interface Metadata {
  /** Size of the metadata file in blocks of 4 KiB. */
  readonly metadataBlocks: number;
  /** With all blobs behind it. */
  readonly totalBlocks: number;
  readonly inodeCount: number;
}

/**
 * Anything that changes the bytes of the same layers goes in here: a rootfs is found again by its layers and
 * this, and the UUID that the guest sees depends on both.
 */
export const METADATA_VERSION = 1;

/**
 * The same layers give the same UUID; `what` tells apart what is made of them.
 * Version 8 of https://www.rfc-editor.org/rfc/rfc9562#section-5.8
 */
export function uuidOf(layers: readonly Layer[], what = `rootfs ${METADATA_VERSION}`): Uint8Array {
  const hash = createHash("sha256").update(`flamebox-${what}\n`);
  for (const { diffId } of layers) hash.update(`${diffId}\n`);
  const uuid = hash.digest().subarray(0, 16);
  uuid[6] = 0x80 | ((uuid[6] ?? 0) & 0x0f);
  uuid[8] = 0x80 | ((uuid[8] ?? 0) & 0x3f);
  return uuid;
}

/** All layers of an image, lowest first, merged. @throws RootfsError `invalid-layer`, `rootfs-too-large` */
export function mergeLayers(layers: readonly Layer[]): Merger {
  const merger = new Merger();
  for (const layer of layers) merger.add(layer);
  return merger;
}

/**
 * Lays out the root file system of the merged layers.
 * @throws RootfsError `invalid-tree`, `rootfs-too-large`; ErofsError `erofs-too-large`
 */
export function planMetadata(merger: Merger): ErofsImage {
  const tree = validate(merger.tree());
  return buildErofs(tree, { uuid: uuidOf(merger.layers), volumeName: Buffer.from("flamebox") });
}

/**
 * Writes the metadata to `path`, which must not exist. Whoever calls it publishes the file, with a checksum:
 * it is not synced. Nothing is left behind when it fails.
 * @throws as planMetadata, and system errors
 */
export async function buildMetadata(
  merger: Merger,
  options: { readonly path: string; readonly signal?: AbortSignal | undefined },
): Promise<Metadata> {
  const { path, signal } = options;
  signal?.throwIfAborted();
  const image = planMetadata(merger);
  const file = await open(path, "wx", 0o600);
  try {
    try {
      for (const chunk of image.chunks()) {
        signal?.throwIfAborted();
        await file.writeFile(chunk);
      }
    } finally {
      await file.close();
    }
  } catch (error) {
    await rm(path, { force: true });
    throw error;
  }
  const { primaryBlocks, totalBlocks, inodeCount } = image;
  return { metadataBlocks: primaryBlocks, totalBlocks, inodeCount };
}

export function metadataBytes({ metadataBlocks }: Pick<Metadata, "metadataBlocks">): number {
  return metadataBlocks * BLOCK_SIZE;
}
