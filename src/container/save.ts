/** Images to a file, a directory or a pipe: those that are here, or all platforms of one in a registry. */
import { randomBytes } from "node:crypto";
import { link, open, rename, rm } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { once } from "node:events";
import type { Writable } from "node:stream";
import { saveImages, writeImages } from "../images/save.ts";
import type { SaveFormat, SaveTarget } from "../images/save.ts";
import { format, parse } from "../reference/reference.ts";
import { referenceText } from "../source/location.ts";
import { registrySource } from "../source/registry/registry.ts";
import { explainDiskError } from "../store/error.ts";
import type { Store } from "../store/layout.ts";
import { CleanupStack } from "../util/cleanup.ts";
import { FlameBoxError, systemCode } from "../util/error.ts";
import { intoStream, outputPlace } from "../util/output-place.ts";
import { connectionTo, ownEndpoint } from "./access.ts";
import type { PullOptions } from "./options.ts";

export type { SaveFormat };

export interface SaveImagesOptions extends PullOptions {
  /** Default `docker-archive`, which docker, podman, skopeo and ctr all read; it is an OCI layout as well. */
  readonly format?: SaveFormat | undefined;
  /** A file's path, a directory's (`oci-dir`), or a stream, which is not ended. */
  readonly output: string | Writable;
  /** Replaces a file that is there. A FIFO or a character device is written into, whatever this says. */
  readonly force?: boolean | undefined;
  /** Copies every platform from the registries that the references name, as it is there. */
  readonly allPlatforms?: boolean | undefined;
}

type Save = (target: SaveTarget) => Promise<void>;

async function saveAllPlatforms(
  references: readonly string[],
  target: SaveTarget,
  options: SaveImagesOptions,
): Promise<void> {
  if (target.format === "docker-archive") {
    throw new FlameBoxError("invalid-option", "a docker-archive has one platform of an image", {
      hint: "choose oci-archive or oci-dir for all platforms",
    });
  }
  const { signal, onProgress } = options;
  await using cleanup = new CleanupStack();
  const images = [];
  for (const text of references) {
    const reference = parse(referenceText(text));
    const endpoint = await ownEndpoint(reference, options);
    const source = cleanup.use(registrySource(endpoint.reference, await connectionTo(endpoint, options)));
    images.push({ references: [format(reference)], ...(await source.resolveAll({ signal })) });
  }
  await writeImages(images, target, { signal, onProgress });
}

async function writeToStream(stream: Writable, chunk: Uint8Array, signal?: AbortSignal): Promise<void> {
  signal?.throwIfAborted();
  // A reader that has gone away is told through the stream's error.
  if (stream.errored) throw stream.errored;
  if (!stream.write(chunk)) await once(stream, "drain", signal ? { signal } : {});
}

function exists(path: string): FlameBoxError {
  return new FlameBoxError("file-exists", `${path} exists already`, {
    hint: "choose another name, or force it",
  });
}

/** The file appears when it is complete. */
async function saveToFile(
  output: string,
  force: boolean,
  kind: SaveFormat,
  save: Save,
  signal: AbortSignal | undefined,
): Promise<void> {
  const place = await outputPlace(output);
  if (place.stream !== undefined) {
    return await intoStream(place, signal, async (stream) => {
      await save({ format: kind, write: (bytes) => writeToStream(stream, bytes, signal) });
    });
  }
  const { path } = place;
  if (!force && place.isThere) throw exists(path);
  const dir = dirname(path);
  const temporary = join(dir, `.${basename(path).slice(0, 200)}.${randomBytes(6).toString("hex")}.tmp`);
  try {
    await using file = await open(temporary, "wx", 0o600);
    await save({ format: kind, write: async (bytes) => await file.writeFile(bytes) });
    await file.sync();
    if (force) return await rename(temporary, path);
    await link(temporary, path);
  } catch (error) {
    if (systemCode(error) === "EEXIST") throw exists(path);
    throw explainDiskError(error, dir, "write to another directory");
  } finally {
    await rm(temporary, { force: true });
  }
}

/**
 * @throws ImageError `image-not-found`, `image-incomplete`, FlameBoxError `file-exists`, `invalid-output`; what a registry does wrong
 *   with `allPlatforms`
 */
export async function save(
  store: Store,
  references: readonly string[],
  options: SaveImagesOptions,
): Promise<void> {
  const { format: kind = "docker-archive", output, force = false, allPlatforms = false, signal } = options;
  const run: Save = async (target) => {
    if (allPlatforms) await saveAllPlatforms(references, target, options);
    else await saveImages(store, references.map(referenceText), target, options);
  };
  if (typeof output !== "string") {
    if (kind === "oci-dir") throw new FlameBoxError("invalid-option", "a directory needs a path");
    return await run({ format: kind, write: (bytes) => writeToStream(output, bytes, signal) });
  }
  if (kind === "oci-dir") return await run({ format: kind, dir: resolve(output) });
  await saveToFile(output, force, kind, run, signal);
}
