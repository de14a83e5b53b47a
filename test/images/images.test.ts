/** Finding and removing images of a real store. */
import { readFile, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { findImage, fitsPlatform, infoOf, listImages, prune, removeImage } from "../../src/images/images.ts";
import { pullImage } from "../../src/images/pull.ts";
import { openRootfs } from "../../src/images/rootfs.ts";
import { parse } from "../../src/reference/reference.ts";
import { amd64, arm64, memorySource } from "./memory-source.ts";
import { app, base, big, codeOf, expectClean, newStore, other, pull, unpack } from "./fixtures.ts";

describe("find", () => {
  test("by name, digest and id", async () => {
    const store = await newStore();
    const source = memorySource([base]);
    await pull(store, "localhost:5000/team/app:1", source);
    await pull(store, "app", memorySource([app]));
    await pull(store, `pinned@${source.manifestDigest}`, source);
    const [id, manifest] = [source.configDigest, source.manifestDigest];
    const rows: readonly (readonly [string, string | undefined])[] = [
      ["app", "docker.io/library/app:latest"],
      ["docker.io/library/app:latest", "docker.io/library/app:latest"],
      ["app:2", undefined],
      ["localhost:5000/team/app:1", "localhost:5000/team/app:1"],
      ["localhost:5000/team/app", undefined],
      [`localhost:5000/team/app@${manifest}`, "localhost:5000/team/app:1"],
      [`localhost:5000/team/app:7@${manifest}`, "localhost:5000/team/app:1"],
      [`other@${manifest}`, undefined],
      [`pinned@${manifest}`, `docker.io/library/pinned@${manifest}`],
      [id, `docker.io/library/pinned@${manifest}`],
      [id.slice(7), `docker.io/library/pinned@${manifest}`],
      [id.slice(7, 19), `docker.io/library/pinned@${manifest}`],
      [id.slice(0, 19), `docker.io/library/pinned@${manifest}`],
      [manifest.slice(7, 19), `docker.io/library/pinned@${manifest}`],
      [`sha256:${"0".repeat(64)}`, undefined],
      ["0000000000", undefined],
    ];
    for (const [text, reference] of rows) {
      expect([text, (await findImage(store, text))?.reference]).toEqual([text, reference]);
    }
    expect(await codeOf(findImage(store, "Not A Reference"))).toBe("invalid-reference");
  });

  test("by an id that two images share is refused", async () => {
    const store = await newStore();
    // 40 images: two of them begin with the same 4 digits only by chance, so their records are made to.
    const image = await pull(store, "app:1", memorySource([base]));
    const second = await pull(store, "app:2", memorySource([app]));
    const { writeRecord } = await import("../../src/store/records.ts");
    const twin =
      `${image.configDigest.slice(0, 20)}${second.configDigest.slice(20)}` as typeof image.configDigest;
    await writeRecord(store, { ...second, configDigest: twin });
    expect(await codeOf(findImage(store, image.configDigest.slice(7, 15)))).toBe("ambiguous-image-id");
    expect((await findImage(store, image.configDigest.slice(7, 40)))?.reference).toBe(image.reference);
  });

  test("one reference for two platforms: the record has the last one", async () => {
    const store = await newStore();
    const first = await pull(store, "app", memorySource([base]));
    expect([fitsPlatform(first, amd64), fitsPlatform(first, arm64)]).toEqual([true, false]);
    const source = memorySource([base], { platform: arm64 });
    const second = await pullImage(store, parse("app"), source, { platform: arm64 });
    expect((await infoOf(store, second)).platform).toBe("linux/arm64");
    expect(await findImage(store, "app")).toEqual(second);
  });
});

describe("remove", () => {
  test("deletes what no other image needs", async () => {
    const store = await newStore();
    const first = memorySource([base, app]);
    await pull(store, "first", first);
    await pull(store, "second", memorySource([base, other]));
    const result = await removeImage(store, "first");
    expect(result.untagged).toEqual(["first:latest"]);
    expect(new Set(result.deleted)).toEqual(
      new Set([first.configDigest, first.manifestDigest, first.layers[1]?.diffId]),
    );
    expect(result.reclaimedBytes).toBeGreaterThan(9000);
    expect(await readFile(join(await unpack(store, "second"), "bin/tool"), "utf8")).toBe(big("tool "));
    await expectClean(store);
    await removeImage(store, "second");
    expect(await readdir(store.layout.layersDir)).toEqual([]);
    expect(await readdir(store.layout.rootfsDir)).toEqual([]);
    expect(await codeOf(removeImage(store, "second"))).toBe("image-not-found");
  });

  test("of a name that is nearly another's tells the other", async () => {
    const store = await newStore();
    await pull(store, "postgres:17", memorySource([base]));
    const hintFor = async (text: string): Promise<unknown> =>
      await removeImage(store, text).catch((error: unknown) => Reflect.get(error as Error, "hint"));
    const meant = "did you mean postgres:17? See flamebox images";
    for (const text of ["postgers:17", "postgres:16", "postgres", "postgers", "postgres:latest"])
      expect([text, await hintFor(text)]).toEqual([text, meant]);
    expect(await hintFor("redis")).toBe("flamebox images lists what is here");
  });

  test("by one of two names keeps the image; by id removes both", async () => {
    const store = await newStore();
    const source = memorySource([base]);
    await pull(store, "app:1", source);
    await pull(store, "app:2", source);
    expect(await removeImage(store, "app:1")).toMatchObject({ untagged: ["app:1"], deleted: [] });
    await pull(store, "app:1", source);
    const id = source.configDigest.slice(7, 19);
    await expect(removeImage(store, id)).rejects.toMatchObject({ code: "several-names" });
    const byId = await removeImage(store, id, { force: true });
    expect(byId.untagged).toEqual(["app:1", "app:2"]);
    expect(byId.deleted).toContain(source.layers[0]?.diffId);
    expect(await listImages(store)).toEqual([]);
  });

  test("by an id that has names in several repositories only when it is forced", async () => {
    const store = await newStore();
    const source = memorySource([base]);
    for (const name of ["app:1", "localhost:5000/team/app:1", "app:2"]) await pull(store, name, source);
    for (const id of [source.configDigest, source.configDigest.slice(7, 19), source.manifestDigest])
      await expect(removeImage(store, id)).rejects.toMatchObject({
        code: "several-names",
        message: expect.stringContaining("app:1, app:2, localhost:5000/team/app:1"),
      });
    expect(await listImages(store)).toHaveLength(3);
    expect((await removeImage(store, "app:2")).untagged).toEqual(["app:2"]);
    const { untagged, deleted } = await removeImage(store, source.configDigest, { force: true });
    expect(untagged).toEqual(["app:1", "localhost:5000/team/app:1"]);
    expect(deleted).toContain(source.configDigest);
    expect(await listImages(store)).toEqual([]);
  });

  test("keeps what a lease names until the lease ends", async () => {
    const store = await newStore();
    const image = await pull(store, "app", memorySource([base, app]));
    const { disk, vmdkPath, lease } = await openRootfs(store, image);
    expect(await removeImage(store, "app")).toEqual({
      untagged: ["app:latest"],
      deleted: [],
      reclaimedBytes: 0,
    });
    for (const { path, sizeBytes } of disk.segments) expect((await stat(path)).size).toBe(sizeBytes);
    await readFile(vmdkPath);
    await lease.release();
    const { deleted, reclaimedBytes } = await prune(store);
    expect(deleted).toHaveLength(4);
    expect(reclaimedBytes).toBeGreaterThan(disk.sizeBytes);
  });

  test("an old version goes once its tag has moved", async () => {
    const store = await newStore();
    const old = memorySource([base, app]);
    await pull(store, "app", old);
    await pull(store, "app", memorySource([base, other]));
    expect((await prune(store)).deleted).toContain(old.layers[1]?.diffId);
    await expectClean(store);
  });
});
