/** Documents as a registry on loopback serves them: each image of a row is asked for like any other. */
import { gzipSync } from "node:zlib";
import { parse } from "../../../src/reference/reference.ts";
import { registrySource } from "../../../src/source/registry/registry.ts";
import { startServer } from "../../support/loopback-server.ts";
import type { LoopbackServer } from "../../support/loopback-server.ts";
import { judge } from "./judge.ts";
import type { Verdict } from "./judge.ts";
import { file, LAYER, sha256, tar } from "./row.ts";

/** Anything that can stand in a document; bytes and strings are sent as they are. */
export type Json = object | string | Uint8Array;

export interface Descriptor {
  mediaType: unknown;
  digest: unknown;
  size: unknown;
  [more: string]: unknown;
}

export interface Served {
  readonly top: Uint8Array;
  readonly contentType: string | undefined;
  /** By digest, manifests and blobs alike. */
  readonly contents: ReadonlyMap<string, Uint8Array>;
}

export const TYPES = {
  manifest: "application/vnd.oci.image.manifest.v1+json",
  index: "application/vnd.oci.image.index.v1+json",
  config: "application/vnd.oci.image.config.v1+json",
  dockerManifest: "application/vnd.docker.distribution.manifest.v2+json",
  dockerList: "application/vnd.docker.distribution.manifest.list.v2+json",
} as const;

export const layerTar = tar(file("f", "data"));
export const layerBytes = gzipSync(layerTar);
export const layer: Descriptor = {
  mediaType: `${LAYER}+gzip`,
  digest: sha256(layerBytes),
  size: layerBytes.length,
};

export const goodConfig = {
  os: "linux",
  architecture: "amd64",
  config: { Cmd: ["/bin/true"] },
  rootfs: { type: "layers", diff_ids: [sha256(layerTar)] },
};

export function bytesOf(value: Json): Uint8Array {
  if (value instanceof Uint8Array) return value;
  return Buffer.from(typeof value === "string" ? value : JSON.stringify(value));
}

export function describeBytes(bytes: Uint8Array, mediaType: string): Descriptor {
  return { mediaType, digest: sha256(bytes), size: bytes.length };
}

export interface Manifest {
  schemaVersion: unknown;
  mediaType?: unknown;
  config: Descriptor;
  layers: Descriptor[];
  [more: string]: unknown;
}

export interface Made {
  readonly config?: (config: typeof goodConfig) => Json;
  readonly manifest?: (manifest: Manifest) => Json;
  /** The top document is an index then. */
  readonly index?: (entry: Descriptor) => Json;
  /** Of the top document; `null` for none. */
  readonly contentType?: string | null;
  /** More that can be had by its digest. */
  readonly contents?: readonly Uint8Array[];
}

export function made({ config, manifest, index, contentType, contents = [] }: Made): Served {
  const configBytes = bytesOf(config ? config(structuredClone(goodConfig)) : goodConfig);
  const good: Manifest = {
    schemaVersion: 2,
    mediaType: TYPES.manifest,
    config: describeBytes(configBytes, TYPES.config),
    layers: [structuredClone(layer)],
  };
  const manifestBytes = bytesOf(manifest ? manifest(good) : good);
  const entry = {
    ...describeBytes(manifestBytes, TYPES.manifest),
    platform: { os: "linux", architecture: "amd64" },
  };
  const top = index ? bytesOf(index(entry)) : manifestBytes;
  const all = [configBytes, manifestBytes, layerBytes, top, ...contents];
  return {
    top,
    contentType: contentType === null ? undefined : (contentType ?? (index ? TYPES.index : TYPES.manifest)),
    contents: new Map(all.map((bytes) => [sha256(bytes), bytes])),
  };
}

/** A registry for what a row wants to serve next. */
export async function startServing(): Promise<LoopbackServer & { judge(served: Served): Promise<Verdict> }> {
  let served: Served | undefined;
  const server = await startServer((request, response): void => {
    const url = request.url ?? "";
    const pointer = url.slice(url.lastIndexOf("/") + 1);
    if (url === "/v2/") {
      response.end();
      return;
    }
    const isTop = url.startsWith("/v2/image/manifests/") && pointer === "1";
    const bytes = isTop ? served?.top : served?.contents.get(pointer);
    if (bytes === undefined) {
      response.writeHead(404).end();
      return;
    }
    const type = isTop ? served?.contentType : TYPES.manifest;
    if (url.includes("/manifests/") && type !== undefined) response.setHeader("content-type", type);
    response.end(bytes);
  });
  return {
    ...server,
    async judge(next) {
      served = next;
      await using source = registrySource(parse(`${server.host}/image:1`), { attempts: 1 });
      return await judge([], { source });
    },
  };
}
