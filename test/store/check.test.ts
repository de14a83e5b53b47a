/** What checkStore finds. */
import { readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { blobPath, layerPaths, recordPath } from "../../src/store/layout.ts";
import type { Store } from "../../src/store/store.ts";
import { fakeImage, putImage } from "./fake-image.ts";
import { check, kindsOf, newStore } from "./fixtures.ts";

describe("checkStore", () => {
  const [layer] = fakeImage(2).layers.slice(1);
  const rows: readonly {
    readonly name: string;
    readonly harm: (store: Store) => Promise<void>;
    readonly kinds: readonly string[];
  }[] = [
    { name: "nothing wrong", harm: async () => {}, kinds: [] },
    {
      name: "a blob with other content",
      harm: (store) => writeFile(blobPath(store.layout, fakeImage(2).record.configDigest), "x"),
      kinds: ["damaged"],
    },
    {
      name: "a blob that is gone",
      harm: (store) => rm(blobPath(store.layout, fakeImage(2).record.configDigest)),
      kinds: ["missing"],
    },
    {
      name: "a layer that is gone",
      harm: async (store) => {
        const { indexPath, blobPath: blob } = layerPaths(store.layout, layer?.diffId as never);
        await rm(indexPath);
        await rm(blob);
      },
      kinds: ["missing"],
    },
    {
      name: "an index that is gone",
      harm: (store) => rm(layerPaths(store.layout, layer?.diffId as never).indexPath),
      kinds: ["leftover", "missing"],
    },
    {
      name: "an index that is damaged",
      harm: (store) => writeFile(layerPaths(store.layout, layer?.diffId as never).indexPath, "{}"),
      kinds: ["damaged"],
    },
    {
      name: "a layer blob that is too short",
      harm: (store) => truncate(layerPaths(store.layout, layer?.diffId as never).blobPath, 1),
      kinds: ["damaged"],
    },
    {
      name: "a rootfs that is damaged",
      harm: async (store) => {
        const [file = ""] = (await readdir(store.layout.rootfsDir)).filter((name) => name.endsWith(".erofs"));
        await writeFile(join(store.layout.rootfsDir, file), "x");
      },
      kinds: ["damaged"],
    },
    {
      name: "a record that is damaged",
      harm: (store) => writeFile(recordPath(store.layout, fakeImage(2).record.reference), "x"),
      kinds: ["damaged"],
    },
  ];

  test.each(rows)("finds $name", async ({ harm, kinds }) => {
    const store = await newStore();
    await putImage(store, 2);
    await harm(store);
    expect((await kindsOf(store)).toSorted()).toEqual(kinds);
  });

  test("after another put nothing is wrong", async () => {
    const store = await newStore();
    await putImage(store, 2);
    for (const row of rows.slice(0, -1)) await row.harm(store).catch(() => {});
    await putImage(store, 2);
    expect(await check(store)).toEqual([]);
    expect(await readFile(blobPath(store.layout, fakeImage(2).record.configDigest), "utf8")).toBe("config 2");
  });
});
