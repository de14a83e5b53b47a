/** Manifests and configs: small, kept as they came, verified whenever they are read. */
import { readFile } from "node:fs/promises";
import { algorithmOf, digestOf } from "../reference/digest.ts";
import type { Digest } from "../reference/digest.ts";
import { writeFileAtomic } from "../util/atomic-file.ts";
import { systemCode } from "../util/error.ts";
import { StoreError, explainDiskError } from "./error.ts";
import { blobPath } from "./layout.ts";
import type { Store } from "./layout.ts";

/** The bytes; undefined when they are not there, or no longer those that the digest stands for. */
export async function readBlob(store: Pick<Store, "layout">, digest: Digest): Promise<Buffer | undefined> {
  let bytes: Buffer;
  try {
    bytes = await readFile(blobPath(store.layout, digest));
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    throw error;
  }
  return digestOf(bytes, algorithmOf(digest)) === digest ? bytes : undefined;
}

/** @throws StoreError `blob-mismatch` when the bytes have another digest; `disk-full` */
export async function writeBlob(store: Store, digest: Digest, bytes: Uint8Array): Promise<void> {
  const got = digestOf(bytes, algorithmOf(digest));
  if (got !== digest) throw new StoreError("blob-mismatch", `got content with digest ${got}, want ${digest}`);
  try {
    await writeFileAtomic(blobPath(store.layout, digest), bytes, { tmpDir: store.workspace });
  } catch (error) {
    throw explainDiskError(error, store.layout.dir);
  }
}
