/**
 * OCI image layouts made by the test itself: what it wants in an image, byte by byte.
 * https://github.com/opencontainers/image-spec/blob/v1.1.0/image-layout.md
 */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { digestOf } from "../../src/reference/digest.ts";
import type { Digest } from "../../src/reference/digest.ts";

export interface TestImage {
  readonly platform: { os: string; architecture: string; variant?: string };
  /** Tar archives (or anything that stands for one), lowest first; gzipped into the layout. */
  readonly layers: readonly Uint8Array[];
  /** The `config` object of the image config. */
  readonly config?: object;
}

export interface WrittenBlob {
  readonly mediaType: string;
  readonly digest: Digest;
  readonly size: number;
}

export interface WrittenImage {
  readonly manifest: WrittenBlob;
  readonly manifestBytes: Buffer;
  readonly config: WrittenBlob;
  readonly layers: readonly (WrittenBlob & { readonly bytes: Buffer; readonly diffId: Digest })[];
}

/** One image's documents and blobs, in memory. */
export function makeImage({
  platform,
  layers,
  config = {},
}: TestImage): WrittenImage & { configBytes: Buffer } {
  const packed = layers.map((tar) => {
    const bytes = gzipSync(tar, { level: 1 });
    const mediaType = "application/vnd.oci.image.layer.v1.tar+gzip";
    return { mediaType, digest: digestOf(bytes), size: bytes.length, bytes, diffId: digestOf(tar) };
  });
  const rootfs = { type: "layers", diff_ids: packed.map(({ diffId }) => diffId) };
  const configBytes = Buffer.from(JSON.stringify({ ...platform, config, rootfs }));
  const configBlob = {
    mediaType: "application/vnd.oci.image.config.v1+json",
    digest: digestOf(configBytes),
    size: configBytes.length,
  };
  const mediaType = "application/vnd.oci.image.manifest.v1+json";
  const descriptors = packed.map(({ mediaType, digest, size }) => ({ mediaType, digest, size }));
  const manifestBytes = Buffer.from(
    JSON.stringify({ schemaVersion: 2, mediaType, config: configBlob, layers: descriptors }),
  );
  const manifest = { mediaType, digest: digestOf(manifestBytes), size: manifestBytes.length };
  return { manifest, manifestBytes, config: configBlob, configBytes, layers: packed };
}

/** Writes a layout with one tag: a single image, or an index of several. */
export async function writeLayout(
  dir: string,
  tag: string,
  images: readonly TestImage[],
): Promise<WrittenImage[]> {
  const blobs = join(dir, "blobs", "sha256");
  await mkdir(blobs, { recursive: true });
  const put = (digest: Digest, bytes: Uint8Array) => writeFile(join(blobs, digest.slice(7)), bytes);
  const written = images.map(makeImage);
  for (const { manifest, manifestBytes, config, configBytes, layers } of written) {
    await put(manifest.digest, manifestBytes);
    await put(config.digest, configBytes);
    for (const { digest, bytes } of layers) await put(digest, bytes);
  }
  const entries = written.map(({ manifest }, i) => ({ ...manifest, platform: images[i]?.platform }));
  let top: object | undefined = written[0]?.manifest;
  if (images.length > 1) {
    const mediaType = "application/vnd.oci.image.index.v1+json";
    const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, manifests: entries }));
    await put(digestOf(bytes), bytes);
    top = { mediaType, digest: digestOf(bytes), size: bytes.length };
  }
  const named = { ...top, annotations: { "org.opencontainers.image.ref.name": tag } };
  await writeFile(join(dir, "index.json"), JSON.stringify({ schemaVersion: 2, manifests: [named] }));
  await writeFile(join(dir, "oci-layout"), JSON.stringify({ imageLayoutVersion: "1.0.0" }));
  return written;
}
