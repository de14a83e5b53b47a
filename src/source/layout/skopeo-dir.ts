/**
 * skopeo's `dir:`: one image in a flat directory. https://github.com/containers/image/blob/main/directory/directory_transport.go
 *
 *     version          "Directory Transport Version: 1.1"
 *     manifest.json    manifest or index
 *     HEX.manifest.json, HEX     manifests behind the index; configs and layers
 */
import { choose } from "../../oci/choose.ts";
import type { Descriptor } from "../../oci/descriptor.ts";
import { MAX_MANIFEST_BYTES, parseDocument } from "../../oci/manifest.ts";
import { digestOf, hexOf } from "../../reference/digest.ts";
import type { ImageFiles } from "../files.ts";
import { invalidArchive, readDocument, requireDigest, verifiedBlob } from "../local.ts";
import type { LocalImages } from "../local.ts";
import type { BlobOptions, ResolvedImage, ResolveOptions } from "../source.ts";

const MAX_VERSION_BYTES = 1024;
const VERSION = /^Directory Transport Version: 1\.[0-9]+\s*$/;

/**
 * Whether a directory is meant to be one: a manifest is at its top, or a version that says so. Of what is damaged
 * openSkopeoDir tells; a root file system that has such a file is taken by `flamebox import`.
 */
export async function isSkopeoDir(files: ImageFiles): Promise<boolean> {
  const look = async (name: string) => await files.find(name).catch(() => undefined);
  if (await look("manifest.json")) return true;
  const version = await look("version");
  if (version === undefined || version.sizeBytes > MAX_VERSION_BYTES) return false;
  return VERSION.test((await readDocument(files, "version", MAX_VERSION_BYTES)).toString("latin1"));
}

/** @throws SourceError `invalid-archive` */
export async function openSkopeoDir(files: ImageFiles, signal?: AbortSignal): Promise<LocalImages> {
  const version = (await readDocument(files, "version", MAX_VERSION_BYTES, signal)).toString("latin1");
  if (!VERSION.test(version)) throw invalidArchive(files.name, "its version file is none of skopeo's");
  const { name } = files;
  return {
    name,
    images: [{ name, names: [], references: [], resolve: async (options) => await resolve(files, options) }],
    [Symbol.asyncDispose]: () => files[Symbol.asyncDispose](),
  };
}

async function resolve(files: ImageFiles, { platform, signal }: ResolveOptions): Promise<ResolvedImage> {
  const { name } = files;
  const topBytes = await readDocument(files, "manifest.json", MAX_MANIFEST_BYTES, signal);
  const top = parseDocument(topBytes);
  const topDigest = digestOf(topBytes);
  const openBlob = (descriptor: Descriptor, options?: BlobOptions) => blobOf(files, descriptor, options);
  if (top.kind === "manifest") {
    const descriptor = { mediaType: top.mediaType, digest: topDigest, size: topBytes.length };
    return { descriptor, manifestBytes: topBytes, referenceDigest: topDigest, openBlob };
  }
  const descriptor = choose(top, platform, name);
  const file = `${hexOf(descriptor.digest)}.manifest.json`;
  const manifestBytes = await readDocument(files, file, MAX_MANIFEST_BYTES, signal);
  requireDigest(manifestBytes, descriptor.digest, `manifest ${descriptor.digest}`, name);
  if (parseDocument(manifestBytes, descriptor.mediaType).kind !== "manifest")
    throw invalidArchive(name, "it has an index of indexes");
  return { descriptor, manifestBytes, referenceDigest: topDigest, openBlob };
}

async function* blobOf(files: ImageFiles, descriptor: Descriptor, options?: BlobOptions) {
  yield* verifiedBlob(files.name, await files.find(hexOf(descriptor.digest)), descriptor, options);
}
