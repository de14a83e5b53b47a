/**
 * What is kept of an image's rootfs: the metadata image and the disk description that points at it and at the
 * layer blobs. Both can be made again from the layers; the summary beside them is their commit point, and says
 * what they have to look like, so that a run needs no layer index to see that its disk is sound.
 */
import { open, readFile, stat, writeFile } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { crc32 } from "node:zlib";
import * as v from "valibot";
import { digestSchema } from "../oci/descriptor.ts";
import type { Digest } from "../reference/digest.ts";
import { systemCode } from "../util/error.ts";
import { ingest } from "./ingest.ts";
import { layerPaths, rootfsPaths } from "./layout.ts";
import { isAsStamped } from "./stamp.ts";
import type { RootfsKey, Store } from "./layout.ts";

export const BLOCK_BYTES = 4096;
const READ_BYTES = 1024 * 1024;

const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const checksum = v.object({ sizeBytes: count, crc32: count });

const summarySchema = v.object({
  version: v.literal(1),
  metadata: checksum,
  vmdk: checksum,
  /** The layers that have a slot on the disk, in its order. */
  blobs: v.array(v.object({ diffId: digestSchema, sizeBytes: count })),
});

export type RootfsSummary = Readonly<v.InferOutput<typeof summarySchema>>;
export type FileChecksum = Readonly<v.InferOutput<typeof checksum>>;

/** Size and CRC-32 of a file: against flipped bits and cut files, not against an attacker. */
export async function checksumOf(path: string): Promise<FileChecksum> {
  const handle = await open(path, "r");
  try {
    const buffer = Buffer.allocUnsafe(READ_BYTES);
    let sizeBytes = 0;
    let sum = 0;
    for (;;) {
      const { bytesRead } = await handle.read(buffer, 0, READ_BYTES, sizeBytes);
      if (bytesRead === 0) return { sizeBytes, crc32: sum };
      sum = crc32(buffer.subarray(0, bytesRead), sum);
      sizeBytes += bytesRead;
    }
  } finally {
    await handle.close();
  }
}

