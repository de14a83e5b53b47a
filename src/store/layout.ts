/** Where things are in a store. Every name is made of digests, so no path depends on text from an image. */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { algorithmOf, hexOf, isDigest } from "../reference/digest.ts";
import type { Digest } from "../reference/digest.ts";

/**
 * METADATA_VERSION of rootfs/, which the store may not import; a test holds the two together. When the same
 * layers give other metadata, it is raised: old ones are never found again, and the next collection takes them.
 */
export const ROOTFS_VERSION = 1;

declare const brand: unique symbol;
/** 64 hex digits that stand for an ordered list of diff IDs and the version of what was made of them. */
export type RootfsKey = string & { readonly [brand]: "RootfsKey" };

/** What leases and collection speak of: one thing that is kept or removed as a whole. */
export type StoredName = `blob ${Digest}` | `layer ${Digest}` | `rootfs ${RootfsKey}`;

export interface Layout {
  readonly dir: string;
  readonly layersDir: string;
  readonly imagesDir: string;
  readonly rootfsDir: string;
  readonly leasesDir: string;
  readonly locksDir: string;
  readonly tmpDir: string;
}

/** An open store, as `openStore` (store.ts) gives it; every function of this folder takes one. */
export interface Store extends AsyncDisposable {
  readonly layout: Layout;
  /** This store's own directory in `tmp/`, on the same file system. It ends with the process at the latest. */
  readonly workspace: string;
}

export function layoutOf(dir: string): Layout {
  return {
    dir,
    layersDir: join(dir, "layers"),
    imagesDir: join(dir, "images"),
    rootfsDir: join(dir, "rootfs"),
    leasesDir: join(dir, "leases"),
    locksDir: join(dir, "locks"),
    tmpDir: join(dir, "tmp"),
  };
}

export const BLOB_ALGORITHMS = ["sha256", "sha512"] as const;

export function blobsDir(layout: Layout, algorithm: (typeof BLOB_ALGORITHMS)[number]): string {
  return join(layout.dir, "blobs", algorithm);
}

export function blobPath(layout: Layout, digest: Digest): string {
  return join(blobsDir(layout, algorithmOf(digest)), hexOf(digest));
}

export interface LayerPaths {
  /** Data; no such file when the layer has none. */
  readonly blobPath: string;
  /** What the archive had besides; no such file when it was too strange, or an older FlameBox converted it. */
  readonly headersPath: string;
  /** Entries; the layer is there when this file is. */
  readonly indexPath: string;
  /** What the blob looked like when it was last known to be right (stamp.ts). */
  readonly stampPath: string;
}

export function layerPaths(layout: Layout, diffId: Digest): LayerPaths {
  const base = join(layout.layersDir, hexOf(diffId));
  return {
    blobPath: `${base}.blob`,
    headersPath: `${base}.headers`,
    indexPath: `${base}.index`,
    stampPath: `${base}.stamp`,
  };
}

export interface RootfsPaths {
  readonly metadataPath: string;
  readonly vmdkPath: string;
  /** The whole disk in one file; only where a VMM has asked for it. */
  readonly rawPath: string;
  readonly rawStampPath: string;
  /** What the first two should look like; the rootfs is there when this file is. */
  readonly summaryPath: string;
}

export function rootfsKey(diffIds: readonly Digest[]): RootfsKey {
  const text = [`flamebox rootfs ${ROOTFS_VERSION}`, ...diffIds].join("\n");
  return createHash("sha256").update(text).digest("hex") as RootfsKey;
}

export function isRootfsKey(text: string): text is RootfsKey {
  return /^[0-9a-f]{64}$/.test(text);
}

export function rootfsPaths(layout: Layout, key: RootfsKey): RootfsPaths {
  const base = join(layout.rootfsDir, key);
  return {
    metadataPath: `${base}.erofs`,
    vmdkPath: `${base}.vmdk`,
    rawPath: `${base}.raw`,
    rawStampPath: `${base}.rawstamp`,
    summaryPath: `${base}.json`,
  };
}

/** One file a reference: its name is the hash of the reference's full text, which is inside as well. */
export function recordPath(layout: Layout, reference: string): string {
  return join(layout.imagesDir, `${createHash("sha256").update(reference).digest("hex")}.json`);
}

/** The digest whose `hexOf` this is; undefined for any other text. */
export function digestFromHex(hex: string): Digest | undefined {
  const text = `${hex.length === 128 ? "sha512" : "sha256"}:${hex}`;
  return isDigest(text) ? text : undefined;
}

export function isStoredName(text: string): text is StoredName {
  const space = text.indexOf(" ");
  const [kind, rest] = [text.slice(0, space), text.slice(space + 1)];
  if (kind === "blob" || kind === "layer") return isDigest(rest);
  return kind === "rootfs" && isRootfsKey(rest);
}

export const stored = {
  blob: (digest: Digest): StoredName => `blob ${digest}`,
  layer: (diffId: Digest): StoredName => `layer ${diffId}`,
  rootfs: (key: RootfsKey): StoredName => `rootfs ${key}`,
};
