/**
 * A root file system without documents, as an image of one layer: a directory, or a tar archive.
 *
 *     read once ─► diff ID ─► config and manifest, which follow from it alone ─► read again when the layer is wanted
 *
 * So what did not change is the same image with the same id, and its layer is not made again.
 */
import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { open, opendir } from "node:fs/promises";
import { decompress } from "../../formats/compression/decompress.ts";
import type { Compression } from "../../formats/compression/decompress.ts";
import type { Descriptor } from "../../oci/descriptor.ts";
import { LayerType, MediaType } from "../../oci/media-type.ts";
import type { Platform } from "../../oci/platform.ts";
import { digestFrom, digestOf } from "../../reference/digest.ts";
import type { Digest } from "../../reference/digest.ts";
import { systemCode } from "../../util/error.ts";
import { printable } from "../../util/printable.ts";
import type { OnProgress } from "../../util/progress.ts";
import { HEAD_BYTES, compressionOfHead } from "../archive/sniff.ts";
import { directoryFiles } from "../layout/directory.ts";
import { SourceError } from "../error.ts";
import { invalidArchive, verifiedBlob } from "../local.ts";
import type { LocalImages } from "../local.ts";
import type { BlobOptions, ResolvedImage, ResolveOptions } from "../source.ts";
import { TREE_LIMITS, packTree } from "./pack.ts";
import type { PackOptions } from "./pack.ts";

export interface TreeOptions extends PackOptions {
  readonly onProgress?: OnProgress | undefined;
}

/** What is read, as often as it is wanted. */
interface Archive {
  readonly name: string;
  readonly compression: Compression;
  read(options: { readonly signal?: AbortSignal | undefined }): AsyncIterable<Uint8Array>;
}

/** What one reading of it found. */
interface Measured {
  readonly diffId: Digest;
  readonly layer: Descriptor;
}

async function measure(archive: Archive, { signal, onProgress }: TreeOptions): Promise<Measured> {
  const { compression, name } = archive;
  const [outer, inner] = [createHash("sha256"), createHash("sha256")];
  const label = printable(name, 60);
  let size = 0;
  const bytes = async function* () {
    for await (const chunk of archive.read({ signal })) {
      size += chunk.length;
      outer.update(chunk);
      onProgress?.({ id: "tree", label, state: "running", current: size, unit: "bytes" });
      yield chunk;
    }
  };
  const plain = decompress(bytes(), compression, { signal, maxOutputBytes: TREE_LIMITS.maxBytes });
  for await (const chunk of plain) if (compression !== "none") inner.update(chunk);
  onProgress?.({ id: "tree", label, state: "done", current: size, unit: "bytes" });
  const digest = digestFrom(outer, "sha256");
  const diffId = compression === "none" ? digest : digestFrom(inner, "sha256");
  return { diffId, layer: { mediaType: LayerType[compression], digest, size } };
}

function documentsOf({ diffId, layer }: Measured, { architecture, os, variant }: Platform) {
  // Without a time: the same files are the same image whenever they are looked at.
  const config = { architecture, os, variant, config: {}, rootfs: { type: "layers", diff_ids: [diffId] } };
  const configBytes = Buffer.from(JSON.stringify(config));
  const configDescriptor = {
    mediaType: MediaType.ociConfig,
    digest: digestOf(configBytes),
    size: configBytes.length,
  };
  const manifest = {
    schemaVersion: 2,
    mediaType: MediaType.ociManifest,
    config: configDescriptor,
    layers: [layer],
  };
  const manifestBytes = Buffer.from(JSON.stringify(manifest));
  return { configBytes, configDigest: configDescriptor.digest, manifestBytes };
}

