/** Where files of images go: what is no file is written into and stays what it is. */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { lstat, open, readFile, readdir, readlink, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { save } from "../../src/container/save.ts";
import { exportRootfs } from "../../src/images/export.ts";
import type { Store } from "../../src/store/store.ts";
import { requireImage } from "../../src/images/images.ts";
import { memorySource } from "./memory-source.ts";
import { app, base, codeOf, expectClean, newDir, newStore, noisy, pull } from "./fixtures.ts";

type Write = (store: Store, output: string, force?: boolean, signal?: AbortSignal) => Promise<unknown>;

const exported =
  (format: "tar" | "erofs"): Write =>
  async (store, output, force, signal) =>
    await exportRootfs(store, await requireImage(store, "app"), output, { format, force, signal });

const WAYS: readonly (readonly [string, Write])[] = [
  [
    "save",
    async (store, output, force, signal) => {
      await save(store, ["app"], { output, force, signal });
    },
  ],
  ["rootfs --format tar", exported("tar")],
  ["rootfs --format erofs", exported("erofs")],
];

async function storeWithImage(): Promise<Store> {
  const store = await newStore();
  await pull(store, "app", memorySource([base, app, noisy]));
  return store;
}

async function fifoIn(dir: string): Promise<string> {
  const path = join(dir, "fifo");
  execFileSync("mkfifo", [path]);
  return path;
}

/** What a reader of the FIFO gets until its end. */
async function reading(fifo: string): Promise<() => Promise<Buffer>> {
  const child = spawn("cat", [fifo], { stdio: ["ignore", "pipe", "ignore"] });
  const chunks: Buffer[] = [];
  child.stdout.on("data", (chunk: Buffer) => chunks.push(chunk));
  const closed = once(child, "close");
  return async () => {
    await closed;
    return Buffer.concat(chunks);
  };
}

describe.each(WAYS)("%s", (_, write) => {
  test.each([
    ["a FIFO", false, undefined],
    ["a FIFO, forced", true, undefined],
    ["a link to a FIFO", false, "link"],
    ["a link to a FIFO, forced", true, "link"],
  ])("writes into %s", async (_what, force, link) => {
    const store = await storeWithImage();
    const dir = await newDir();
    const file = join(dir, "file");
    await write(store, file);
    const fifo = await fifoIn(dir);
    if (link !== undefined) await symlink(fifo, join(dir, link));
    const got = await reading(fifo);
    await write(store, join(dir, link ?? "fifo"), force);
    expect((await got()).equals(await readFile(file))).toBe(true);
    expect((await lstat(fifo)).isFIFO()).toBe(true);
    const links = link === undefined ? [] : [link];
    for (const one of links) expect(await readlink(join(dir, one))).toBe(fifo);
    expect((await readdir(dir)).sort()).toEqual(["fifo", "file", ...links]);
    await expectClean(store);
  });

  test("waits for a FIFO's reader, until it is to stop", async () => {
    const store = await storeWithImage();
    const fifo = await fifoIn(await newDir());
    const controller = new AbortController();
    const writing = write(store, fifo, true, controller.signal);
    setTimeout(() => controller.abort(new Error("enough")), 150);
    await expect(writing).rejects.toThrow("enough");
    expect((await lstat(fifo)).isFIFO()).toBe(true);
  });

  test("a reader that takes nothing keeps nobody who is to stop", async () => {
    const store = await storeWithImage();
    const fifo = await fifoIn(await newDir());
    const reader = await open(fifo, "r+");
    const controller = new AbortController();
    const writing = write(store, fifo, true, controller.signal);
    setTimeout(() => controller.abort(new Error("enough")), 500);
    await expect(writing).rejects.toThrow("enough");
    await reader.close();
    await expectClean(store);
  });

  test("a reader that goes away ends it", async () => {
    const store = await storeWithImage();
    const fifo = await fifoIn(await newDir());
    const closed = once(spawn("head", ["-c", "10", fifo], { stdio: "ignore" }), "close");
    expect(await codeOf(write(store, fifo, true))).toBe("EPIPE");
    await closed;
    await expectClean(store);
  });

  test("writes into a character device", async (context) => {
    const store = await storeWithImage();
    const device = join(await newDir(), "null");
    const made = await (async () => {
      execFileSync("mknod", [device, "c", "1", "3"], { stdio: "ignore" });
      await writeFile(device, "x");
    })().then(
      () => true,
      () => false,
    );
    context.skip(!made, "making a device, in a place where it works, needs root");
    const { ino } = await stat(device);
    await write(store, device, true);
    expect(await lstat(device)).toMatchObject({ ino });
    expect((await lstat(device)).isCharacterDevice()).toBe(true);
  });

  test("a link to a file stays, and the file is replaced when it is forced", async () => {
    const store = await storeWithImage();
    const dir = await newDir();
    await write(store, join(dir, "whole"));
    await writeFile(join(dir, "file"), "mine");
    await symlink("file", join(dir, "link"));
    expect(await codeOf(write(store, join(dir, "link"), false))).toBe("file-exists");
    expect(await readFile(join(dir, "file"), "utf8")).toBe("mine");
    await write(store, join(dir, "link"), true);
    expect(await readlink(join(dir, "link"))).toBe("file");
    expect((await readFile(join(dir, "file"))).equals(await readFile(join(dir, "whole")))).toBe(true);
  });

  test("a directory is refused", async () => {
    const store = await storeWithImage();
    const dir = await newDir();
    expect(await codeOf(write(store, dir, true))).toBe("invalid-output");
    expect(await readdir(dir)).toEqual([]);
  });
});
