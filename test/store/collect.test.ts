/** Collection, alone and against leases. */
import { readdir, rm, truncate, writeFile } from "node:fs/promises";
import { promises } from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { collect } from "../../src/store/collect.ts";
import { layerPaths, stored } from "../../src/store/layout.ts";
import { collectLockPath, leasedNames, takeLease } from "../../src/store/lease.ts";
import { namesOf, removeRecord } from "../../src/store/records.ts";
import { bootId } from "../../src/util/liveness.ts";
import { acquireLock } from "../../src/util/lock.ts";
import { fakeImage, fakeLayer, hasLayer, putImage, putLayer } from "./fake-image.ts";
import { check, kindsOf, newStore } from "./fixtures.ts";

/** Runs `job` right after the first rename out of `dir`, in the middle of whoever does it. */
function duringFirstMoveFrom(dir: string, job: () => Promise<void>): void {
  const original = promises.rename;
  let isFirst = true;
  const spy = vi.spyOn(promises, "rename").mockImplementation(async (from, to) => {
    await original(from, to);
    if (!isFirst || !String(from).startsWith(dir)) return;
    isFirst = false;
    await job();
  });
  syncBuiltinESMExports();
  onTestFinished(() => {
    spy.mockRestore();
    syncBuiltinESMExports();
  });
}

describe("collection", () => {
  test("takes what nothing names, whole and in parts", async () => {
    const store = await newStore();
    await putImage(store, 1);
    await putImage(store, 2);
    const orphan = fakeLayer(99);
    await writeFile(layerPaths(store.layout, orphan.diffId).blobPath, orphan.blob);
    expect(await kindsOf(store)).toEqual(["leftover"]);
    await removeRecord(store, fakeImage(1).record.reference);
    const { names, reclaimedBytes } = await collect(store);
    const shared = new Set(namesOf(fakeImage(2).record));
    const gone = namesOf(fakeImage(1).record).filter((name) => !shared.has(name));
    expect(names.toSorted()).toEqual([...gone, stored.layer(orphan.diffId)].toSorted());
    expect(reclaimedBytes).toBeGreaterThan(orphan.blob.length);
    expect(await check(store)).toEqual([]);
    expect((await collect(store)).names).toEqual([]);
    expect(await readdir(store.workspace)).toEqual([]);
  });

  test("leaves alone files that are not FlameBox's", async () => {
    const store = await newStore();
    await writeFile(join(store.layout.layersDir, "README"), "mine");
    await writeFile(join(store.layout.dir, "blobs/sha256/.keep"), "mine");
    await collect(store);
    expect(await kindsOf(store)).toEqual(["foreign", "foreign"]);
  });

  test("leaves what a lease names, also parts", async () => {
    const store = await newStore();
    const layer = fakeLayer(3);
    const lease = await takeLease(store, [stored.layer(layer.diffId)]);
    await writeFile(layerPaths(store.layout, layer.diffId).blobPath, layer.blob);
    expect((await collect(store)).names).toEqual([]);
    await lease.release();
    await lease.release();
    expect((await collect(store)).names).toEqual([stored.layer(layer.diffId)]);
  });

  test("does nothing while a living process's lease cannot be read", async () => {
    const store = await newStore();
    await putLayer(store, fakeLayer(3));
    const lease = await takeLease(store, []);
    const [file = ""] = await readdir(store.layout.leasesDir);
    const path = join(store.layout.leasesDir, file);
    for (const text of ["", "{", "[]", '{"names":["layer ../../x"]}', '{"names":[7]}']) {
      await writeFile(path, text);
      expect(await leasedNames(store)).toBe("unknown");
      expect((await collect(store)).names).toEqual([]);
    }
    await lease.release();
    expect((await collect(store)).names).toHaveLength(1);
  });

  test("takes the leases of the dead with what they named", async () => {
    const store = await newStore();
    await putLayer(store, fakeLayer(3));
    const holder = { pid: 2 ** 31 - 1, startTicks: 1, bootId: bootId() };
    await takeLease(store, [stored.layer(fakeLayer(3).diffId)], { holder });
    expect((await collect(store)).names).toHaveLength(1);
    expect(await readdir(store.layout.leasesDir)).toEqual([]);
  });

  test("puts back what is leased after it has been moved aside", async () => {
    const store = await newStore();
    const [wanted, unwanted] = [fakeLayer(3), fakeLayer(4)];
    await putLayer(store, wanted);
    await putLayer(store, unwanted);
    let taking: Promise<unknown> = Promise.resolve();
    duringFirstMoveFrom(store.layout.layersDir, async () => {
      taking = takeLease(store, [stored.layer(wanted.diffId)]);
      while ((await readdir(store.layout.leasesDir)).length === 0) await sleep(1);
    });
    const collecting = collect(store);
    expect((await collecting).names).toEqual([stored.layer(unwanted.diffId)]);
    await taking;
    expect(await hasLayer(store, wanted)).toBe(true);
    expect(await check(store)).toEqual([]);
  });

  test("does not put back over what was published meanwhile", async () => {
    const store = await newStore();
    const layer = fakeLayer(3);
    await putLayer(store, layer);
    const { blobPath: blob } = layerPaths(store.layout, layer.diffId);
    // What is moved aside is damaged; what somebody publishes meanwhile is not.
    await truncate(blob, 4096);
    duringFirstMoveFrom(store.layout.layersDir, async () => {
      // Named, but not waited for: this is what a reader does whose patience with the collector is over.
      void takeLease(store, [stored.layer(layer.diffId)]);
      while ((await readdir(store.layout.leasesDir)).length === 0) await sleep(1);
      await rm(blob, { force: true });
      await putLayer(store, layer);
    });
    expect((await collect(store)).names).toEqual([]);
    expect(await hasLayer(store, layer)).toBe(true);
    expect(await check(store)).toEqual([]);
  });

  test("makes a new lease wait for it", async () => {
    const store = await newStore();
    const collector = await acquireLock(collectLockPath(store));
    let isTaken = false;
    const taking = takeLease(store, []).then((lease) => {
      isTaken = true;
      return lease;
    });
    await sleep(50);
    expect(isTaken).toBe(false);
    await collector.release();
    await (await taking).release();

    const controller = new AbortController();
    const second = await acquireLock(collectLockPath(store));
    const waiting = takeLease(store, [], { signal: controller.signal });
    controller.abort(new Error("enough"));
    await expect(waiting).rejects.toThrow("enough");
    expect(await readdir(store.layout.leasesDir)).toEqual([]);
    await second.release();
  });
});
