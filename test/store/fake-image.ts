/**
 * Images for tests of the store alone: contents follow from a number, so any process can make them and any
 * other one can say whether they are right. The layers have an index of the test's own.
 */
import { open, readFile, writeFile } from "node:fs/promises";
import { crc32 } from "node:zlib";
import { readBlob, writeBlob } from "../../src/store/blobs.ts";
import type { BlobFacts } from "../../src/store/check.ts";
import { ingest } from "../../src/store/ingest.ts";
import { withLayerLock } from "../../src/store/layer-lock.ts";
import { layerPaths, rootfsKey, rootfsPaths, stored } from "../../src/store/layout.ts";
import type { Store } from "../../src/store/layout.ts";
import { takeLease } from "../../src/store/lease.ts";
import type { Lease } from "../../src/store/lease.ts";
import { namesOf, readRecord, writeRecord } from "../../src/store/records.ts";
import type { ImageRecord } from "../../src/store/records.ts";
import { inspectRootfs, publishRootfs } from "../../src/store/rootfs.ts";
import { digestOf } from "../../src/reference/digest.ts";
import type { Digest } from "../../src/reference/digest.ts";

const BLOCK = 4096;

export interface FakeLayer {
  readonly diffId: Digest;
  readonly blob: Buffer;
  readonly index: Buffer;
}

/** Every fifth layer has no data, so no blob. */
export function fakeLayer(number: number): FakeLayer {
  const blob = Buffer.alloc((number % 5) * 3 * BLOCK, `layer ${number} `);
  const sums = blob.length > 0 ? [crc32(blob)] : [];
  const content = JSON.stringify({ blobBlocks: blob.length / BLOCK, blob: digestOf(blob), sums, number });
  const index = Buffer.from(JSON.stringify({ content, digest: digestOf(content) }));
  return { diffId: digestOf(`diff ${number}`), blob, index };
}

export function inspectIndex(bytes: Uint8Array): BlobFacts {
  const { content, digest } = JSON.parse(Buffer.from(bytes).toString()) as {
    content: string;
    digest: string;
  };
  if (digestOf(content) !== digest) throw new Error("index is damaged");
  const { blobBlocks, sums } = JSON.parse(content) as { blobBlocks: number; sums: number[] };
  return { blobBlocks, blobSums: new Uint32Array(sums) };
}

async function writeSynced(path: string, bytes: Buffer): Promise<void> {
  const handle = await open(path, "wx", 0o600);
  try {
    await handle.writeFile(bytes);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** What is right about the layer on disk. */
export async function hasLayer(store: Store, layer: FakeLayer): Promise<boolean> {
  const { blobPath, indexPath } = layerPaths(store.layout, layer.diffId);
  try {
    if (!(await readFile(indexPath)).equals(layer.index)) return false;
    return layer.blob.length === 0 || (await readFile(blobPath)).equals(layer.blob);
  } catch {
    return false;
  }
}

/** @returns whether it had to be written */
export async function putLayer(store: Store, layer: FakeLayer): Promise<boolean> {
  if (await hasLayer(store, layer)) return false;
  const { blobPath, indexPath } = layerPaths(store.layout, layer.diffId);
  return await withLayerLock(store, layer.diffId, {}, async () => {
    if (await hasLayer(store, layer)) return false;
    await ingest(store, async (stage) => {
      const blob = stage(blobPath);
      if (layer.blob.length > 0) await writeSynced(blob, layer.blob);
      await writeSynced(stage(indexPath), layer.index);
    });
    return true;
  });
}

/** Images share layers with their neighbours. */
export function fakeImage(number: number) {
  const layers = [1, 10 + (number % 3), 20 + (number % 5), 30 + number].map(fakeLayer);
  const config = Buffer.from(`config ${number}`);
  const manifest = Buffer.from(`manifest ${number}`);
  const record: Omit<ImageRecord, "version"> = {
    reference: `registry.test/image:${number}`,
    digest: digestOf(manifest),
    manifestDigest: digestOf(manifest),
    configDigest: digestOf(config),
    diffIds: layers.map(({ diffId }) => diffId),
    platform: { os: "linux", architecture: "amd64" },
    pulledAt: "2026-01-01T00:00:00Z",
  };
  return { layers, config, manifest, record };
}

async function putRootfs(store: Store, record: ImageRecord): Promise<void> {
  const key = rootfsKey(record.diffIds);
  if ((await inspectRootfs(store, key)).state === "sound") return;
  await publishRootfs(store, key, async (path) => {
    await writeFile(path, `metadata ${key}`, { flag: "wx" });
    return { vmdk: `disk ${rootfsPaths(store.layout, key).metadataPath}`, blobs: [] };
  });
}

/** As a pull does it. @returns how many layers had to be written */
export async function putImage(store: Store, number: number): Promise<number> {
  const { layers, config, manifest, record } = fakeImage(number);
  await using lease = await takeLease(store, [stored.blob(record.manifestDigest)]);
  if (!(await readBlob(store, record.manifestDigest)))
    await writeBlob(store, record.manifestDigest, manifest);
  if (!(await readBlob(store, record.configDigest))) await writeBlob(store, record.configDigest, config);
  await lease.add(namesOf(record));
  let written = 0;
  for (const layer of layers) if (await putLayer(store, layer)) written++;
  await putRootfs(store, await writeRecord(store, record));
  return written;
}

/** What is wrong with the image while a lease is held on it; undefined when it is all there. */
async function faultOf(store: Store, number: number): Promise<string | undefined> {
  const { layers, record } = fakeImage(number);
  for (const digest of [record.manifestDigest, record.configDigest]) {
    if (!(await readBlob(store, digest))) return stored.blob(digest);
  }
  for (const layer of layers) if (!(await hasLayer(store, layer))) return stored.layer(layer.diffId);
  return undefined;
}

/**
 * As a run does it: takes a lease, looks, and looks again after `work`.
 * @returns "absent" when there is no such image, or not all of it, at the time of the first look
 * @throws when something went away under the lease
 */
export async function useImage(
  store: Store,
  number: number,
  work: (lease: Lease) => Promise<void>,
): Promise<"used" | "absent"> {
  const record = await readRecord(store, fakeImage(number).record.reference);
  if (!record) return "absent";
  await using lease = await takeLease(store, namesOf(record));
  if (await faultOf(store, number)) return "absent";
  await work(lease);
  const fault = await faultOf(store, number);
  if (fault) throw new Error(`${fault} went away under a lease`);
  return "used";
}