/** The layer again, and nothing else than what was measured. */
async function* again(
  archive: Archive,
  layer: Descriptor,
  options: BlobOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  const file = { sizeBytes: layer.size, chunks: (signal?: AbortSignal) => archive.read({ signal }) };
  try {
    yield* verifiedBlob(archive.name, file, layer, options);
  } catch (error) {
    const code = systemCode(error);
    if (code !== "size-mismatch" && code !== "digest-mismatch") throw error;
    throw new SourceError("tree-changed", `${printable(archive.name)} was changed while it was read`, {
      hint: "try again when nobody writes to it",
      cause: error,
    });
  }
}

function imagesOf(archive: Archive, options: TreeOptions): LocalImages {
  const { name } = archive;
  const resolve = async ({ platform, signal }: ResolveOptions): Promise<ResolvedImage> => {
    const measured = await measure(archive, { ...options, signal });
    const { configBytes, configDigest, manifestBytes } = documentsOf(measured, platform);
    const digest = digestOf(manifestBytes);
    return {
      descriptor: { mediaType: MediaType.ociManifest, digest, size: manifestBytes.length },
      manifestBytes,
      referenceDigest: digest,
      openBlob: (descriptor, blobOptions = {}) =>
        descriptor.digest === configDigest ? once(configBytes) : again(archive, measured.layer, blobOptions),
    };
  };
  return {
    name,
    images: [{ name: printable(name), names: [], references: [], resolve }],
    async [Symbol.asyncDispose]() {},
  };
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes;
}

/** The root file system in a directory. @throws SourceError `image-not-found`; see `packTree` for what reading throws */
export async function openTree(path: string, options: TreeOptions): Promise<LocalImages> {
  await using _ = await directoryFiles(path);
  const list = await opendir(path);
  // More likely another directory was meant than a container without a file.
  const first = await list.read();
  await list.close();
  if (first === null) throw invalidArchive(path, "the directory is empty");
  const { limits } = options;
  // What is left out is told once, and not again when the layer is read.
  const told = new Set<string>();
  const onNotice = (notice: string) => {
    if (told.has(notice)) return;
    told.add(notice);
    options.onNotice?.(notice);
  };
  return imagesOf(
    { name: path, compression: "none", read: ({ signal }) => packTree(path, { signal, onNotice, limits }) },
    options,
  );
}

const CHUNK_BYTES = 256 * 1024;

async function* readFile(path: string, signal: AbortSignal | undefined): AsyncGenerator<Uint8Array> {
  await using handle = await open(path, "r");
  for (let at = 0; ; ) {
    signal?.throwIfAborted();
    const buffer = Buffer.allocUnsafeSlow(CHUNK_BYTES);
    const { bytesRead } = await handle.read(buffer, 0, CHUNK_BYTES, at);
    if (bytesRead === 0) return;
    at += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}

async function headOf(path: string): Promise<Buffer> {
  // A FIFO that nobody writes to would never open.
  await using handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK).catch((error: unknown) => {
    if (systemCode(error) !== "ENOENT" && systemCode(error) !== "ENOTDIR") throw error;
    const message = `there is no file ${printable(path)}`;
    throw new SourceError("image-not-found", message, { hint: "look at the path in the image's name" });
  });
  const found = await handle.stat();
  if (found.isDirectory())
    throw invalidArchive(path, "it is a directory", "for a root file system in one write dir:PATH");
  // It is read twice, and a pipe can be read once.
  if (!found.isFile())
    throw invalidArchive(path, "it is no regular file", "flamebox import - NAME takes a stream");
  const head = Buffer.alloc(HEAD_BYTES);
  const { bytesRead } = await handle.read(head, 0, HEAD_BYTES, 0);
  return head.subarray(0, bytesRead);
}

/**
 * The root file system in a tar archive: plain, gzip or zstd.
 * @throws SourceError `image-not-found`, `invalid-archive`
 */
export async function openRootfsTar(path: string, options: TreeOptions): Promise<LocalImages> {
  const compression = compressionOfHead(await headOf(path), path);
  return imagesOf({ name: path, compression, read: ({ signal }) => readFile(path, signal) }, options);
}
