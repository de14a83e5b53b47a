/** The store within one process: opening, transactions, blobs, names. */
import { chmod, mkdir, readdir, stat, symlink, truncate, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { digestOf } from "../../src/reference/digest.ts";
import { readBlob, writeBlob } from "../../src/store/blobs.ts";
import { explainDiskError } from "../../src/store/error.ts";
import { ingest } from "../../src/store/ingest.ts";
import { blobPath, isStoredName, layerPaths } from "../../src/store/layout.ts";
import { openStore } from "../../src/store/store.ts";
import { bootId, ownIdentity } from "../../src/util/liveness.ts";
import { fakeLayer, putLayer } from "./fake-image.ts";
import { check, newDir, newStore } from "./fixtures.ts";

describe("opening", () => {
  const identity = ownIdentity();
  const tail = "0123456789ab";
  const left: readonly { readonly name: string; readonly stays: boolean; readonly ageMs?: number }[] = [
    { name: `${identity.pid}.${identity.startTicks}.${bootId()}.${tail}`, stays: true },
    { name: `${identity.pid}.${identity.startTicks + 1}.${bootId()}.${tail}`, stays: false },
    { name: `${identity.pid}.${identity.startTicks}.${"0".repeat(36)}.${tail}`, stays: false },
    { name: `2147483647.1.${bootId()}.${tail}`, stays: false },
    { name: `write.${identity.pid}.${tail}.tmp`, stays: true },
    { name: `write.2147483647.${tail}.tmp`, stays: false },
    { name: "notes", stays: true },
    { name: "old-notes", stays: false, ageMs: 2 * 24 * 3600 * 1000 },
  ];
  test.each(left)("$name in tmp/ stays: $stays", async ({ name, stays, ageMs = 0 }) => {
    const store = await newStore();
    const path = join(store.layout.tmpDir, name);
    if (name.endsWith(".tmp") || name.includes("notes")) await writeFile(path, "");
    else await mkdir(join(path, "deep", "er"), { recursive: true });
    const then = new Date(Date.now() - ageMs);
    await utimes(path, then, then);
    const second = await openStore({ dataDir: store.layout.dir });
    await second[Symbol.asyncDispose]();
    expect((await readdir(store.layout.tmpDir)).includes(name)).toBe(stays);
  });

  test.each([
    { name: `lock.${identity.pid}.${tail}.tmp`, stays: true },
    { name: `lock.2147483647.${tail}.tmp`, stays: false },
    { name: "of-nobody.lock", stays: false },
  ])("$name in locks/, with nothing in it yet, stays: $stays", async ({ name, stays }) => {
    const store = await newStore();
    await writeFile(join(store.layout.locksDir, name), "");
    const second = await openStore({ dataDir: store.layout.dir });
    await second[Symbol.asyncDispose]();
    expect((await readdir(store.layout.locksDir)).includes(name)).toBe(stays);
  });

  test("a leftover that is a symlink goes, and its target does not", async () => {
    const store = await newStore();
    const target = await newDir();
    await writeFile(join(target, "precious"), "");
    await symlink(target, join(store.layout.tmpDir, `write.2147483647.${tail}.tmp`));
    const second = await openStore({ dataDir: store.layout.dir });
    await second[Symbol.asyncDispose]();
    expect(await readdir(target)).toEqual(["precious"]);
    expect(await readdir(store.layout.tmpDir)).toHaveLength(1);
  });

  test("closes a directory that others could read", async () => {
    const dir = await newDir();
    await chmod(dir, 0o755);
    const store = await openStore({ dataDir: dir });
    await store[Symbol.asyncDispose]();
    expect((await stat(dir)).mode & 0o777).toBe(0o700);
  });

  test("where a file is in the way fails", async () => {
    const dir = await newDir();
    await writeFile(join(dir, "data"), "");
    await expect(openStore({ dataDir: join(dir, "data") })).rejects.toMatchObject({ code: "EEXIST" });
  });
});

describe("ingest", () => {
  test("publishes nothing when filling fails", async () => {
    const store = await newStore();
    const final = join(store.layout.layersDir, "x");
    const failing = ingest(store, async (stage) => {
      await writeFile(stage(final), "half");
      throw new Error("broken");
    });
    await expect(failing).rejects.toThrow("broken");
    expect(await readdir(store.layout.layersDir)).toEqual([]);
    expect(await readdir(store.workspace)).toEqual([]);
  });

  test("publishes in the order of staging, and leaves out what was not written", async () => {
    const store = await newStore();
    const layer = fakeLayer(5);
    expect(layer.blob).toHaveLength(0);
    // A blob that should not be there: the layer has no data.
    await writeFile(layerPaths(store.layout, layer.diffId).blobPath, "damage");
    await putLayer(store, layer);
    expect(await readdir(store.layout.layersDir)).toEqual([`${layer.diffId.slice(7)}.index`]);
    expect(await check(store)).toEqual([]);
  });

  const systemErrors = [
    { code: "ENOSPC", path: undefined, want: "disk-full" },
    { code: "EDQUOT", path: "/data/tmp/x", want: "disk-full" },
    { code: "EACCES", path: "/data/tmp/x", want: "store-unusable" },
    { code: "EROFS", path: "/data/tmp/x", want: "store-unusable" },
    { code: "EIO", path: undefined, want: "disk-failing" },
    { code: "EMFILE", path: undefined, want: "too-many-files" },
    { code: "ENOTDIR", path: "/data/tmp/x", want: "ENOTDIR" },
    // A firewall says so, too.
    { code: "EPERM", path: undefined, want: "EPERM" },
    { code: "EACCES", path: "/run/socket", want: "EACCES" },
  ];
  test.each(systemErrors)("$code on $path, wrapped, becomes $want", ({ code, path, want }) => {
    const system = Object.assign(new Error(code), { code, path });
    const explained = explainDiskError(new Error("cannot write the layer", { cause: system }), "/data");
    expect(explained).toMatchObject(want === code ? { message: "cannot write the layer" } : { code: want });
  });
});

describe("blobs", () => {
  test("are verified when they are written and read", async () => {
    const store = await newStore();
    const bytes = Buffer.from("content");
    const digest = digestOf(bytes);
    expect(await readBlob(store, digest)).toBeUndefined();
    await expect(writeBlob(store, digest, Buffer.from("other"))).rejects.toMatchObject({
      code: "blob-mismatch",
    });
    expect(await readdir(store.workspace)).toEqual([]);
    await writeBlob(store, digest, bytes);
    expect(await readBlob(store, digest)).toEqual(bytes);
    await truncate(blobPath(store.layout, digest), 3);
    expect(await readBlob(store, digest)).toBeUndefined();
    await writeBlob(store, digest, bytes);
    expect(await readBlob(store, digest)).toEqual(bytes);
    const long = digestOf(bytes, "sha512");
    await writeBlob(store, long, bytes);
    expect(await readBlob(store, long)).toEqual(bytes);
  });
});

describe("names in the store", () => {
  const digest = digestOf("x");
  const rows: readonly (readonly [string, boolean])[] = [
    [`blob ${digest}`, true],
    [`layer ${digestOf("x", "sha512")}`, true],
    [`rootfs ${digest.slice(7)}`, true],
    [`rootfs ${digest}`, false],
    [`layer ${digest.slice(7)}`, false],
    [`image ${digest}`, false],
    [`layer ${digest} `, false],
    ["layer ../../x", false],
    ["layer", false],
    ["", false],
  ];
  test.each(rows)("%j: %s", (text, isName) => {
    expect(isStoredName(text)).toBe(isName);
  });
});
