import { mkdtemp, readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { makeScratchDisk } from "../../src/container/scratch.ts";
import { runCommand } from "../../src/util/command.ts";
import { findProgram } from "../../src/util/find-program.ts";
import type { Paths } from "../../src/util/paths.ts";

let dir = "";
let paths: Paths;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "flamebox-scratch-"));
  paths = { dataDir: dir, runtimeDir: dir };
});
afterEach(async () => await rm(dir, { recursive: true, force: true }));

describe("the writable layer's disk", () => {
  it("is a clean, sparse ext4 of the size asked for", async () => {
    const path = join(dir, "disk");
    await makeScratchDisk(paths, path, { sizeBytes: 8 * 1024 ** 3 });
    const { size, blocks } = await stat(path);
    expect(size).toBe(8 * 1024 ** 3);
    expect(blocks * 512).toBeLessThan(16 * 1024 ** 2);
    const fsck = (await findProgram("e2fsck")) ?? "e2fsck";
    expect((await runCommand(fsck, ["-fn", path])).stdout.toString()).toContain("Pass 5");
  });

  it("is formatted once a size, also when several ask at the same time", async () => {
    await Promise.all(
      [1, 2, 3, 4].map(
        async (n) => await makeScratchDisk(paths, join(dir, `disk${n}`), { sizeBytes: 64 * 1024 ** 2 }),
      ),
    );
    expect(await readdir(join(dir, "scratch"))).toEqual([`${64 * 1024 ** 2}.ext4`]);
  });

  it.each([0, -1, 1024, 1.5, Number.NaN, 2 ** 60])("refuses a size of %s", async (sizeBytes) => {
    await expect(makeScratchDisk(paths, join(dir, "disk"), { sizeBytes })).rejects.toMatchObject({
      code: "invalid-option",
    });
  });
});
