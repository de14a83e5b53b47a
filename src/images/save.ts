/** Images that are here, to an archive or a layout. What is written follows from them alone: no network is asked. */
import { archiveSink } from "../source/archive/sink.ts";
import { writeLayoutDirectory } from "../source/layout/directory-sink.ts";
import { writeLayout } from "../source/layout/write.ts";
import type { OutgoingImage } from "../source/sink.ts";
import { parse } from "../reference/reference.ts";
import type { Store } from "../store/layout.ts";
import { takeLease } from "../store/lease.ts";
import { namesOf } from "../store/records.ts";
import { CleanupStack } from "../util/cleanup.ts";
import { FlameBoxError } from "../util/error.ts";
import type { OnProgress } from "../util/progress.ts";
import { requireImage } from "./images.ts";
import type { Image } from "./images.ts";
import { leavingImage } from "./leave.ts";
import { canonical } from "./names.ts";

export type SaveFormat = "docker-archive" | "oci-archive" | "oci-dir";

export interface SaveTarget {
  readonly format: SaveFormat;
  /** Archives: resolves when the bytes are taken. */
  readonly write?: ((bytes: Uint8Array) => Promise<void>) | undefined;
  /** `oci-dir`. */
  readonly dir?: string | undefined;
}

export interface SaveOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
}

/** @throws SourceError of the sink, errors of `write` */
export async function writeImages(
  images: readonly OutgoingImage[],
  { format, write, dir }: SaveTarget,
  options: SaveOptions = {},
): Promise<void> {
  if (format === "oci-dir") return await writeLayoutDirectory(dir ?? ".", images, options);
  const sink = archiveSink(write ?? (async () => {}));
  await writeLayout(sink, images, { ...options, docker: format === "docker-archive" });
  await sink.finish();
}

/** Whether `text` is the image's name, and not an id. */
function isName(image: Image, text: string): boolean {
  try {
    return canonical(parse(text)) === image.reference;
  } catch (error) {
    if (error instanceof FlameBoxError) return false;
    throw error;
  }
}

/**
 * Writes what `texts` name, each image once with all the names that were given for it.
 * @throws ImageError `image-not-found`, `image-incomplete`; LayerHeadersError; as writeImages
 */
export async function saveImages(
  store: Store,
  texts: readonly string[],
  target: SaveTarget,
  options: SaveOptions = {},
): Promise<void> {
  const chosen = new Map<string, { readonly image: Image; readonly references: string[] }>();
  for (const text of texts) {
    const image = await requireImage(store, text);
    const one = chosen.get(image.manifestDigest) ?? { image, references: [] };
    if (isName(image, text) && !one.references.includes(image.reference))
      one.references.push(image.reference);
    chosen.set(image.manifestDigest, one);
  }
  const all = [...chosen.values()];
  await using cleanup = new CleanupStack();
  cleanup.use(
    await takeLease(
      store,
      all.flatMap(({ image }) => namesOf(image)),
      options,
    ),
  );
  const images: OutgoingImage[] = [];
  for (const { image, references } of all)
    images.push({ references, images: [await leavingImage(store, image)] });
  await writeImages(images, target, options);
}
