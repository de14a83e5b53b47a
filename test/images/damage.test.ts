/** Damaged images are noticed before they are used, and repaired by a pull. */
import { copyFile, open, readFile, rename, rm, stat, truncate, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { listImages, prune } from "../../src/images/images.ts";
import { openRootfs } from "../../src/images/rootfs.ts";
import { inspectRootfs } from "../../src/store/rootfs.ts";
import { stampFile } from "../../src/store/stamp.ts";
import { blobPath, layerPaths, rootfsKey, rootfsPaths } from "../../src/store/layout.ts";
import { memorySource } from "./memory-source.ts";
import { app, base, big, codeOf, expectClean, newStore, problemsOf, pull, unpack } from "./fixtures.ts";

async function flip(path: string, position: number): Promise<void> {
  const handle = await open(path, "r+");
  try {
    const { size } = await handle.stat();
    const at = position < 0 ? size + position : position;
    const byte = Buffer.alloc(1);
    await handle.read(byte, 0, 1, at);
    byte[0] = (byte[0] ?? 0) ^ 0x10;
    await handle.write(byte, 0, 1, at);
  } finally {
    await handle.close();
  }
}

describe("damage", () => {
  interface Damage {
    readonly name: string;
    readonly damage: (at: {
      blob: string;
      stamp: string;
      index: string;
      config: string;
      manifest: string;
      metadata: string;
      vmdk: string;
      summary: string;
    }) => Promise<void>;
    /** What a run sees: it heals by itself, or asks for a pull. */
    readonly opening: "heals" | "image-incomplete" | "unaware";
  }
  const rows: readonly Damage[] = [
    { name: "blob truncated", damage: ({ blob }) => truncate(blob, 4096), opening: "image-incomplete" },
    { name: "blob empty", damage: ({ blob }) => truncate(blob, 0), opening: "image-incomplete" },
    { name: "blob grown", damage: ({ blob }) => truncate(blob, 2 ** 20), opening: "image-incomplete" },
    { name: "blob flipped", damage: ({ blob }) => flip(blob, 1000), opening: "image-incomplete" },
    { name: "blob's last byte flipped", damage: ({ blob }) => flip(blob, -1), opening: "image-incomplete" },
    {
      name: "blob flipped, and its time set back",
      damage: async ({ blob }) => {
        const { atime, mtime } = await stat(blob);
        await flip(blob, 1000);
        await utimes(blob, atime, mtime);
      },
      opening: "image-incomplete",
    },
    {
      name: "blob replaced by another of its size",
      damage: async ({ blob }) => {
        const { size, mode } = await stat(blob);
        await writeFile(`${blob}.new`, Buffer.alloc(size, "evil"), { mode });
        await rename(`${blob}.new`, blob);
      },
      opening: "image-incomplete",
    },
    {
      name: "blob replaced, and its stamp gone",
      damage: async ({ blob, stamp }) => {
        await writeFile(blob, Buffer.alloc((await stat(blob)).size, "evil"));
        await rm(stamp);
      },
      opening: "image-incomplete",
    },
    { name: "blob gone", damage: ({ blob }) => rm(blob), opening: "image-incomplete" },
    { name: "index flipped", damage: ({ index }) => flip(index, 200), opening: "unaware" },
    { name: "index's last byte flipped", damage: ({ index }) => flip(index, -1), opening: "unaware" },
    { name: "index truncated", damage: ({ index }) => truncate(index, 100), opening: "unaware" },
    { name: "index empty", damage: ({ index }) => truncate(index, 0), opening: "unaware" },
    { name: "index gone", damage: ({ index }) => rm(index), opening: "unaware" },
    { name: "config flipped", damage: ({ config }) => flip(config, 5), opening: "unaware" },
    { name: "config gone", damage: ({ config }) => rm(config), opening: "unaware" },
    { name: "manifest flipped", damage: ({ manifest }) => flip(manifest, 5), opening: "unaware" },
    { name: "metadata flipped", damage: ({ metadata }) => flip(metadata, 1300), opening: "heals" },
    { name: "metadata truncated", damage: ({ metadata }) => truncate(metadata, 4096), opening: "heals" },
    { name: "metadata gone", damage: ({ metadata }) => rm(metadata), opening: "heals" },
    { name: "disk description changed", damage: ({ vmdk }) => flip(vmdk, 60), opening: "heals" },
    { name: "disk description gone", damage: ({ vmdk }) => rm(vmdk), opening: "heals" },
    { name: "summary is no JSON", damage: ({ summary }) => writeFile(summary, "{"), opening: "heals" },
    {
      name: "summary is of the wrong shape",
      damage: ({ summary }) => writeFile(summary, "[]"),
      opening: "heals",
    },
    { name: "summary gone", damage: ({ summary }) => rm(summary), opening: "heals" },
  ];

  test.each(rows)("$name: found, and repaired by a pull", async ({ damage, opening }) => {
    const store = await newStore();
    const image = await pull(store, "app", memorySource([base, app]));
    const layer = layerPaths(store.layout, image.diffIds[1] as never);
    const rootfs = rootfsPaths(store.layout, rootfsKey(image.diffIds));
    await damage({
      blob: layer.blobPath,
      stamp: layer.stampPath,
      index: layer.indexPath,
      config: blobPath(store.layout, image.configDigest),
      manifest: blobPath(store.layout, image.manifestDigest),
      metadata: rootfs.metadataPath,
      vmdk: rootfs.vmdkPath,
      summary: rootfs.summaryPath,
    });
    // A derived part that is wholly gone is no problem of the store's.
    expect((await problemsOf(store)).length > 0 || opening === "heals").toBe(true);
    const opened = openRootfs(store, image).then(({ lease }) => lease.release());
    expect(await codeOf(opened)).toBe(opening === "image-incomplete" ? opening : "no error");
    expect(opening === "heals" ? await problemsOf(store) : []).toEqual([]);

    const source = memorySource([base, app]);
    await pull(store, "app", source);
    expect(source.opened.length).toBeLessThanOrEqual(1);
    await expectClean(store);
    expect(await readFile(join(await unpack(store, "app"), "srv/app"), "utf8")).toBe(big("app "));
  });

  describe("a blob that was touched and is right", () => {
    const touches = {
      "its times": (blob: string) => utimes(blob, new Date(0), new Date(0)),
      "its inode": async (blob: string) => {
        await copyFile(blob, `${blob}.copy`);
        await rename(`${blob}.copy`, blob);
      },
      "its stamp": (blob: string) => writeFile(blob.replace(/blob$/, "stamp"), "junk"),
      "its stamp, which is gone": (blob: string) => rm(blob.replace(/blob$/, "stamp")),
    } as const;

    test.each(Object.entries(touches))("%s: read once, then known again", async (_, touch) => {
      const store = await newStore();
      const image = await pull(store, "app", memorySource([base, app]));
      const { blobPath } = layerPaths(store.layout, image.diffIds[1] as never);
      const key = rootfsKey(image.diffIds);
      expect((await inspectRootfs(store, key)).state).toBe("sound");
      await touch(blobPath);
      expect((await inspectRootfs(store, key)).state).toBe("unverified");
      await (await openRootfs(store, image)).lease.release();
      expect((await inspectRootfs(store, key)).state).toBe("sound");
      await expectClean(store);
    });
  });

  test("behind the file system's back: the check finds it, stamp or no stamp", async () => {
    const store = await newStore();
    const image = await pull(store, "app", memorySource([base, app]));
    const { blobPath, stampPath } = layerPaths(store.layout, image.diffIds[1] as never);
    await flip(blobPath, 5000);
    // As if the bit had flipped on the disk, where no time changes.
    await stampFile(store, blobPath, stampPath);
    expect((await inspectRootfs(store, rootfsKey(image.diffIds))).state).toBe("sound");
    const problems = await problemsOf(store);
    expect(problems.map(({ kind, path }) => ({ kind, path }))).toEqual([{ kind: "damaged", path: blobPath }]);
    expect(problems[0]?.message).toBe("layer blob has a wrong checksum in the MiB at byte 0");
  });

  test("of the disk in one file: made again, and found by the check", async () => {
    const store = await newStore();
    const image = await pull(store, "app", memorySource([base, app]));
    await using rootfs = await openRootfs(store, image);
    const path = await rootfs.rawFile();
    const whole = await readFile(path);
    expect(await rootfs.rawFile()).toBe(path);
    await flip(path, 9000);
    expect((await problemsOf(store)).map(({ kind, path }) => ({ kind, path }))).toEqual([
      { kind: "damaged", path },
    ]);
    await rootfs.rawFile();
    expect((await readFile(path)).equals(whole)).toBe(true);
    expect(await problemsOf(store)).toEqual([]);
  });

  test("of a record: reported, skipped, pruned", async () => {
    const store = await newStore();
    await pull(store, "app", memorySource([base]));
    await writeFile(join(store.layout.imagesDir, `${"0".repeat(64)}.json`), "{");
    const notices: string[] = [];
    const images = await listImages(store, { onNotice: (notice) => notices.push(notice) });
    expect(images.map(({ reference }) => reference)).toEqual(["app:latest"]);
    expect(notices).toHaveLength(1);
    expect(notices[0]).toMatch(/^image record cannot be used: .*0{64}\.json$/);
    await prune(store);
    await expectClean(store);
  });
});
