/** Whole images in memory: the metadata and the blobs of some layers, end to end. */
import { openErofs } from "../../src/formats/erofs/reader.ts";
import type { Erofs } from "../../src/formats/erofs/reader.ts";
import { mergeLayers, planMetadata } from "../../src/rootfs/metadata.ts";
import type { BuiltLayer } from "./layer-index.ts";

export function imageOf(layers: readonly BuiltLayer[]): Buffer {
  // A chunk is valid until the next one only.
  const chunks = Array.from(planMetadata(mergeLayers(layers)).chunks(), (chunk) => Buffer.from(chunk));
  return Buffer.concat([...chunks, ...layers.map(({ blob }) => blob)]);
}

/** Reads from memory; a read outside of it is a mistake of the reader, and no ErofsError. */
export function openBytes(image: Uint8Array): Erofs {
  return openErofs({
    sizeBytes: image.length,
    read(offset, out) {
      if (!Number.isInteger(offset) || offset < 0 || offset + out.length > image.length) {
        throw new RangeError(`read of ${out.length} bytes at ${offset}, outside ${image.length}`);
      }
      out.set(image.subarray(offset, offset + out.length));
    },
  });
}
