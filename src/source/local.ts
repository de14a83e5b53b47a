/** Images out of files: verified bytes, bounded documents, and the choice of one image among several. */
import { algorithmOf, digestFrom, digestOf, hashFor } from "../reference/digest.ts";
import type { Digest } from "../reference/digest.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { printable, quote } from "../util/printable.ts";
import { SourceError } from "./error.ts";
import type { ImageFile, ImageFiles } from "./files.ts";
import type { BlobOptions, ImageSource } from "./source.ts";

/** One image of a place that may hold several. */
export interface LocalImage extends ImageSource {
  /** What the place calls it, as it is written there: references, tags. */
  readonly names: readonly string[];
  /** Those of the names that are references, and not only a tag. */
  readonly references: readonly string[];
}

/** A place with images, opened. */
export interface LocalImages extends AsyncDisposable {
  readonly name: string;
  readonly images: readonly LocalImage[];
}

const PROGRESS_INTERVAL_MS = 100;

export function invalidArchive(name: string, problem: string, hint?: string, cause?: unknown): SourceError {
  return new SourceError("invalid-archive", `${printable(name)}: ${problem}`, { hint, cause });
}

/** @throws SourceError `invalid-archive` when it is not there or larger than `maxBytes` */
export async function readDocument(
  files: ImageFiles,
  name: string,
  maxBytes: number,
  signal?: AbortSignal,
): Promise<Buffer> {
  const file = await files.find(name);
  if (file === undefined) throw invalidArchive(files.name, `it has no ${quote(name)}`);
  if (file.sizeBytes > maxBytes) {
    const problem = `${quote(name)} has ${file.sizeBytes} bytes, at most ${maxBytes} are read`;
    throw invalidArchive(files.name, problem);
  }
  const chunks: Uint8Array[] = [];
  for await (const chunk of file.chunks(signal)) chunks.push(chunk);
  return Buffer.concat(chunks);
}

export function requireDigest(bytes: Uint8Array, want: Digest, what: string, where: string): void {
  const got = digestOf(bytes, algorithmOf(want));
  if (got === want) return;
  throw new SourceError(
    "digest-mismatch",
    `${what} of ${printable(where)} has the wrong digest: got ${got}, want ${want}`,
    { hint: "it was damaged or changed; get it again" },
  );
}

/**
 * The bytes of a blob, size and digest verified before the last chunk is handed out.
 * @throws SourceError `blob-not-found`, `size-mismatch`, `digest-mismatch`
 */
export async function* verifiedBlob(
  where: string,
  file: ImageFile | undefined,
  descriptor: Descriptor,
  options: BlobOptions = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  const { digest, size } = descriptor;
  if (file === undefined) {
    throw new SourceError("blob-not-found", `${printable(where)} has no blob ${digest}`, {
      hint: "it is incomplete: make it again",
    });
  }
  if (file.sizeBytes !== size) throw sizeMismatch(where, descriptor, file.sizeBytes);
  const hash = hashFor(digest);
  const report = reporter(descriptor, options);
  let received = 0;
  let held: Uint8Array | undefined;
  for await (const chunk of file.chunks(options.signal)) {
    received += chunk.length;
    if (received > size) break;
    hash.update(chunk);
    if (held) yield held;
    held = chunk;
    report(received);
  }
  if (received !== size) throw sizeMismatch(where, descriptor, received);
  const got = digestFrom(hash, algorithmOf(digest));
  if (got !== digest) {
    const message = `blob of ${printable(where)} has the wrong digest: got ${got}, want ${digest}`;
    throw new SourceError("digest-mismatch", message, { hint: "it was damaged or changed; get it again" });
  }
  if (held) yield held;
}

function sizeMismatch(where: string, { digest, size }: Descriptor, got: number): SourceError {
  const message = `blob ${digest} of ${printable(where)} has the wrong size: got ${got}, want ${size} bytes`;
  return new SourceError("size-mismatch", message, { hint: "it was damaged or cut short; get it again" });
}

/** Tells of progress, not more often than a person can see. */
export function reporter(
  { digest, size }: Pick<Descriptor, "digest" | "size">,
  options: BlobOptions,
): (current: number) => void {
  const { onProgress, progressId: id = `blob:${digest}` } = options;
  const label = options.progressLabel ?? digest.slice(0, 19);
  let nextAtMs = 0;
  return (current) => {
    const nowMs = performance.now();
    if (!onProgress || (nowMs < nextAtMs && current < size)) return;
    nextAtMs = nowMs + PROGRESS_INTERVAL_MS;
    onProgress({ id, label, state: "running", current, total: size, unit: "bytes" });
  };
}

/** At most this many names are shown in a message. */
const MAX_SHOWN = 8;

/**
 * The image that `wanted` names: one of its names, the tag of one, or `@N`, counted from 0. Without it, the
 * only one.
 * @throws SourceError `image-not-found`
 */
export function pick({ name, images }: LocalImages, wanted: string | undefined): LocalImage {
  const [only] = images;
  const names = images.flatMap((image) => image.names).slice(0, MAX_SHOWN);
  const shown = names.length === 0 ? "" : `: ${names.map((one) => printable(one, 80)).join(", ")}`;
  if (wanted === undefined) {
    if (images.length === 1 && only) return only;
    const has = images.length === 0 ? "holds no image" : `holds ${images.length} images${shown}`;
    const hint = images.length === 0 ? undefined : "choose one: …:NAME or …:@0";
    throw new SourceError("image-not-found", `${printable(name)} ${has}`, { hint });
  }
  const number = /^@(\d{1,6})$/.exec(wanted)?.[1];
  const found =
    number === undefined
      ? (images.find((image) => image.names.includes(wanted)) ??
        images.find((image) => image.names.some((one) => isCalled(one, wanted))))
      : images[Number(number)];
  if (found) return found;
  const message = `${printable(name)} has no image ${quote(wanted)}`;
  const hint = images.length === 0 ? "it holds no image" : `it has ${images.length}${shown}`;
  throw new SourceError("image-not-found", message, { hint });
}

/** `app:1` is called `docker.io/library/app:1`, `app:1` and `1`; `app` is called `app:latest`. */
function isCalled(name: string, wanted: string): boolean {
  const familiar = name.replace(/^docker\.io\/(?:library\/)?/, "");
  return familiar === wanted || familiar === `${wanted}:latest` || familiar.endsWith(`:${wanted}`);
}
