/** Everything in an archive or a layout, with the names that it has there. */
import { parse } from "../reference/reference.ts";
import type { Reference } from "../reference/reference.ts";
import type { LocalImage, LocalImages } from "../source/local.ts";
import type { Store } from "../store/layout.ts";
import { FlameBoxError } from "../util/error.ts";
import { quote } from "../util/printable.ts";
import type { Image } from "./images.ts";
import { pullImage } from "./pull.ts";
import type { PullOptions } from "./pull.ts";
import { tagImage } from "./tag.ts";

export interface LoadOptions extends PullOptions {
  readonly onNotice?: ((notice: string) => void) | undefined;
}

/** Another tool may have written what is no reference to us. */
function referencesOf(image: LocalImage, onNotice: LoadOptions["onNotice"]): Reference[] {
  return image.references.flatMap((text) => {
    try {
      const { digest: _, ...reference } = parse(text);
      return reference.tag === undefined ? [] : [reference];
    } catch (error) {
      if (!(error instanceof FlameBoxError)) throw error;
      onNotice?.(`${image.name}: the name ${quote(text)} is left out: ${error.message}`);
      return [];
    }
  });
}

/** One image; it has the first of its names when this returns, and the others as well. */
export async function loadImage(store: Store, source: LocalImage, options: LoadOptions): Promise<Image[]> {
  const [first, ...others] = referencesOf(source, options.onNotice);
  const image = await pullImage(store, first, source, options);
  const images = [image];
  for (const other of others) images.push(await tagImage(store, image.reference, other, options));
  return images;
}

/**
 * All of them. One that cannot be had ends it; those before it stay.
 * @throws as pullImage
 */
export async function loadImages(
  store: Store,
  { images }: LocalImages,
  options: LoadOptions,
): Promise<Image[]> {
  const loaded: Image[] = [];
  for (const image of images) loaded.push(...(await loadImage(store, image, options)));
  return loaded;
}
