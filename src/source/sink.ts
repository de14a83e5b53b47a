/**
 * Where images go: files of given names, in a directory or in an archive. Writers of layouts write through this,
 * so that they need not know which of the two it is.
 */
import type { Descriptor } from "../oci/descriptor.ts";
import type { ResolvedImage } from "./source.ts";

export interface FileSink {
  /** What is there already, and need not be written again. Names are formed from digests and constants. */
  has(name: string): Promise<boolean>;
  /** @throws SourceError `size-mismatch` when `chunks` have another size */
  put(name: string, sizeBytes: number, chunks: AsyncIterable<Uint8Array>): Promise<void>;
}

/** A document as it is, byte for byte. */
export interface OutgoingDocument {
  readonly descriptor: Descriptor;
  readonly bytes: Uint8Array;
}

/** An image for one platform, or several behind an index, with what it is called. */
export interface OutgoingImage {
  /** In full; none for an image without a name. */
  readonly references: readonly string[];
  readonly index?: OutgoingDocument | undefined;
  /** Indexes that `index` leads to. */
  readonly nested?: readonly OutgoingDocument[] | undefined;
  /** What the indexes lead to: images, and what goes with them, such as attestations. */
  readonly images: readonly ResolvedImage[];
}
