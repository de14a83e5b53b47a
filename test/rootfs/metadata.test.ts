import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { buildMetadata, mergeLayers, planMetadata } from "../../src/rootfs/metadata.ts";
import { buildLayers, dir, file, hardlink } from "../support/layer-index.ts";
import { openBytes, imageOf } from "../support/erofs-image.ts";
import { scratchDir } from "../support/rootfs-image.ts";
import { SAMPLE, pattern } from "../support/sample-stack.ts";

test("the file is private, whole blocks, and what the result says", async () => {
  using scratch = scratchDir();
  const path = join(scratch.path, "m");
  const layers = buildLayers(SAMPLE);
  const { metadataBlocks, totalBlocks, inodeCount } = await buildMetadata(mergeLayers(layers), { path });
  const stat = statSync(path);
  expect(stat.mode & 0o777).toBe(0o600);
  expect(stat.size).toBe(metadataBlocks * 4096);
  expect(totalBlocks - metadataBlocks).toBe(layers.reduce((sum, { index }) => sum + index.blobBlocks, 0));
  const { superBlock } = openBytes(imageOf(layers));
  expect([superBlock.blocks, superBlock.inos]).toEqual([totalBlocks, inodeCount]);
  expect(readFileSync(path).equals(imageOf(layers).subarray(0, stat.size))).toBe(true);
});

test("the same layers give the same bytes, other layers another UUID", () => {
  const uuid = (...order: number[]): string => {
    const layers = buildLayers([[file("a", "1")], [file("b", "2")]]);
    return Buffer.from(openBytes(imageOf(order.flatMap((at) => layers[at] ?? []))).superBlock.uuid).toString(
      "hex",
    );
  };
  expect(uuid(0, 1)).toBe(uuid(0, 1));
  expect(uuid(0, 1)).not.toBe(uuid(1, 0));
  expect(uuid(0)).not.toBe(uuid(1));
  expect(uuid(0, 1)).toMatch(/^.{12}8.{3}[89ab].{15}$/);
});

test("blobs follow the metadata in the order of the layers; a layer without one takes no place", () => {
  const layers = buildLayers([[file("a", pattern(5000, 1))], [dir("d")], [file("c", pattern(4096, 2))]]);
  const erofs = openBytes(imageOf(layers));
  const { primaryBlocks } = planMetadata(mergeLayers(layers));
  expect([...erofs.extents(erofs.lookup("a"))][0]?.imageOffset).toBe(primaryBlocks * 4096);
  expect([...erofs.extents(erofs.lookup("c"))][0]?.imageOffset).toBe((primaryBlocks + 2) * 4096);
});

test("a layer that cannot be applied is refused", () => {
  const bad = buildLayers([[hardlink("a", "b")]]);
  expect(() => mergeLayers(bad)).toThrow(expect.objectContaining({ code: "invalid-layer" }));
});

test("an abort leaves no file", async () => {
  using scratch = scratchDir();
  const path = join(scratch.path, "m");
  const stop = new AbortController();
  const built = buildMetadata(mergeLayers(buildLayers(SAMPLE)), { path, signal: stop.signal });
  stop.abort();
  await expect(built).rejects.toThrow(/abort/);
  expect(existsSync(path)).toBe(false);
});

test("a file that is there is not touched", async () => {
  using scratch = scratchDir();
  const path = join(scratch.path, "m");
  writeFileSync(path, "mine");
  await expect(buildMetadata(mergeLayers([]), { path })).rejects.toMatchObject({ code: "EEXIST" });
  expect(readFileSync(path, "utf8")).toBe("mine");
});
