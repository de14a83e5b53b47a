/** Stores that the tests of this folder share. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { checkStore } from "../../src/store/check.ts";
import { openStore } from "../../src/store/store.ts";
import type { Store } from "../../src/store/store.ts";
import { inspectIndex } from "./fake-image.ts";

export async function newDir(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), "flamebox-store-"));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

export async function newStore(): Promise<Store> {
  const store = await openStore({ dataDir: join(await newDir(), "data") });
  onTestFinished(() => store[Symbol.asyncDispose]());
  return store;
}

export const check = (store: Store) => checkStore(store, { inspectIndex });
export const kindsOf = async (store: Store) => (await check(store)).map(({ kind }) => kind);
