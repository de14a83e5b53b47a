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
  const image = await requireImage(store, text);
  // Between reading one record and writing the other, somebody may remove the image.
  await using cleanup = new CleanupStack();
  cleanup.use(await takeLease(store, namesOf(image), options));
  const { version: _, ...fields } = await requireImage(store, text);
  const tagged = await writeRecord(store, { ...fields, reference: canonical(target) });
  if (isUnnamed(parse(image.reference))) await removeRecord(store, image.reference);
  return tagged;
}
