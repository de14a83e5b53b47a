/** Layers, stores and questions that the tests of this folder share. */
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, onTestFinished } from "vitest";
import { findImage } from "../../src/images/images.ts";
import { pullImage } from "../../src/images/pull.ts";
import { exportRootfs } from "../../src/images/export.ts";
import { parse } from "../../src/reference/reference.ts";
import { decodeLayerIndex } from "../../src/rootfs/layer-index-file.ts";
import { checkStore } from "../../src/store/check.ts";
import { openStore } from "../../src/store/store.ts";
import type { Store } from "../../src/store/store.ts";
import { amd64, tarOf } from "./memory-source.ts";
import type { MemorySource } from "./memory-source.ts";

export const run = promisify(execFile);
export const big = (text: string) => text.repeat(Math.ceil(9000 / text.length));
/** What gzip cannot shorten, so that a blob has many chunks. */
const noise = randomBytes(300_000).toString("hex");

export const base = await tarOf({ "etc/os-release": "NAME=test\n", "bin/tool": big("tool ") });
export const app = await tarOf({ "srv/app": big("app "), "etc/app.conf": "a=1\n" });
export const other = await tarOf({ "srv/other": big("other ") });
export const noisy = await tarOf({ "srv/noise": noise });
export const onlyNames = await tarOf({ "etc/small": "small\n" });

export async function newDir(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), "flamebox-images-"));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

export async function newStore(dataDir?: string): Promise<Store> {
  const store = await openStore({ dataDir: dataDir ?? (await newDir()) });
  onTestFinished(() => store[Symbol.asyncDispose]());
  return store;
}

export const pull = (store: Store, name: string, source: MemorySource, more = {}) =>
  pullImage(store, parse(name), source, { platform: amd64, ...more });

export const problemsOf = (store: Store) => checkStore(store, { inspectIndex: decodeLayerIndex });

export async function expectClean(store: Store): Promise<void> {
  expect(await problemsOf(store)).toEqual([]);
  expect(await readdir(store.workspace)).toEqual([]);
  expect(await readdir(store.layout.leasesDir)).toEqual([]);
  expect(await readdir(store.layout.locksDir)).toEqual([]);
}

export function codeOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => "no error",
    (error: unknown) => (error as { code?: unknown }).code ?? error,
  );
}

/** The disk's segments laid end to end, checked and unpacked by erofs-utils. */
export async function unpack(store: Store, name: string): Promise<string> {
  const dir = await newDir();
  const image = await findImage(store, name);
  if (!image) throw new Error(`${name} is not here`);
  const { path } = await exportRootfs(store, image, join(dir, "rootfs.erofs"));
  await run("fsck.erofs", [`--extract=${join(dir, "tree")}`, path]);
  return join(dir, "tree");
}
