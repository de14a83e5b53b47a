/** Another name for an image that is here. */
import { parse } from "../reference/reference.ts";
import type { Reference } from "../reference/reference.ts";
import type { Store } from "../store/layout.ts";
import { takeLease } from "../store/lease.ts";
import { namesOf, removeRecord, writeRecord } from "../store/records.ts";
import { CleanupStack } from "../util/cleanup.ts";
import { ImageError } from "./error.ts";
import { requireImage } from "./images.ts";
import type { Image } from "./images.ts";
import { canonical, isUnnamed } from "./names.ts";

/**
 * Makes `target` stand for the image; what it stood for before is forgotten. An image without a name has this one
 * then.
 * @throws ImageError `image-not-found`, `ambiguous-image-id`, `invalid-tag`
 */
export async function tagImage(
  store: Store,
  text: string,
  target: Reference,
  options: { readonly signal?: AbortSignal | undefined } = {},
): Promise<Image> {
  if (target.digest !== undefined) {
    throw new ImageError("invalid-tag", "a name with a digest cannot be given: the image itself decides it", {
      hint: "leave out @sha256:…",
    });
  }
  await using cleanup = new CleanupStack();
  const image = await leasedImage(store, text, cleanup, options);
  const { version: _, ...fields } = image;
  const tagged = await writeRecord(store, { ...fields, reference: canonical(target) });
  if (isUnnamed(parse(image.reference))) await removeRecord(store, image.reference);
  return tagged;
}

/**
 * What `text` names, and a lease on it. Between reading the record and having the lease, somebody may remove the image
 * or make the name stand for another one, so that the record is read again until it is the one of the lease.
 */
async function leasedImage(
  store: Store,
  text: string,
  cleanup: CleanupStack,
  options: { readonly signal?: AbortSignal | undefined },
): Promise<Image> {
  for (let image = await requireImage(store, text); ; ) {
    cleanup.use(await takeLease(store, namesOf(image), options));
    const found = await requireImage(store, text);
    if (namesOf(found).join() === namesOf(image).join()) return found;
    options.signal?.throwIfAborted();
    image = found;
  }
}
