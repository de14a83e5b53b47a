/**
 * What `docker save` writes, old and new: https://github.com/moby/moby/blob/v24.0.0/image/spec/v1.2.md
 *
 *     manifest.json   [{"Config": "HEX.json", "RepoTags": ["app:1"], "Layers": ["HEX/layer.tar", …]}, …]
 *
 * There is no manifest in it, so one is made, as `save` makes it: the same image gives the same one. Layers are named by what is in
 * the archive; plain ones have the diff ID that the config promises, which is verified when they are converted.
 */
import { createHash } from "node:crypto";
import * as v from "valibot";
import { detectCompression } from "../../formats/compression/decompress.ts";
import { MAX_CONFIG_BYTES, parseConfig } from "../../oci/config.ts";
import type { Descriptor } from "../../oci/descriptor.ts";
import { parseJson } from "../../oci/json.ts";
import { MAX_LAYERS, MAX_MANIFEST_BYTES } from "../../oci/manifest.ts";
import { LayerType, MediaType } from "../../oci/media-type.ts";
import { problemOf } from "../../oci/problem.ts";
import { digestFrom, digestOf } from "../../reference/digest.ts";
import type { Digest } from "../../reference/digest.ts";
import { printable } from "../../util/printable.ts";
import type { ImageFile, ImageFiles } from "../files.ts";
import { invalidArchive, readDocument, verifiedBlob } from "../local.ts";
import type { LocalImage, LocalImages } from "../local.ts";
import type { BlobOptions, ResolvedImage, ResolveOptions } from "../source.ts";
import { memberKey } from "./archive.ts";

const MAX_IMAGES = 1000;
const name = v.pipe(v.string(), v.minLength(1), v.maxLength(4096));

const itemSchema = v.object({
  Config: name,
  RepoTags: v.optional(v.pipe(v.array(name), v.maxLength(1000))),
  Layers: v.optional(v.pipe(v.array(name), v.maxLength(MAX_LAYERS, `more than ${MAX_LAYERS} layers`))),
});
const manifestSchema = v.pipe(v.array(itemSchema), v.maxLength(MAX_IMAGES, `more than ${MAX_IMAGES} images`));

export type DockerArchiveItem = v.InferOutput<typeof itemSchema>;

/** @throws OciError `invalid-manifest` for what is no JSON; SourceError `invalid-archive` */
export function parseDockerManifest(bytes: Uint8Array, archive: string): DockerArchiveItem[] {
  const limits = { maxBytes: MAX_MANIFEST_BYTES, what: "manifest.json", code: "invalid-manifest" };
  const parsed = v.safeParse(manifestSchema, parseJson(bytes, limits));
  if (parsed.success) return parsed.output;
  throw invalidArchive(archive, `its manifest.json is not acceptable: ${problemOf(parsed.issues)}`);
}

/** @throws SourceError `invalid-archive` */
export async function openDockerArchive(files: ImageFiles, signal?: AbortSignal): Promise<LocalImages> {
  const bytes = await readDocument(files, "manifest.json", MAX_MANIFEST_BYTES, signal);
  return {
    name: files.name,
    images: parseDockerManifest(bytes, files.name).map((item) => imageOf(files, item)),
    [Symbol.asyncDispose]: () => files[Symbol.asyncDispose](),
  };
}

function imageOf(files: ImageFiles, item: DockerArchiveItem): LocalImage {
  const names = item.RepoTags ?? [];
  // Of a stranger's making, and part of messages from here on.
  const called = printable(names[0] === undefined ? files.name : `${files.name}:${names[0]}`);
  return {
    name: called,
    names,
    references: names,
    resolve: async (options: ResolveOptions) => await resolve(files, called, item, options.signal),
  };
}

interface LayerOfArchive {
  readonly descriptor: Descriptor;
  readonly file: ImageFile;
}

function keyOf(text: string, archive: string): string {
  const key = memberKey(text);
  if (key !== undefined) return key;
  throw invalidArchive(archive, "its manifest.json names a file outside of it");
}

async function resolve(
  files: ImageFiles,
  called: string,
  item: DockerArchiveItem,
  signal?: AbortSignal,
): Promise<ResolvedImage> {
  const configBytes = await readDocument(files, keyOf(item.Config, called), MAX_CONFIG_BYTES, signal);
  const config: Descriptor = {
    mediaType: MediaType.ociConfig,
    digest: digestOf(configBytes),
    size: configBytes.length,
  };
  const diffIds = parseConfig(configBytes).rootfs.diff_ids;
  const paths = item.Layers ?? [];
  if (diffIds.length !== paths.length) {
    const problem = `its config names ${diffIds.length} layers, manifest.json ${paths.length}`;
    throw invalidArchive(called, problem);
  }
  const layers: LayerOfArchive[] = [];
  for (const [i, path] of paths.entries()) {
    const file = await files.find(keyOf(path, called));
    if (file === undefined) throw invalidArchive(called, `layer ${i + 1} of ${paths.length} is missing`);
    layers.push({ file, descriptor: await describeLayer(file, diffIds[i] as Digest, signal) });
  }
  const manifestBytes = manifestOf(
    config,
    layers.map(({ descriptor }) => descriptor),
  );
  const digest = digestOf(manifestBytes);
  const inMemory: ImageFile = {
    sizeBytes: configBytes.length,
    async *chunks() {
      yield configBytes;
    },
  };
  return {
    descriptor: { mediaType: MediaType.ociManifest, digest, size: manifestBytes.length },
    manifestBytes,
    referenceDigest: digest,
    openBlob: (wanted: Descriptor, options?: BlobOptions) => {
      const layer = layers.find(({ descriptor }) => descriptor.digest === wanted.digest);
      return verifiedBlob(called, wanted.digest === config.digest ? inMemory : layer?.file, wanted, options);
    },
  };
}

/** Compressed layers, as some builders write them, are read once more to name them. */
async function describeLayer(file: ImageFile, diffId: Digest, signal?: AbortSignal): Promise<Descriptor> {
  const size = file.sizeBytes;
  const hash = createHash("sha256");
  let head: Uint8Array | undefined;
  for await (const chunk of file.chunks(signal)) {
    head ??= chunk;
    if (detectCompression(head) === "none") return { mediaType: LayerType.none, digest: diffId, size };
    hash.update(chunk);
  }
  if (head === undefined) return { mediaType: LayerType.none, digest: diffId, size };
  return { mediaType: LayerType[detectCompression(head)], digest: digestFrom(hash), size };
}

function manifestOf(config: Descriptor, layers: readonly Descriptor[]): Uint8Array {
  const manifest = { schemaVersion: 2, mediaType: MediaType.ociManifest, config, layers };
  return Buffer.from(JSON.stringify(manifest));
}
