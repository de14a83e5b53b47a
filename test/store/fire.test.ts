/**
 * The store under fire: kill -9 in place of every write, sync, rename, link and removal of pull, load, rmi and prune; disks
 * that are full or broken, and no more descriptors; eight processes at once. A short selection runs always, all of it
 * with FLAMEBOX_TEST_FIRE=long (`npm run test:long`).
 */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { openStore } from "../../src/store/store.ts";
import { canTrace, expectHealed, makeChild, newDir } from "./fire/fire.ts";
import type { Child } from "./fire/fire.ts";
import { writeArchive } from "./fire/images.ts";

const isLong = process.env["FLAMEBOX_TEST_FIRE"] === "long";
const isTraceable = await canTrace();
const why = isTraceable ? "" : " (skipped: no strace here, or it may not trace)";

let child: Child;
let counts: ReadonlyMap<string, number>;
let archiveDir: string;
const life = (dir: string): string[] => ["life", dir, join(archiveDir, "images.tar")];
beforeAll(async () => {
  child = await makeChild();
  archiveDir = await newDir();
  {
    await using store = await openStore({ dataDir: join(archiveDir, "store") });
    await writeArchive(store, join(archiveDir, "images.tar"));
  }
  const dir = await newDir();
  counts = isTraceable ? await child.count(life(dir), Object.keys(CALLS)) : new Map();
  await rm(dir, { recursive: true, force: true });
});
afterAll(async () => {
  await rm(archiveDir, { recursive: true, force: true });
  await child[Symbol.asyncDispose]();
});

async function emptyDir(): Promise<string> {
  const dir = await newDir();
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

/** Calls that change something, and how many of each one thread of a life makes at least. */
const CALLS = {
  pwrite64: 10,
  write: 20,
  fsync: 20,
  rename: 30,
  link: 4,
  unlink: 20,
  mkdir: 8,
  rmdir: 2,
  ftruncate: 3,
  openat: 60,
  close: 50,
} as const;
type Call = keyof typeof CALLS;

/** How many processes were killed, and how many were told of an error: what was to be and did not come is none. */
const hits = { killed: 0, failed: 0 };

/** At most `most` of 1 … count, evenly apart, the last one among them. */
function points(count: number, most: number): number[] {
  const chosen = Math.min(count, most);
  return Array.from({ length: chosen }, (_, i) => Math.ceil(((i + 1) * count) / chosen));
}

test("a life that nobody disturbs comes to its end, and leaves a sound store", async () => {
  const dir = await emptyDir();
  const { said, stderr } = await child.run(life(dir));
  expect({ ...said, stderr }).toMatchObject({ done: true, stderr: "" });
  await expectHealed(dir, "undisturbed");
});

describe.skipIf(!isTraceable)(`kill -9${why}`, () => {
  const [perCall, timeout] = isLong ? [150, 900_000] : [2, 60_000];
  test.each(Object.keys(CALLS) as Call[])("in place of %s", { timeout }, async (call) => {
    const count = counts.get(call) ?? 0;
    expect(count).toBeGreaterThanOrEqual(CALLS[call]);
    for (const n of points(count, perCall)) {
      const dir = await emptyDir();
      const ended = await child.run(life(dir), `${call}:signal=SIGKILL:when=${n}`);
      const what = `${call} ${n} of ${count}: ${JSON.stringify(ended)}`;
      // A life makes a few calls more or less than another: one that did not come to this one has come to its end.
      expect(ended.wasHit || ended.said["done"] === true, what).toBe(true);
      if (ended.wasHit) hits.killed++;
      await expectHealed(dir, what, ended.wasHit);
    }
  });
});

/** What a disk and a system can say, where they say it. */
const FAILURES = [
  ["ENOSPC", ["write", "pwrite64", "openat", "mkdir", "rename", "link", "ftruncate", "fsync"]],
  ["EIO", ["write", "pwrite64", "fsync", "rename", "unlink", "ftruncate", "openat"]],
  ["EMFILE", ["openat"]],
  ["EROFS", ["openat", "rename", "unlink", "mkdir"]],
] as const satisfies readonly (readonly [string, readonly Call[]])[];

describe.skipIf(!isTraceable)(`a failing system${why}`, () => {
  const [perCall, timeout] = isLong ? [12, 900_000] : [1, 60_000];
  const rows = FAILURES.flatMap(([error, calls]) => calls.map((call) => ({ error, call })));
  test.each(rows)("$error from $call", { timeout }, async ({ error, call }) => {
    for (const n of points(counts.get(call) ?? 0, perCall + 1).slice(0, perCall)) {
      const dir = await emptyDir();
      const ended = await child.run(life(dir), `${call}:error=${error}:when=${n}`);
      const what = `${error} from ${call} ${n} of ${counts.get(call)}: ${JSON.stringify(ended)}`;
      if (ended.wasHit) hits.failed++;
      // Either it got over it, or it says so; before its first line it is Node that ends.
      const { done, code, name } = ended.said;
      // A write may also be what wakes a thread of Node's: it gives up then.
      const isNamed =
        done === true || typeof code === "string" || ended.stderr !== "" || ended.signal === "SIGABRT";
      expect(isNamed, what).toBe(true);
      expect(name ?? "", what).not.toMatch(/^(?:TypeError|RangeError|ReferenceError)$/);
      await expectHealed(dir, what);
    }
  });

  test("every sync that fails makes its pull fail: nothing unsynced is taken for kept", {
    timeout,
  }, async () => {
    const count = counts.get("fsync") ?? 0;
    for (const n of points(count, isLong ? count : 4)) {
      const dir = await emptyDir();
      const { said, wasHit } = await child.run(life(dir), `fsync:error=EIO:when=${n}`);
      expect({ n, wasHit, done: said["done"] }).toEqual({ n, wasHit: true, done: false });
      hits.failed++;
      await expectHealed(dir, `fsync ${n}`);
    }
  });
});

test.skipIf(!isTraceable)(`most of what was to hit has hit${why}`, () => {
  const [kills, errors] = isLong ? [500, 100] : [18, 15];
  expect(hits.killed).toBeGreaterThanOrEqual(kills);
  expect(hits.failed).toBeGreaterThanOrEqual(errors);
  console.log(`the store under fire: ${hits.killed} processes killed, ${hits.failed} calls failed`);
});

describe("eight processes that pull, use, remove and prune the same images", () => {
  const rounds = isLong ? 50 : 6;
  test(`${rounds} rounds: no failure`, { timeout: 900_000 }, async () => {
    const dir = await emptyDir();
    const seeds = [11, 22, 33, 44, 55, 66, 77, 88];
    const ended = await Promise.all(seeds.map((seed) => child.run(["storm", dir, `${seed}`, `${rounds}`])));
    for (const { said, stderr } of ended)
      expect({ ...said, stderr }).toMatchObject({ done: true, stderr: "", pulled: rounds });
    const total = (key: string) => ended.reduce((sum, { said }) => sum + Number(said[key] ?? 0), 0);
    expect(total("used")).toBeGreaterThan(0);
    expect(total("removed")).toBeGreaterThan(0);
    await expectHealed(dir, "after the storm");
  });
});
