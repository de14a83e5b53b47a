/** Images out of archives that a user gives: `load` and `import`. */
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { importImage } from "../images/import.ts";
import type { Image } from "../images/images.ts";
import { loadImages } from "../images/load.ts";
import { parse } from "../reference/reference.ts";
import { openAnyArchive } from "../source/open.ts";
import type { Store } from "../store/layout.ts";
import { FlameBoxError, systemCode } from "../util/error.ts";
import { platformOf } from "./acquire.ts";
import type { OperationOptions } from "./options.ts";

/** A path, or bytes as they come and what to call them. `importImage` takes the path of a directory as well. */
export type ArchiveSource =
  | { readonly path: string }
  | { readonly stream: AsyncIterable<Uint8Array>; readonly name: string };

export interface LoadImagesOptions extends OperationOptions {
  /** Of an image that has several; one that has one is taken whatever it is for. */
  readonly platform?: string | undefined;
}

export interface ImportImageOptions extends LoadImagesOptions {
  /** Dockerfile instructions: `CMD ["/bin/sh"]`, `ENV A=b`. */
  readonly changes?: readonly string[] | undefined;
  /** For the image's history. */
  readonly message?: string | undefined;
}

export async function load(store: Store, from: ArchiveSource, options: LoadImagesOptions): Promise<Image[]> {
  const { signal, onProgress, onNotice } = options;
  await using images = await openAnyArchive(from, { workspace: store.workspace, signal });
  if (images.images.length === 0) throw new FlameBoxError("image-not-found", `${images.name} holds no image`);
  const anyPlatform = options.platform === undefined;
  return await loadImages(store, images, {
    platform: platformOf(options),
    anyPlatform,
    limits: options.imageLimits,
    signal,
    onProgress,
    onNotice,
  });
}

async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw error;
    throw new FlameBoxError("archive-not-found", `there is no file ${path}`);
  }
}

/** A directory is packed while it is read. */
async function* readPath(path: string, options: OperationOptions): AsyncGenerator<Uint8Array> {
  const { signal, onNotice } = options;
  if (await isDirectory(path)) {
    const { packTree } = await import("../source/tree/pack.ts");
    yield* packTree(path, { signal, onNotice });
    return;
  }
  try {
    yield* createReadStream(path, { highWaterMark: 256 * 1024, signal }) as AsyncIterable<Uint8Array>;
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  }
}

export async function importFrom(
  store: Store,
  from: ArchiveSource,
  reference: string | undefined,
  options: ImportImageOptions,
): Promise<Image> {
  const { signal, onProgress, changes, message } = options;
  const stream = "path" in from ? readPath(from.path, options) : from.stream;
  return await importImage(store, stream, reference === undefined ? undefined : parse(reference), {
    platform: platformOf(options),
    changes,
    message,
    from: "path" in from ? from.path : from.name,
    limits: options.imageLimits,
    signal,
    onProgress,
  });
}
