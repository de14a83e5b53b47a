/** Pulling images, from a source in memory into a real store. */
import { link, readFile, readdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { findImage, imageConfig, listImages, removeImage } from "../../src/images/images.ts";
import { openRootfs } from "../../src/images/rootfs.ts";
import { METADATA_VERSION } from "../../src/rootfs/metadata.ts";
import { ROOTFS_VERSION } from "../../src/store/layout.ts";
import type { ProgressEvent } from "../../src/util/progress.ts";
import { amd64, arm64, memorySource } from "./memory-source.ts";
import type { MemorySource } from "./memory-source.ts";
import {
  app,
  base,
  big,
  codeOf,
  expectClean,
  newDir,
  newStore,
  noisy,
  onlyNames,
  other,
  pull,
  run,
  unpack,
} from "./fixtures.ts";

describe("pull", () => {
  test("makes an image that can be listed, opened and read", async () => {
    const store = await newStore();
    const source = memorySource([base, app], { config: { Cmd: ["/srv/app"] } });
    const image = await pull(store, "app", source);

    const [info] = await listImages(store);
    expect(info).toMatchObject({
      reference: "app:latest",
      repository: "app",
      tag: "latest",
      digest: source.manifestDigest,
      id: source.configDigest,
      platform: "linux/amd64",
    });
    const { disk, vmdkPath, lease } = await openRootfs(store, image);
    expect(disk.segments).toHaveLength(3);
    expect(info?.sizeBytes).toBe(disk.sizeBytes);
    expect(await readFile(vmdkPath, "utf8")).toContain(
      `"../layers/${source.layers[0]?.diffId.slice(7)}.blob"`,
    );
    await lease.release();
    expect((await imageConfig(store, image)).config?.Cmd).toEqual(["/srv/app"]);

    const tree = await unpack(store, "app");
    expect(await readFile(join(tree, "srv/app"), "utf8")).toBe(big("app "));
    expect(await readFile(join(tree, "etc/os-release"), "utf8")).toBe("NAME=test\n");
    await expectClean(store);
    expect(ROOTFS_VERSION).toBe(METADATA_VERSION);
  });

  test("keeps what is private private", async () => {
    const store = await newStore(join(await newDir(), "data"));
    await pull(store, "app", memorySource([base, app]));
    const { dir, layersDir, tmpDir } = store.layout;
    for (const path of [dir, layersDir, tmpDir, store.workspace, join(dir, "blobs/sha256")]) {
      expect((await stat(path)).mode & 0o777).toBe(0o700);
    }
    for (const name of await readdir(layersDir)) {
      expect((await stat(join(layersDir, name))).mode & 0o777).toBe(0o600);
    }
  });

  test("asks for nothing that is here", async () => {
    const store = await newStore();
    await pull(store, "app:1", memorySource([base, app]));
    const again = memorySource([base, app]);
    const events: ProgressEvent[] = [];
    await pull(store, "app:1", again, { onProgress: (event: ProgressEvent) => events.push(event) });
    expect(again.opened).toEqual([]);
    const told = events.map(({ label, state }) => `${label} ${state}`);
    const layers = again.layers.map(({ digest }) => `layer ${digest.slice(7, 19)} cached`);
    expect(new Set(told)).toEqual(new Set([...layers, "root file system cached"]));
    const next = memorySource([base, other]);
    await pull(store, "app:2", next);
    expect(next.opened).toEqual([next.configDigest, next.layers[1]?.digest]);
  });

  test("fetches a layer that is in the image twice once", async () => {
    const store = await newStore();
    const source = memorySource([base, app, base]);
    const image = await pull(store, "app", source);
    expect(source.opened.filter((digest) => digest === source.layers[0]?.digest)).toHaveLength(1);
    expect(image.diffIds).toHaveLength(3);
    expect(await readFile(join(await unpack(store, "app"), "bin/tool"), "utf8")).toBe(big("tool "));
    await expectClean(store);
  });

  test("takes layers without data, and images without layers", async () => {
    const store = await newStore();
    await pull(store, "small", memorySource([onlyNames]));
    await pull(store, "empty", memorySource([]));
    expect((await readdir(store.layout.layersDir)).filter((name) => name.endsWith(".blob"))).toEqual([]);
    expect(await readFile(join(await unpack(store, "small"), "etc/small"), "utf8")).toBe("small\n");
    expect(await readdir(await unpack(store, "empty"))).toEqual([]);
    await expectClean(store);
  });

  test("tells of each layer until it is done", async () => {
    const store = await newStore();
    const source = memorySource([base, noisy]);
    const events: ProgressEvent[] = [];
    await pull(store, "app", source, { onProgress: (event: ProgressEvent) => events.push(event) });
    for (const { digest, size } of source.layers) {
      const own = events.filter(({ id }) => id === `layer:${digest}`);
      expect(own.at(-1)).toMatchObject({ state: "done", current: size, total: size, unit: "bytes" });
      expect(own.slice(0, -1).every(({ state }) => state === "running")).toBe(true);
    }
  });

  test("by three at once downloads each layer once", async () => {
    const dataDir = await newDir();
    const stores = [await newStore(dataDir), await newStore(dataDir), await newStore(dataDir)];
    const sources = stores.map(() => memorySource([base, app, noisy]));
    await Promise.all(stores.map((store, i) => pull(store, "app", sources[i] as MemorySource)));
    const layers = new Set(sources[0]?.layers.map(({ digest }) => digest));
    const opened = sources.flatMap(({ opened }) => opened).filter((digest) => layers.has(digest));
    expect(opened).toHaveLength(3);
    for (const store of stores) await expectClean(store);
  });
});

async function mountSmall(dir: string, sizeKib: number): Promise<boolean> {
  try {
    await run("mount", ["-t", "tmpfs", "-o", `size=${sizeKib}k,mode=0700`, "flamebox-test", dir]);
  } catch {
    return false;
  }
  onTestFinished(async () => void (await run("umount", ["-l", dir])));
  return true;
}

describe("pull that fails", () => {
  test("ends the other layers, keeps the image that was there, leaves nothing", async () => {
    const store = await newStore();
    const before = await pull(store, "app", memorySource([base]));
    const ended: string[] = [];
    const source: MemorySource = memorySource([noisy, app, other], {
      async beforeChunk(digest, offset) {
        if (digest === source.layers[1]?.digest) throw new Error("the line is dead");
        // The first layer never gets to its end by itself.
        if (digest === source.layers[0]?.digest && offset > 8192) {
          await new Promise((resolve) => setTimeout(resolve, 10));
          ended.push("waited");
        }
      },
    });
    await expect(pull(store, "app", source)).rejects.toThrow("the line is dead");
    expect(ended.length).toBeLessThan(20);
    expect(await findImage(store, "app")).toEqual(before);
    await expectClean(store);
  });

  test("by its signal rejects with the signal's reason", async () => {
    const store = await newStore();
    const controller = new AbortController();
    const source = memorySource([noisy, app], { beforeChunk: () => controller.abort(new Error("enough")) });
    await expect(pull(store, "app", source, { signal: controller.signal })).rejects.toThrow("enough");
    expect(await listImages(store)).toEqual([]);
    await expectClean(store);
  });

  test("for another platform says so", async () => {
    const store = await newStore();
    expect(await codeOf(pull(store, "app", memorySource([base], { platform: arm64 })))).toBe(
      "platform-not-found",
    );
    expect(await listImages(store)).toEqual([]);
  });

  test("because its layers make no tree leaves the reference as it was", async () => {
    const store = await newStore();
    const before = await pull(store, "app", memorySource([base]));
    const dir = await newDir();
    await writeFile(join(dir, "a"), "content");
    await link(join(dir, "a"), join(dir, "b"));
    await run("tar", ["-C", dir, "-cf", join(dir, "x.tar"), "a", "b"]);
    // What is left is a hard link to nothing.
    await run("tar", ["--delete", "-f", join(dir, "x.tar"), "a"]);
    const source = memorySource([base, await readFile(join(dir, "x.tar"))]);
    const error = await pull(store, "app", source).catch((error: unknown) => error);
    expect(error).toMatchObject({ name: "RootfsError" });
    expect(await findImage(store, "app")).toEqual(before);
    await expectClean(store);
  });

  test("because a layer is not what the config says", async () => {
    const store = await newStore();
    const [honest, liar] = [memorySource([base]), memorySource([app])];
    const resolved = await liar.resolve({ platform: amd64 });
    // The manifest of one image, the layer bytes of another.
    const source = {
      ...honest,
      async resolve() {
        const right = await honest.resolve({ platform: amd64 });
        const openBlob: typeof right.openBlob = (descriptor, options) =>
          descriptor.digest === honest.configDigest
            ? right.openBlob(descriptor, options)
            : resolved.openBlob(liar.layers[0] ?? descriptor, options);
        return { ...right, openBlob };
      },
    };
    expect(await codeOf(pull(store, "app", source))).toBe("diff-id-mismatch");
    await expectClean(store);
    expect(await readdir(store.layout.layersDir)).toEqual([]);
  });

  test.for([80, 150, 250, 500])("for lack of space (%i KiB) leaves nothing", async (sizeKib, context) => {
    const dir = await newDir();
    context.skip(!(await mountSmall(dir, sizeKib)), "mounting a small tmpfs needs root");
    const store = await newStore(join(dir, "data"));
    const error = await pull(store, "app", memorySource([base, noisy])).catch((error: unknown) => error);
    expect(error).toMatchObject({ code: "disk-full", message: `no space left in ${store.layout.dir}` });
    await expectClean(store);
    expect(await listImages(store)).toEqual([]);
  });

  test("removing an image works on a full disk", async (context) => {
    const dir = await newDir();
    context.skip(!(await mountSmall(dir, 1000)), "mounting a small tmpfs needs root");
    await pull(await newStore(join(dir, "data")), "app", memorySource([base, noisy]));
    await run("dd", ["if=/dev/zero", `of=${join(dir, "filler")}`, "bs=4k"]).catch(() => {});
    await expect(writeFile(join(dir, "more"), "x")).rejects.toMatchObject({ code: "ENOSPC" });
    const store = await newStore(join(dir, "data"));
    expect((await removeImage(store, "app")).reclaimedBytes).toBeGreaterThan(600_000);
    await pull(store, "app", memorySource([base]));
    await expectClean(store);
  });
});
