/**
 * Media types of images, in both families.
 * https://github.com/opencontainers/image-spec/blob/v1.1.0/media-types.md
 * https://github.com/distribution/distribution/blob/v2.8.3/docs/spec/manifest-v2-2.md
 */
import { quote } from "../util/printable.ts";
import { OciError } from "./error.ts";

export const MediaType = {
  ociManifest: "application/vnd.oci.image.manifest.v1+json",
  ociIndex: "application/vnd.oci.image.index.v1+json",
  ociConfig: "application/vnd.oci.image.config.v1+json",
  dockerManifest: "application/vnd.docker.distribution.manifest.v2+json",
  dockerList: "application/vnd.docker.distribution.manifest.list.v2+json",
  dockerConfig: "application/vnd.docker.container.image.v1+json",
} as const;

export type Compression = "none" | "gzip" | "zstd";

/** OCI's layers. */
export const LayerType = {
  none: "application/vnd.oci.image.layer.v1.tar",
  gzip: "application/vnd.oci.image.layer.v1.tar+gzip",
  zstd: "application/vnd.oci.image.layer.v1.tar+zstd",
} as const satisfies Record<Compression, string>;

const LAYERS = new Map<string, Compression>([
  [LayerType.none, "none"],
  [LayerType.gzip, "gzip"],
  [LayerType.zstd, "zstd"],
  ["application/vnd.docker.image.rootfs.diff.tar", "none"],
  ["application/vnd.docker.image.rootfs.diff.tar.gzip", "gzip"],
  ["application/vnd.docker.image.rootfs.diff.tar.zstd", "zstd"],
]);

/** Layers that live at URLs written in the manifest. FlameBox asks nobody but the image's own source. */
const FOREIGN_LAYER =
  /^application\/vnd\.(?:oci\.image\.layer\.nondistributable\.|docker\.image\.rootfs\.foreign\.)/;

export type DocumentKind = "manifest" | "index" | "schema-1";

const DOCUMENTS = new Map<string, DocumentKind>([
  [MediaType.ociManifest, "manifest"],
  [MediaType.dockerManifest, "manifest"],
  [MediaType.ociIndex, "index"],
  [MediaType.dockerList, "index"],
  ["application/vnd.docker.distribution.manifest.v1+json", "schema-1"],
  ["application/vnd.docker.distribution.manifest.v1+prettyjws", "schema-1"],
]);

/** What a registry is asked for, best first. */
export const ACCEPTED_DOCUMENTS: readonly string[] = [
  MediaType.ociIndex,
  MediaType.dockerList,
  MediaType.ociManifest,
  MediaType.dockerManifest,
];

/** The type without parameters, lower case. */
export function essenceOf(mediaType: string): string {
  const semicolon = mediaType.indexOf(";");
  return (semicolon === -1 ? mediaType : mediaType.slice(0, semicolon)).trim().toLowerCase();
}

/** Which document a media type stands for; undefined when it is none of ours (`application/json`). */
export function documentKindOf(mediaType: string): DocumentKind | undefined {
  return DOCUMENTS.get(essenceOf(mediaType));
}

export function isConfig(mediaType: string): boolean {
  return mediaType === MediaType.ociConfig || mediaType === MediaType.dockerConfig;
}

/**
 * How a layer of this media type is compressed.
 * @throws OciError `unsupported-media-type` for foreign layers and for what is no layer
 */
export function compressionOf(mediaType: string): Compression {
  const compression = LAYERS.get(mediaType);
  if (compression !== undefined) return compression;
  const shown = quote(mediaType);
  if (FOREIGN_LAYER.test(mediaType)) {
    throw new OciError("unsupported-media-type", `the image has a layer that is kept elsewhere: ${shown}`, {
      hint: "push the image again with its foreign layers included (docker push --allow-nondistributable-artifacts)",
    });
  }
  throw new OciError("unsupported-media-type", `not a container image: it has a layer of type ${shown}`, {
    hint: "FlameBox runs OCI and Docker images whose layers are tar archives, plain, gzip or zstd",
  });
}
