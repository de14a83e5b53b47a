import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, onTestFinished, test } from "vitest";
import { bootId, ownIdentity } from "../../src/util/liveness.ts";
import { acquireLock, removeIfDead, tryLock, whenUnlocked, withLock } from "../../src/util/lock.ts";

async function newPath(): Promise<{ dir: string; path: string }> {
  const dir = await mkdtemp(join(tmpdir(), "flamebox-lock-"));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  return { dir, path: join(dir, "a.lock") };
}

const own = ownIdentity();
const token = "0123456789abcdef";

/** Files of holders that are no more. */
const dead: readonly { readonly name: string; readonly text: string }[] = [
  { name: "of a process that never was", text: JSON.stringify({ ...own, pid: 2 ** 31, token }) },
  { name: "of a process whose pid is used again", text: JSON.stringify({ ...own, startTicks: 1, token }) },
  { name: "of another boot", text: JSON.stringify({ ...own, bootId: bootId().replace(/./, "x"), token }) },
  { name: "empty", text: "" },
  { name: "cut short", text: JSON.stringify({ ...own, token }).slice(0, 20) },
  { name: "null", text: "null" },
  { name: "with a token that is a path", text: JSON.stringify({ ...own, token: "../../../../etc" }) },
  { name: "with a pid of the wrong type", text: JSON.stringify({ ...own, pid: "1", token }) },
  { name: "longer than any lock", text: `{"pid":1,${" ".repeat(5000)}}` },
];

/** Many want the lock at once. @returns the largest number that had it together */
async function contend(path: string, contenders: number): Promise<number> {
  let inside = 0;
  let most = 0;
  const one = () =>
    withLock(path, {}, async () => {
      most = Math.max(most, ++inside);
      await sleep(1);
      inside--;
    });
  await Promise.all(Array.from({ length: contenders }, one));
  return most;
}

describe("a lock", () => {
  test("lets one in at a time, and leaves no file", async () => {
    const { dir, path } = await newPath();
    expect(await contend(path, 20)).toBe(1);
    expect(await readdir(dir)).toEqual([]);
  });

  test("is refused while it is held, and free afterwards", async () => {
    const { path } = await newPath();
    const lock = await tryLock(path);
    expect(lock).toBeDefined();
    expect(await tryLock(path)).toBeUndefined();
    await lock?.release();
    await lock?.release();
    const second = await tryLock(path);
    // The first holder's release has no power over the second's lock.
    await lock?.release();
    expect(await tryLock(path)).toBeUndefined();
    await second?.release();
  });

  test("tells a waiting one who has it, once", async () => {
    const { path } = await newPath();
    const lock = await acquireLock(path);
    const told: unknown[] = [];
    const waiting = acquireLock(path, { onWait: (holder) => told.push(holder) });
    await sleep(60);
    await lock.release();
    await (await waiting).release();
    expect(told).toEqual([own]);
  });

  test("waits no longer than its signal", async () => {
    const { dir, path } = await newPath();
    const lock = await acquireLock(path);
    const controller = new AbortController();
    const waiting = acquireLock(path, { signal: controller.signal });
    controller.abort(new Error("enough"));
    await expect(waiting).rejects.toThrow("enough");
    expect(await readdir(dir)).toEqual(["a.lock"]);
    expect(await whenUnlocked(path, { timeoutMs: 30 })).toBe(false);
    await lock.release();
    expect(await whenUnlocked(path, { timeoutMs: 0 })).toBe(true);
  });

  test("in a directory that is not there fails with the system's error", async () => {
    const { dir } = await newPath();
    await expect(tryLock(join(dir, "none", "a.lock"))).rejects.toMatchObject({ code: "ENOENT" });
  });
});

describe("a dead holder's lock", () => {
  test.each(dead)("$name: taken over by one of many", async ({ text }) => {
    const { dir, path } = await newPath();
    await writeFile(path, text);
    expect(await whenUnlocked(path, { timeoutMs: 0 })).toBe(true);
    expect(await contend(path, 10)).toBe(1);
    expect(await readdir(dir)).toEqual([]);
  });

  test("whose breaker died as well, twice", async () => {
    const { dir, path } = await newPath();
    const tokens = ["1".repeat(16), "2".repeat(16), "3".repeat(16)];
    let at = path;
    for (const one of tokens) {
      await writeFile(at, JSON.stringify({ ...own, startTicks: 1, token: one }));
      at += `.${one}`;
    }
    expect(await contend(path, 10)).toBe(1);
    expect(await readdir(dir)).toEqual([]);
  });

  test("that is being broken by a living process is left to it", async () => {
    const { path } = await newPath();
    await writeFile(path, JSON.stringify({ ...own, startTicks: 1, token }));
    const right = await tryLock(`${path}.${token}`);
    expect(await tryLock(path)).toBeUndefined();
    expect(await removeIfDead(path)).toBe(false);
    await right?.release();
    expect(await removeIfDead(path)).toBe(true);
    expect(await removeIfDead(path)).toBe(false);
  });

  test("that has been taken over meanwhile is not removed by a slow breaker", async () => {
    const { path } = await newPath();
    // The slow one holds the right to remove token's file, but the file is another's by now.
    await writeFile(path, JSON.stringify({ ...own, token: "f".repeat(16) }));
    expect(await removeIfDead(path)).toBe(false);
    expect(await tryLock(path)).toBeUndefined();
  });
});
