/** Root file systems as files, in every format, out of a real store. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { readFile, readdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { PassThrough, Writable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { describe, expect, test } from "vitest";
import { ROOTFS_FORMATS, exportRootfs, exportToStream } from "../../src/images/export.ts";
import type { ExportOptions, RootfsFormat } from "../../src/images/export.ts";
import type { Image } from "../../src/images/images.ts";
import { findSquashfsTool } from "../../src/rootfs/export/squashfs.ts";
import { findProgram } from "../../src/util/find-program.ts";
import type { ProgressEvent } from "../../src/util/progress.ts";
import type { Store } from "../../src/store/store.ts";
import { memorySource } from "./memory-source.ts";
import { app, base, big, codeOf, expectClean, newDir, newStore, noisy, pull, run } from "./fixtures.ts";

const hasSquashfs = (await findProgram("tar2sqfs")) ?? (await findProgram("sqfstar"));
const formats = ROOTFS_FORMATS.filter((format) => format !== "squashfs" || hasSquashfs !== undefined);

async function imageOf(...layers: Buffer[]): Promise<{ store: Store; image: Image }> {
  const store = await newStore();
  return { store, image: await pull(store, "app", memorySource(layers)) };
}

const printed = (program: string, ...args: string[]): string =>
  spawnSync(program, args, { encoding: "utf8" }).stdout;

/** Reads bin/tool out of a file, by a program that knows the format. */
const readTool: Readonly<Record<RootfsFormat, (path: string) => string>> = {
  erofs: (path) => {
    spawnSync("fsck.erofs", [`--extract=${path}.tree`, path]);
    return readFileSync(`${path}.tree/bin/tool`, "utf8");
  },
  ext4: (path) => printed("/usr/sbin/debugfs", "-R", "cat /bin/tool", path),
  squashfs: (path) => printed("unsquashfs", "-cat", path, "bin/tool"),
  tar: (path) => printed("tar", "-xOf", path, "bin/tool"),
};

describe.each(formats)("as %s (squashfs only where a program is installed)", (format) => {
  test("has what the layers have", async () => {
    const { store, image } = await imageOf(base, app);
    const path = join(await newDir(), "out");
    const exported = await exportRootfs(store, image, path, { format });
    expect(exported).toEqual({ path, format, sizeBytes: (await stat(path)).size });
    expect(readTool[format](path)).toBe(big("tool "));
    await expectClean(store);
  });

  test("refuses to overwrite, unless it is forced to", async () => {
    const { store, image } = await imageOf(base);
    const dir = await newDir();
    const path = join(dir, "out");
    await writeFile(path, "mine");
    expect(await codeOf(exportRootfs(store, image, path, { format }))).toBe("file-exists");
    expect(await readFile(path, "utf8")).toBe("mine");
    const { sizeBytes } = await exportRootfs(store, image, path, { format, force: true });
    expect((await stat(path)).size).toBe(sizeBytes);
    expect(await readdir(dir)).toEqual(["out"]);
  });

  test("that fails leaves nothing", async () => {
    const { store, image } = await imageOf(base, ...Array.from({ length: 4 }, () => noisy));
    const dir = await newDir();
    const controller = new AbortController();
    const onProgress = ({ id }: ProgressEvent) =>
      /^(?:flatten|rootfs|export)/.test(id) && controller.abort(new Error("enough"));
    const options: ExportOptions = { format, signal: controller.signal, onProgress };
    await expect(exportRootfs(store, image, join(dir, "out"), options)).rejects.toThrow("enough");
    expect(await codeOf(exportRootfs(store, image, join(dir, "none/out"), { format }))).toMatch(
      /ENOENT|command-failed/,
    );
    expect(await readdir(dir)).toEqual([]);
    await expectClean(store);
  });

  test("twice is the same file", async () => {
    const { store, image } = await imageOf(base, app, noisy);
    const dir = await newDir();
    for (const name of ["a", "b"]) await exportRootfs(store, image, join(dir, name), { format });
    const [a, b] = await Promise.all(["a", "b"].map(async (name) => await readFile(join(dir, name))));
    expect(a?.equals(b ?? Buffer.alloc(0))).toBe(true);
  });
});

test("an ext4 disk has the size that was asked for", async () => {
  const { store, image } = await imageOf(base);
  const path = join(await newDir(), "out");
  const sizeBytes = 200 * 2 ** 20;
  expect(await exportRootfs(store, image, path, { format: "ext4", sizeBytes })).toMatchObject({ sizeBytes });
  await run("/usr/sbin/e2fsck", ["-fn", path]);
  expect(await codeOf(exportRootfs(store, image, `${path}2`, { format: "ext4", sizeBytes: 4096 }))).toBe(
    "ext4-too-small",
  );
});

test("progress is told in bytes, and ends", async () => {
  const { store, image } = await imageOf(base, noisy, await bigLayer());
  const events: ProgressEvent[] = [];
  const onProgress = (event: ProgressEvent) => void events.push(event);
  await exportRootfs(store, image, join(await newDir(), "out"), { format: "ext4", onProgress });
  const exporting = events.filter(({ id }) => id.startsWith("export:"));
  expect(exporting.length).toBeGreaterThan(1);
  expect(exporting.at(-1)).toMatchObject({ state: "done", unit: "bytes" });
});

async function bigLayer(): Promise<Buffer> {
  const { tarOf } = await import("./memory-source.ts");
  return await tarOf({ "srv/big": "0123456789abcdef".repeat(400_000) });
}

describe("tar to a stream", () => {
  test("is the file's bytes, and leaves the stream open", async () => {
    const { store, image } = await imageOf(base, app, noisy);
    const path = join(await newDir(), "out.tar");
    await exportRootfs(store, image, path, { format: "tar" });
    const out = new PassThrough();
    const got = buffer(out);
    const { sizeBytes } = await exportToStream(store, image, out);
    expect(out.writable).toBe(true);
    out.end();
    expect((await got).equals(await readFile(path))).toBe(true);
    expect((await stat(path)).size).toBe(sizeBytes);
  });

  test("a reader that goes away ends it", async () => {
    const { store, image } = await imageOf(base, noisy);
    const out = new Writable({ write: (_chunk, _encoding, done) => done(new Error("gone")) });
    out.on("error", () => {});
    await expect(exportToStream(store, image, out)).rejects.toThrow("gone");
    await expectClean(store);
  });
});

test("without a program for squashfs, it is said what to install", async () => {
  await expect(findSquashfsTool(async () => undefined)).rejects.toMatchObject({
    code: "program-missing",
    hint: expect.stringContaining("squashfs-tools"),
  });
});
