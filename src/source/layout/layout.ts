/**
 * OCI image layouts, in a directory or in an archive.
 * https://github.com/opencontainers/image-spec/blob/v1.1.0/image-layout.md
 *
 *     index.json ─► entries, by name ─► [index ─► choose(platform)] ─► manifest ─► blobs/ALGORITHM/HEX
 *
 * Entries of the same name, or several without one that are all for different platforms, are one image.
 */
import { choose } from "../../oci/choose.ts";
import type { Descriptor } from "../../oci/descriptor.ts";
import { MAX_MANIFEST_BYTES, parseDocument, parseIndex } from "../../oci/manifest.ts";
import type { Index } from "../../oci/manifest.ts";
import { MediaType, documentKindOf } from "../../oci/media-type.ts";
import { formatPlatform, normalize } from "../../oci/platform.ts";
import { algorithmOf, hexOf } from "../../reference/digest.ts";
import type { Digest } from "../../reference/digest.ts";
import { printable } from "../../util/printable.ts";
import { SourceError } from "../error.ts";
import type { ImageFiles } from "../files.ts";
import { invalidArchive, readDocument, requireDigest, verifiedBlob } from "../local.ts";
import type { LocalImage, LocalImages } from "../local.ts";
import type { ResolvedImage, ResolveOptions } from "../source.ts";

/** The short name within a layout, by the specification; some tools write a full reference there. */
export const REF_NAME = "org.opencontainers.image.ref.name";
/** The full reference, where containerd and Docker wrote the layout. */
export const IMAGE_NAME = "io.containerd.image.name";

export function blobName(digest: Digest): string {
  return `blobs/${algorithmOf(digest)}/${hexOf(digest)}`;
}

function nameOf({ annotations = {} }: Descriptor): string | undefined {
  for (const key of [IMAGE_NAME, REF_NAME]) {
    const name = Object.hasOwn(annotations, key) ? annotations[key] : undefined;
    if (name !== undefined && name !== "") return name;
  }
  return undefined;
}

function namesOf({ annotations = {} }: Descriptor): string[] {
  const names = [IMAGE_NAME, REF_NAME].flatMap((key) => annotations[key] || []);
  return [...new Set(names)];
}

/** `org.opencontainers.image.ref.name` is a tag by most tools, and a reference by some. */
function referencesOf({ annotations = {} }: Descriptor): string[] {
  const short = annotations[REF_NAME] ?? "";
  return [...new Set([annotations[IMAGE_NAME] ?? "", /[/:]/.test(short) ? short : ""])].filter(Boolean);
}

/** Whether these can be told apart by their platforms alone. */
function areVariants(entries: readonly Descriptor[]): boolean {
  const platforms = entries.map(({ platform }) => platform && formatPlatform(normalize(platform)));
  return !platforms.includes(undefined) && new Set(platforms).size === platforms.length;
}

function grouped(entries: readonly Descriptor[]): Descriptor[][] {
  const named = new Map<string, Descriptor[]>();
  const unnamed: Descriptor[] = [];
  for (const entry of entries) {
    const name = nameOf(entry);
    if (name === undefined) unnamed.push(entry);
    else named.set(name, [...(named.get(name) ?? []), entry]);
  }
  const rest = areVariants(unnamed) ? [unnamed] : unnamed.map((entry) => [entry]);
  return [...named.values(), ...rest.filter(({ length }) => length > 0)];
}

/**
 * The images of a layout; `files` is theirs to dispose of.
 * @throws SourceError `invalid-archive`; OciError `invalid-manifest`
 */
export async function openLayout(files: ImageFiles, signal?: AbortSignal): Promise<LocalImages> {
  const bytes = await readDocument(files, "index.json", MAX_MANIFEST_BYTES, signal);
  const { manifests } = parseIndex(bytes, MediaType.ociIndex);
  const entries = manifests.filter(({ mediaType }) => {
    const kind = documentKindOf(mediaType);
    return kind === "manifest" || kind === "index";
  });
  return {
    name: files.name,
    images: grouped(entries).map((group) => imageOf(files, group)),
    [Symbol.asyncDispose]: () => files[Symbol.asyncDispose](),
  };
}

function imageOf(files: ImageFiles, group: readonly Descriptor[]): LocalImage {
  const names = [...new Set(group.flatMap(namesOf))];
  // Of a stranger's making, and part of messages from here on.
  const name = printable(names[0] === undefined ? files.name : `${files.name}:${names[0]}`);
  const references = [...new Set(group.flatMap(referencesOf))];
  return { name, names, references, resolve: async (options) => await resolve(files, name, group, options) };
}

interface Found {
  readonly descriptor: Descriptor;
  readonly bytes: Uint8Array;
  readonly index: Index | undefined;
}

async function readEntry(
  files: ImageFiles,
  name: string,
  descriptor: Descriptor,
  signal?: AbortSignal,
): Promise<Found> {
  const what = `manifest ${descriptor.digest}`;
  const bytes = await readDocument(files, blobName(descriptor.digest), MAX_MANIFEST_BYTES, signal);
  requireDigest(bytes, descriptor.digest, what, name);
  if (bytes.length !== descriptor.size) {
    const message = `${what} of ${name} has the wrong size: got ${bytes.length}, want ${descriptor.size} bytes`;
    throw new SourceError("size-mismatch", message);
  }
  const document = parseDocument(bytes, descriptor.mediaType);
  return { descriptor, bytes, index: document.kind === "index" ? document : undefined };
}

async function resolve(
  files: ImageFiles,
  name: string,
  group: readonly Descriptor[],
  { platform, signal }: ResolveOptions,
): Promise<ResolvedImage> {
  const [first] = group;
  const entry =
    group.length === 1 && first
      ? first
      : choose({ kind: "index", mediaType: MediaType.ociIndex, manifests: group }, platform, name);
  const top = await readEntry(files, name, entry, signal);
  const image = top.index ? await readEntry(files, name, choose(top.index, platform, name), signal) : top;
  if (image.index) throw invalidArchive(name, "it has an index of indexes");
  return {
    // Of a lone entry the platform is only a remark; the config says what it is.
    descriptor: top.index ? image.descriptor : { ...image.descriptor, platform: undefined },
    manifestBytes: image.bytes,
    referenceDigest: entry.digest,
    openBlob: (descriptor, options) => openBlob(files, name, descriptor, options),
  };
}

async function* openBlob(
  files: ImageFiles,
  name: string,
  descriptor: Descriptor,
  options: Parameters<ResolvedImage["openBlob"]>[1],
): AsyncGenerator<Uint8Array, void, undefined> {
  yield* verifiedBlob(name, await files.find(blobName(descriptor.digest)), descriptor, options);
}
