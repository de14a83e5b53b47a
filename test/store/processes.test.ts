/** The store between processes, some of which are killed. */
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { checkStore } from "../../src/store/check.ts";
import { collect } from "../../src/store/collect.ts";
import { readRecords } from "../../src/store/records.ts";
import { openStore } from "../../src/store/store.ts";
import type { Store } from "../../src/store/store.ts";
import { compileChildren } from "./children.ts";
import type { Children } from "./children.ts";
import { fakeImage, inspectIndex, putImage, useImage } from "./fake-image.ts";

let children: Children;
beforeAll(async () => {
  children = await compileChildren();
});
afterAll(async () => {
  await children[Symbol.asyncDispose]();
});

async function newDir(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), "flamebox-store-"));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

/** Opens the store as the next command does, and wants it sound, with nothing of the dead left in it. */
async function expectSound(dir: string, andThen?: (store: Store) => Promise<void>): Promise<void> {
  await using store = await openStore({ dataDir: dir });
  expect(await checkStore(store, { inspectIndex })).toEqual([]);
  const { tmpDir, leasesDir, locksDir } = store.layout;
  expect(await readdir(tmpDir)).toHaveLength(1);
  expect(await readdir(leasesDir)).toEqual([]);
  expect(await readdir(locksDir)).toEqual([]);
  await andThen?.(store);
}

describe("the store between processes", () => {
  test("three processes that put one image at once write each layer once", async () => {
    const dir = await newDir();
    const ended = await Promise.all([1, 2, 3].map(() => children.start("put", dir, "3").ended));
    expect(ended.map(({ stderr }) => stderr)).toEqual(["", "", ""]);
    const written = ended.map(({ result }) => result["written"] ?? -1);
    expect(written.reduce((sum, one) => sum + one, 0)).toBe(fakeImage(3).layers.length);
    await expectSound(dir);
  });

  test("eight processes put, use, remove and collect the same images", { timeout: 60_000 }, async () => {
    const dir = await newDir();
    const seeds = [11, 22, 33, 44, 55, 66, 77, 88];
    const ended = await Promise.all(seeds.map((seed) => children.start("churn", dir, `${seed}`, "12").ended));
    expect(ended.map(({ stderr }) => stderr).join("")).toBe("");
    const total = (key: string) => ended.reduce((sum, { result }) => sum + (result[key] ?? 0), 0);
    expect(total("put")).toBe(seeds.length * 12);
    expect(total("used")).toBeGreaterThan(0);
    expect(total("collected")).toBeGreaterThan(0);
    await expectSound(dir);
  });
});

describe("the store after SIGKILL", () => {
  test("at every change of the file system", { timeout: 120_000 }, async () => {
    const whole = await children.start("kill-at", await newDir(), "0").ended;
    expect(whole.stderr).toBe("");
    const operations = whole.result["operations"] ?? 0;
    expect(operations).toBeGreaterThan(50);

    const killAndCheck = async (n: number) => {
      const dir = await newDir();
      const { signal, stderr } = await children.start("kill-at", dir, `${n}`).ended;
      expect({ n, signal, stderr }).toEqual({ n, signal: "SIGKILL", stderr: "" });
      await expectSound(dir, async (store) => {
        await putImage(store, 4);
        expect(await useImage(store, 4, async () => {})).toBe("used");
      });
    };
    const points = Array.from({ length: operations }, (_, i) => i + 1);
    const worker = async () => {
      for (let n = points.shift(); n !== undefined; n = points.shift()) await killAndCheck(n);
    };
    // Each one to its end, so that none starts a process after the test.
    const outcomes = await Promise.allSettled([worker(), worker()]);
    for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
  });

  test("at 30 moments of its own choosing, in one store", { timeout: 120_000 }, async () => {
    const dir = await newDir();
    for (let kill = 1; kill <= 30; kill++) {
      const child = children.start("forever", dir, `${kill}`);
      await child.ready;
      await sleep((kill * 7919) % 61);
      child.process.kill("SIGKILL");
      const { signal, stderr } = await child.ended;
      expect({ kill, signal, stderr }).toEqual({ kill, signal: "SIGKILL", stderr: "" });
      await expectSound(dir);
    }
    await using store = await openStore({ dataDir: dir });
    for (let number = 0; number < 6; number++) await putImage(store, number);
    await collect(store);
    expect((await readRecords(store)).images).toHaveLength(6);
    expect(await checkStore(store, { inspectIndex })).toEqual([]);
  });
});