/** The size of a file; undefined when there is none. */
export async function fileSizeBytes(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

async function isAsSaid(path: string, said: FileChecksum): Promise<boolean> {
  if ((await fileSizeBytes(path)) !== said.sizeBytes) return false;
  return (await checksumOf(path)).crc32 === said.crc32;
}

function parseSummary(text: string): RootfsSummary | undefined {
  try {
    return v.parse(summarySchema, JSON.parse(text));
  } catch {
    return undefined;
  }
}

export type RootfsState =
  | { readonly state: "sound"; readonly summary: RootfsSummary }
  /** Sound, if these layers' blobs are: somebody has touched them since they were known to be right. */
  | { readonly state: "unverified"; readonly summary: RootfsSummary; readonly diffIds: readonly Digest[] }
  | { readonly state: "missing" }
  /** The derived files are wrong: they have to be made again. */
  | { readonly state: "damaged"; readonly path: string }
  /** A layer under it is wrong or gone: it has to be fetched again. */
  | { readonly state: "incomplete"; readonly diffId: Digest };

/**
 * Looks at everything that a machine would read. Layer blobs are not read: whether they are the files that were known
 * to be right is told by their stamps.
 */
export async function inspectRootfs(store: Store, key: RootfsKey): Promise<RootfsState> {
  const { metadataPath, vmdkPath, summaryPath } = rootfsPaths(store.layout, key);
  try {
    const summary = parseSummary(await readFile(summaryPath, "utf8"));
    if (!summary) return { state: "damaged", path: summaryPath };
    if (!(await isAsSaid(vmdkPath, summary.vmdk))) return { state: "damaged", path: vmdkPath };
    if (!(await isAsSaid(metadataPath, summary.metadata))) return { state: "damaged", path: metadataPath };
    const found = await Promise.all(
      summary.blobs.map(async ({ diffId, sizeBytes }) => {
        const { blobPath, stampPath } = layerPaths(store.layout, diffId);
        const [size, isKnown] = [fileSizeBytes(blobPath), isAsStamped(blobPath, stampPath)];
        return { diffId, isKnown: await isKnown, isMissing: (await size) !== sizeBytes };
      }),
    );
    const missing = found.find(({ isMissing }) => isMissing);
    if (missing !== undefined) return { state: "incomplete", diffId: missing.diffId };
    const diffIds = found.filter(({ isKnown }) => !isKnown).map(({ diffId }) => diffId);
    return diffIds.length > 0 ? { state: "unverified", summary, diffIds } : { state: "sound", summary };
  } catch (error) {
    if (systemCode(error) === "ENOENT") return { state: "missing" };
    throw error;
  }
}

/** What is wrong with the disk in one file, where there is one: it has the same bytes as its parts. */
export async function rawDamage(
  store: Store,
  key: RootfsKey,
  { metadata, blobs }: RootfsSummary,
): Promise<{ readonly path: string; readonly message: string } | undefined> {
  const { metadataPath, rawPath } = rootfsPaths(store.layout, key);
  if ((await fileSizeBytes(rawPath)) === undefined) return undefined;
  const parts = [{ path: metadataPath, sizeBytes: metadata.sizeBytes }].concat(
    blobs.map(({ diffId, sizeBytes }) => ({ path: layerPaths(store.layout, diffId).blobPath, sizeBytes })),
  );
  const raw = await open(rawPath, "r");
  try {
    let position = 0;
    for (const { path, sizeBytes } of parts) {
      if (!(await isSameData(raw, position, path))) {
        return { path: rawPath, message: `the disk differs from ${path}` };
      }
      position += sizeBytes;
    }
    return undefined;
  } finally {
    await raw.close();
  }
}

async function isSameData(whole: FileHandle, from: number, path: string): Promise<boolean> {
  const part = await open(path, "r");
  try {
    const [ours, theirs] = [Buffer.allocUnsafe(READ_BYTES), Buffer.allocUnsafe(READ_BYTES)];
    for (let at = 0; ; ) {
      const { bytesRead } = await part.read(theirs, 0, READ_BYTES, at);
      if (bytesRead === 0) return true;
      const got = await whole.read(ours, 0, bytesRead, from + at);
      if (got.bytesRead < bytesRead || ours.compare(theirs, 0, bytesRead, 0, bytesRead) !== 0) return false;
      at += bytesRead;
    }
  } finally {
    await part.close();
  }
}

/** What `publishRootfs` has to be told besides the metadata image itself. */
export interface RootfsParts {
  /** The disk description; its paths are those that the files will have. */
  readonly vmdk: string;
  /** The layers that have a slot on the disk, in its order. */
  readonly blobs: readonly { readonly diffId: Digest; readonly sizeBytes: number }[];
}

/**
 * Makes a rootfs be there: `write` creates the metadata image under the path that it is given.
 * @throws StoreError `disk-full`; whatever `write` throws
 */
export async function publishRootfs(
  store: Store,
  key: RootfsKey,
  write: (metadataPath: string) => Promise<RootfsParts>,
): Promise<RootfsSummary> {
  const final = rootfsPaths(store.layout, key);
  const fill = async (stage: (finalPath: string) => string) => {
    const metadataPath = stage(final.metadataPath);
    const { vmdk, blobs } = await write(metadataPath);
    const vmdkPath = stage(final.vmdkPath);
    await writeFile(vmdkPath, vmdk, { flag: "wx", mode: 0o600 });
    const [metadata, description] = [await checksumOf(metadataPath), await checksumOf(vmdkPath)];
    const summary: RootfsSummary = { version: 1, metadata, vmdk: description, blobs: [...blobs] };
    await writeFile(stage(final.summaryPath), JSON.stringify(summary), { flag: "wx", mode: 0o600 });
    return summary;
  };
  return await ingest(store, fill, { isDerived: true });
}
