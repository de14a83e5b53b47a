/**
 * All that a reference leads to, for a copy that lacks nothing:
 *
 *     index ─► manifests: images, attestations   ─► their blobs, by `openBlob`
 *        └───► indexes ─► …
 *
 * Digests cannot lead in a circle, and what is led to several times is fetched once; so the bounds are on the number
 * of documents and on their bytes, which are in memory together.
 */
import type { Descriptor } from "../../oci/descriptor.ts";
import type { Pointers } from "../../oci/manifest.ts";
import type { Digest } from "../../reference/digest.ts";
import { SourceError } from "../error.ts";
import type { OutgoingDocument, OutgoingImage } from "../sink.ts";
import type { ResolvedImage } from "../source.ts";

const MAX_DOCUMENTS = 10_000;
const MAX_DOCUMENT_BYTES = 64 * 1024 * 1024;

export interface FetchedPointers {
  readonly bytes: Uint8Array;
  readonly digest: Digest;
  readonly document: Pointers;
}

/** @throws SourceError `image-too-large`, and what `fetch` throws */
export async function fetchEverything(
  name: string,
  top: FetchedPointers,
  fetch: (entry: Descriptor) => Promise<FetchedPointers>,
  openBlob: ResolvedImage["openBlob"],
): Promise<Omit<OutgoingImage, "references">> {
  const { bytes, digest, document } = top;
  const descriptor = { mediaType: document.mediaType, digest, size: bytes.length };
  const imageOf = (of: Descriptor, manifestBytes: Uint8Array): ResolvedImage => ({
    descriptor: of,
    manifestBytes,
    referenceDigest: digest,
    openBlob,
  });
  if (document.kind === "manifest") return { images: [imageOf(descriptor, bytes)] };
  const images: ResolvedImage[] = [];
  const nested: OutgoingDocument[] = [];
  // With the type, so that whoever gives a document two of them is told.
  const keyOf = (one: Descriptor): string => `${one.mediaType} ${one.digest}`;
  const seen = new Set<string>([keyOf(descriptor)]);
  const waiting = [...document.targets];
  let totalBytes = bytes.length;
  for (let entry = waiting.shift(); entry !== undefined; entry = waiting.shift()) {
    if (seen.has(keyOf(entry))) continue;
    seen.add(keyOf(entry));
    totalBytes += entry.size;
    if (seen.size > MAX_DOCUMENTS || totalBytes > MAX_DOCUMENT_BYTES) throw tooLarge(name);
    const found = await fetch(entry);
    if (found.document.kind === "manifest") images.push(imageOf(entry, found.bytes));
    else {
      nested.push({ descriptor: entry, bytes: found.bytes });
      if (waiting.length + found.document.targets.length > MAX_DOCUMENTS) throw tooLarge(name);
      waiting.push(...found.document.targets);
    }
  }
  return { index: { descriptor, bytes }, nested, images };
}

function tooLarge(name: string): SourceError {
  const message = `${name} leads to more than ${MAX_DOCUMENTS} manifests, or to more than ${MAX_DOCUMENT_BYTES >> 20} MiB of them`;
  return new SourceError("image-too-large", message, { hint: "copy one platform's image by its digest" });
}
