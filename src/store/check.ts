/** `checkStore`: reads everything and says what is wrong. It changes nothing. */
import { readFile } from "node:fs/promises";
import { hashFor } from "../reference/digest.ts";
import type { Digest } from "../reference/digest.ts";
import { messageOf } from "../util/error.ts";
import { takeInventory } from "./inventory.ts";
import type { Inventory, StoredThing } from "./inventory.ts";
import { layerPaths } from "./layout.ts";
import type { RootfsKey, Store, StoredName } from "./layout.ts";
import { namesOf, readRecords } from "./records.ts";
import { BLOCK_BYTES, fileSizeBytes, inspectRootfs, rawDamage } from "./rootfs.ts";
import { firstDamage, isAsStamped, verifyAndStamp } from "./stamp.ts";

export interface StoreProblem {
  /**
   * `damaged`: content is not what its name says. `missing`: a record names what is not there. `leftover`:
   * a part without its commit point, which the next collection takes. `foreign`: no file of FlameBox's.
   */
  readonly kind: "damaged" | "missing" | "leftover" | "foreign";
  readonly path: string;
  readonly message: string;
}

/**
 * Decodes a layer index, and throws when it is damaged. Given from outside, because the format belongs to
 * rootfs/, which is built on the store.
 */
export type InspectIndex = (bytes: Uint8Array) => BlobFacts;

/** What an index says of its blob. */
export interface BlobFacts {
  readonly blobBlocks: number;
  /** CRC-32 of each PIECE_BYTES of it. */
  readonly blobSums: Uint32Array;
}

interface LayerDamage {
  readonly path: string;
  readonly message: string;
}

async function sizeDamage(path: string, { blobBlocks }: BlobFacts): Promise<LayerDamage | undefined> {
  const got = (await fileSizeBytes(path)) ?? 0;
  const want = blobBlocks * BLOCK_BYTES;
  return got === want ? undefined : { path, message: `layer blob has ${got} bytes, its index says ${want}` };
}

function wrongPiece(path: string, position: number | undefined): LayerDamage | undefined {
  if (position === undefined) return undefined;
  return { path, message: `layer blob has a wrong checksum in the MiB at byte ${position}` };
}

/**
 * What is wrong with a layer that has its index; undefined when it is sound. The blob is read only when it is not
 * the file that was known to be right.
 */
export async function layerDamage(
  store: Store,
  diffId: Digest,
  facts: BlobFacts,
): Promise<LayerDamage | undefined> {
  const { blobPath, stampPath } = layerPaths(store.layout, diffId);
  const wrongSize = await sizeDamage(blobPath, facts);
  if (wrongSize !== undefined || facts.blobBlocks === 0) return wrongSize;
  if (await isAsStamped(blobPath, stampPath)) return undefined;
  return wrongPiece(blobPath, await verifyAndStamp(store, blobPath, stampPath, facts.blobSums));
}

async function checkBlob(path: string, digest: Digest): Promise<StoreProblem[]> {
  const got = hashFor(digest)
    .update(await readFile(path))
    .digest("hex");
  if (digest.endsWith(`:${got}`)) return [];
  return [{ kind: "damaged", path, message: `content has digest ${got}` }];
}

async function checkLayer(store: Store, diffId: Digest, inspect: InspectIndex): Promise<StoreProblem[]> {
  const { blobPath, indexPath } = layerPaths(store.layout, diffId);
  let facts: BlobFacts;
  try {
    facts = inspect(await readFile(indexPath));
  } catch (error) {
    return [{ kind: "damaged", path: indexPath, message: messageOf(error) }];
  }
  // Whatever its stamp says: a disk may have changed it behind everybody's back.
  const damage =
    (await sizeDamage(blobPath, facts)) ??
    (facts.blobBlocks === 0 ? undefined : wrongPiece(blobPath, await firstDamage(blobPath, facts.blobSums)));
  return damage ? [{ kind: "damaged", ...damage }] : [];
}

async function checkRootfs(store: Store, key: RootfsKey, thing: StoredThing): Promise<StoreProblem[]> {
  const state = await inspectRootfs(store, key);
  if (state.state === "sound" || state.state === "unverified") {
    const damage = await rawDamage(store, key, state.summary);
    return damage === undefined ? [] : [{ kind: "damaged", ...damage }];
  }
  // Without its layers it is only waiting for collection; records tell whether anybody misses them.
  if (state.state !== "damaged") return [];
  const path = state.path || (thing.paths[0] ?? "");
  return [{ kind: "damaged", path, message: "rootfs differs from its summary" }];
}

async function checkThing(store: Store, thing: StoredThing, inspect: InspectIndex): Promise<StoreProblem[]> {
  const path = thing.paths[0] ?? "";
  if (!thing.isWhole) return [{ kind: "leftover", path, message: `part of a ${thing.name}` }];
  const [kind, rest = ""] = thing.name.split(" ");
  if (kind === "blob") return await checkBlob(path, rest as Digest);
  if (kind === "layer") return await checkLayer(store, rest as Digest, inspect);
  return await checkRootfs(store, rest as RootfsKey, thing);
}

/** The rootfs is derived, so it may be missing; everything else that a record names may not. */
async function checkRecords(store: Store, { things }: Inventory): Promise<StoreProblem[]> {
  const there = new Set<StoredName>(things.filter(({ isWhole }) => isWhole).map(({ name }) => name));
  const { images, problems } = await readRecords(store);
  const missing = images.flatMap((image) =>
    namesOf(image)
      .filter((name) => !name.startsWith("rootfs ") && !there.has(name))
      .map((name) => ({ kind: "missing", path: image.reference, message: `${name} is not there` }) as const),
  );
  return [...problems.map(({ path, message }) => ({ kind: "damaged", path, message }) as const), ...missing];
}

/**
 * Everything wrong with the store, while nobody else changes it (beside others at work, things may come and
 * go under the eyes of the reader).
 */
export async function checkStore(
  store: Store,
  options: { readonly inspectIndex: InspectIndex; readonly signal?: AbortSignal | undefined },
): Promise<StoreProblem[]> {
  const inventory = await takeInventory(store);
  const problems: StoreProblem[] = inventory.foreign.map((path) => {
    return { kind: "foreign", path, message: "not a file of FlameBox's" };
  });
  for (const thing of inventory.things) {
    options.signal?.throwIfAborted();
    problems.push(...(await checkThing(store, thing, options.inspectIndex)));
  }
  return [...problems, ...(await checkRecords(store, inventory))];
}
