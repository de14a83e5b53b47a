/** A tree as a file with an ext4 file system. */
import type { FileHandle } from "node:fs/promises";
import { buildExt4 } from "../../formats/ext4/writer.ts";
import type { Ext4Image } from "../../formats/ext4/writer.ts";
import { BLOCK_SIZE } from "../layer-index.ts";
import { writeNonZero } from "../sparse-file.ts";
import type { ValidatedTree } from "../validate.ts";
import type { Blobs } from "./blobs.ts";

export interface Ext4ExportOptions {
  readonly uuid: Uint8Array;
  readonly sizeBytes?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Is told how much of the file's data is there, and how much there will be. */
  readonly report?: ((current: number, total: number) => void) | undefined;
}

/** @throws Ext4Error when the tree cannot be in one, or not in one of this size */
export function planExt4(
  tree: ValidatedTree,
  { uuid, sizeBytes }: Pick<Ext4ExportOptions, "uuid" | "sizeBytes">,
): Ext4Image {
  return buildExt4(tree, { uuid, sizeBytes, volumeName: Buffer.from("flamebox") });
}

/** Writes a planned file system into a new, empty file. It is not synced. Returns its size. */
export async function writeExt4(
  image: Ext4Image,
  blobs: Blobs,
  out: FileHandle,
  { signal, report }: Pick<Ext4ExportOptions, "signal" | "report">,
): Promise<number> {
  await out.truncate(image.sizeBytes);
  for (const { offset, bytes } of image.pieces()) {
    signal?.throwIfAborted();
    await writeNonZero(out, bytes, offset);
  }
  let done = 0;
  for (const { source, fromBlock, toBlock, count } of image.copies()) {
    let position = toBlock * BLOCK_SIZE;
    for await (const bytes of blobs.read(source, fromBlock * BLOCK_SIZE, count * BLOCK_SIZE)) {
      signal?.throwIfAborted();
      await writeNonZero(out, bytes, position);
      position += bytes.length;
      done += bytes.length;
      report?.(done, image.usedBytes);
    }
  }
  return image.sizeBytes;
}
