/**
 * Writes OCI image layouts, and what Docker reads of one.
 *
 *     oci-layout   blobs/ALGORITHM/HEX …   index.json   [manifest.json: for docker load, skopeo docker-archive:]
 *
 * The documents come last, so that a directory names only what is there.
 */
import type { Descriptor } from "../../oci/descriptor.ts";
import { parseManifest, parsePointers } from "../../oci/manifest.ts";
import { MediaType } from "../../oci/media-type.ts";
import { familiar, parse } from "../../reference/reference.ts";
import type { OnProgress } from "../../util/progress.ts";
import type { FileSink, OutgoingImage } from "../sink.ts";
import type { ResolvedImage } from "../source.ts";
import { IMAGE_NAME, REF_NAME, blobName } from "./layout.ts";

export interface WriteLayoutOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
  /** Writes Docker's manifest.json as well; every image has one platform then. */
  readonly docker?: boolean | undefined;
  /** Entries of an index.json that is there already, and stays. */
  readonly keep?: readonly object[] | undefined;
}

const LAYOUT = Buffer.from('{"imageLayoutVersion":"1.0.0"}');

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes;
}

async function putBytes(sink: FileSink, name: string, bytes: Uint8Array): Promise<void> {
  await sink.put(name, bytes.length, once(bytes));
}

async function putBlobs(sink: FileSink, image: ResolvedImage, options: WriteLayoutOptions): Promise<void> {
  const { targets } = parsePointers(image.manifestBytes, image.descriptor.mediaType);
  const { signal, onProgress } = options;
  for (const [i, descriptor] of targets.entries()) {
    const name = blobName(descriptor.digest);
    if (await sink.has(name)) continue;
    const id = `layer:${descriptor.digest}`;
    const label = `layer ${descriptor.digest.slice(7, 19)}`;
    // The first is the config.
    const isLayer = i > 0;
    const progress = isLayer ? { onProgress, progressId: id, progressLabel: label } : {};
    await sink.put(name, descriptor.size, image.openBlob(descriptor, { signal, ...progress }));
    if (isLayer) onProgress?.({ id, label, state: "done", total: descriptor.size, current: descriptor.size });
  }
  const name = blobName(image.descriptor.digest);
  if (!(await sink.has(name))) await putBytes(sink, name, image.manifestBytes);
}

/** Docker's way: the tag under the short name, the whole reference beside it. */
export function namesAs(reference: string): Record<string, string> {
  const { tag, digest } = parse(reference);
  return {
    [IMAGE_NAME]: reference,
    ...(digest === undefined && tag !== undefined ? { [REF_NAME]: tag } : {}),
  };
}

function entriesOf({ references, index, images }: OutgoingImage): Descriptor[] {
  const top = index?.descriptor ?? images[0]?.descriptor;
  if (top === undefined) return [];
  const entry = { mediaType: top.mediaType, digest: top.digest, size: top.size, platform: top.platform };
  if (references.length === 0) return [entry];
  return references.map((reference) => ({ ...entry, annotations: namesAs(reference) }));
}

/** https://github.com/moby/moby/blob/v24.0.0/image/spec/v1.2.md#combined-image-json--filesystem-changeset-format */
function dockerItems({ references, images }: OutgoingImage): object[] {
  return images.map(({ manifestBytes, descriptor }) => {
    const { config, layers } = parseManifest(manifestBytes, descriptor.mediaType);
    return {
      Config: blobName(config.digest),
      RepoTags: references
        .map((reference) => familiar(parse(reference)))
        .filter((name) => !name.includes("@")),
      Layers: layers.map(({ digest }) => blobName(digest)),
    };
  });
}

/** Writes the images; what is named twice is written once. */
export async function writeLayout(
  sink: FileSink,
  images: readonly OutgoingImage[],
  options: WriteLayoutOptions = {},
): Promise<void> {
  if (!(await sink.has("oci-layout"))) await putBytes(sink, "oci-layout", LAYOUT);
  for (const { index, nested = [], images: platforms } of images) {
    for (const image of platforms) await putBlobs(sink, image, options);
    for (const { descriptor, bytes } of index === undefined ? [] : [...nested, index])
      if (!(await sink.has(blobName(descriptor.digest))))
        await putBytes(sink, blobName(descriptor.digest), bytes);
  }
  const manifests = [...(options.keep ?? []), ...images.flatMap(entriesOf)];
  const document = { schemaVersion: 2, mediaType: MediaType.ociIndex, manifests };
  await putBytes(sink, "index.json", Buffer.from(JSON.stringify(document)));
  if (options.docker === true)
    await putBytes(sink, "manifest.json", Buffer.from(JSON.stringify(images.flatMap(dockerItems))));
}
