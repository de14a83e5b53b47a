/** What an image as a whole may take: many layers, each of which would be taken alone. */
import { readdir } from "node:fs/promises";
import { gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { ImageBudget } from "../../src/images/budget.ts";
import type { ImageLimits } from "../../src/images/budget.ts";
import { importImage } from "../../src/images/import.ts";
import { requireRoom } from "../../src/store/room.ts";
import { archive, entry } from "../support/tar-builder.ts";
import { expectClean, newStore, pull } from "./fixtures.ts";
import { amd64, memorySource } from "./memory-source.ts";

const MIB = 2 ** 20;
/** Of 127 layers, all different, each a MiB of zeros and a few entries. */
const bomb = Array.from({ length: 127 }, (_, i) =>
  archive(entry({ name: `zeros-${i}` }, Buffer.alloc(MIB)), entry({ name: `a-${i}` }, "a")),
);
const bytes = bomb.reduce((sum, { length }) => sum + length, 0);

describe("an image of 127 layers", () => {
  test.each<[name: string, limits: ImageLimits, says: string, option: string]>([
    ["bytes", { maxBytes: 20 * MIB }, `unpack to more than ${20 * MIB} bytes`, "FLAMEBOX_MAX_IMAGE_SIZE"],
    ["entries", { maxEntries: 100 }, "have more than 100 entries", "FLAMEBOX_MAX_IMAGE_ENTRIES"],
    ["one byte too few", { maxBytes: bytes - 1 }, `more than ${bytes - 1} bytes`, "imageLimits.maxBytes"],
  ])("is stopped by its %s", async (_, limits, says, option) => {
    const store = await newStore();
    await expect(pull(store, "bomb", memorySource(bomb), { limits })).rejects.toMatchObject({
      code: "image-too-large",
      message: expect.stringContaining(says) as string,
      hint: expect.stringContaining(option) as string,
    });
    const layers = (await readdir(store.layout.layersDir)).filter((name) => name.endsWith(".index"));
    expect(layers.length).toBeLessThan(limits.maxBytes === bytes - 1 ? 127 : 60);
    await expectClean(store);
  });

  test("benign: within the bounds it is pulled, and layers that are here count as well", async () => {
    const store = await newStore();
    await pull(store, "large", memorySource(bomb), { limits: { maxBytes: bytes, maxEntries: 254 } });
    await pull(store, "large", memorySource(bomb), { limits: { maxBytes: bytes, maxEntries: 254 } });
    const more = { limits: { maxEntries: 253 } };
    await expect(pull(store, "again", memorySource(bomb), more)).rejects.toMatchObject({
      code: "image-too-large",
    });
    await expectClean(store);
  });

  test("an imported archive is bounded by what it unpacks to", async () => {
    const store = await newStore();
    const zeros = gzipSync(archive(entry({ name: "zeros" }, Buffer.alloc(30 * MIB))));
    const take = async (maxBytes: number) =>
      await importImage(store, chunks(zeros), undefined, { platform: amd64, limits: { maxBytes } });
    await expect(take(20 * MIB)).rejects.toMatchObject({ code: "image-too-large" });
    await expectClean(store);
    await take(31 * MIB);
  });
});

async function* chunks(data: Buffer): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < data.length; at += 5000) yield new Uint8Array(data.subarray(at, at + 5000));
}

describe("room on the disk", () => {
  test("what cannot fit is not begun", async () => {
    const store = await newStore();
    requireRoom(store, MIB);
    expect(() => requireRoom(store, 2 ** 60)).toThrow(/MiB left, and the image takes at least/);
    const source = memorySource(bomb);
    const huge = {
      ...source,
      async resolve(options: Parameters<typeof source.resolve>[0]) {
        const resolved = await source.resolve(options);
        const text = Buffer.from(resolved.manifestBytes).toString();
        const manifest = JSON.parse(text) as { layers: { size: number }[] };
        for (const layer of manifest.layers) layer.size = 2 ** 40;
        return { ...resolved, manifestBytes: Buffer.from(JSON.stringify(manifest)) };
      },
    };
    await expect(pull(store, "huge", huge)).rejects.toMatchObject({ code: "disk-full" });
    // The config, and nothing else.
    expect(source.opened).toEqual([source.configDigest]);
    await expectClean(store);
  });

  test("growth is counted once", async () => {
    const budget = new ImageBudget(await newStore(), { maxBytes: 100, maxEntries: 10 });
    const meter = budget.meter();
    for (const tarBytes of [10, 50, 100]) meter({ tarBytes, entryCount: 1 });
    expect(() => meter({ tarBytes: 101, entryCount: 1 })).toThrow("unpack to more than 100 bytes");
  });
});
