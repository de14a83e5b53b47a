import { appendFile, mkdir, readdir, readFile, stat, truncate, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import type { TemplateFiles } from "../../src/machine/machine.ts";
import {
  MAX_TEMPLATES,
  ensureTemplate,
  findTemplate,
  listTemplates,
  pruneTemplates,
  removeTemplate,
  templateKey,
} from "../../src/machine/template/store.ts";
import { scratchDir } from "../support/rootfs-image.ts";

const SHAPE = { cpus: 1, memoryMib: 512, network: true, storageBytes: 1 << 30, disk: "passing" } as const;
const KEY = "0123456789abcdef01234567";

let paths: { dataDir: string; runtimeDir: string };
let saves = 0;

async function save(files: TemplateFiles): Promise<void> {
  saves++;
  await writeFile(files.ramPath, "memory", { flag: "wx" });
  await writeFile(files.statePath, "state", { flag: "wx" });
  await writeFile(files.scratchPath, "disk", { flag: "wx" });
}

const ensure = async (key = KEY, change: Partial<Parameters<typeof ensureTemplate>[2]> = {}) =>
  await ensureTemplate(paths, key, { shape: SHAPE, description: "a test", save, ...change });

const names = async () => (await readdir(join(paths.dataDir, "templates"))).sort();

beforeEach((context) => {
  const scratch = scratchDir();
  context.onTestFinished(() => scratch[Symbol.dispose]());
  paths = { dataDir: scratch.path, runtimeDir: scratch.path };
  saves = 0;
});

describe("a template", () => {
  it("is made once, and found again", async () => {
    const made = await ensure();
    expect(await readFile(made.files.ramPath, "utf8")).toBe("memory");
    expect(await ensure()).toEqual(made);
    expect(await findTemplate(paths, KEY)).toEqual(made);
    expect(saves).toBe(1);
    expect(await names()).toEqual([KEY]);
    expect((await stat(join(paths.dataDir, "templates"))).mode & 0o777).toBe(0o700);
  });

  it("is made once by two who want it at once", async () => {
    const waited: string[] = [];
    const slow = async (files: TemplateFiles) => {
      await new Promise((resolve) => setTimeout(resolve, 50));
      await save(files);
    };
    const one = async (name: string) => await ensure(KEY, { save: slow, onWait: () => waited.push(name) });
    const [first, second] = await Promise.all([one("a"), one("b")]);
    expect(second).toEqual(first);
    expect(saves).toBe(1);
    expect(waited).toHaveLength(1);
  });

  it("leaves nothing when it cannot be made", async () => {
    const failing = async (files: TemplateFiles) => {
      await writeFile(files.ramPath, "half");
      throw new Error("no");
    };
    await expect(ensure(KEY, { save: failing })).rejects.toThrow("no");
    expect(await names()).toEqual([]);
    await ensure();
    expect(await names()).toEqual([KEY]);
  });

  it.each<[string, (files: TemplateFiles) => Promise<void>]>([
    ["memory that was written to", async ({ ramPath }) => await writeFile(ramPath, "mEmory")],
    ["memory that was cut", async ({ ramPath }) => await truncate(ramPath, 3)],
    ["memory of another time", async ({ ramPath }) => await utimes(ramPath, 1, 1)],
    ["a longer state", async ({ statePath }) => await appendFile(statePath, "x")],
    ["a flipped bit in the state", async ({ statePath }) => await writeFile(statePath, "statd")],
    [
      "a record that is no JSON",
      async ({ statePath }) => await writeFile(join(statePath, "..", "template.json"), "{"),
    ],
    [
      "a record of another form",
      async ({ statePath }) => await writeFile(join(statePath, "..", "template.json"), "{}"),
    ],
  ])("with %s is dropped and made again", async (_what, damage) => {
    const { files } = await ensure();
    await damage(files);
    expect(await findTemplate(paths, KEY)).toBeUndefined();
    expect(await names()).toEqual([]);
    await ensure();
    expect(saves).toBe(2);
  });

  it("of a process that was killed is collected when the next one is made", async () => {
    const left = join(paths.dataDir, "templates", ".new.4194000.1.00ff");
    await mkdir(left, { recursive: true });
    await writeFile(join(left, "ram"), "half");
    await ensure();
    expect(await names()).toEqual([KEY]);
  });
});

it("keeps those that were used last", async () => {
  const keys = Array.from({ length: MAX_TEMPLATES + 1 }, (_, n) => KEY.slice(0, -2) + String(n + 10));
  for (const [n, key] of keys.entries()) {
    await ensure(key);
    const record = join(paths.dataDir, "templates", key, "template.json");
    // The second oldest was used a moment ago.
    if (n < MAX_TEMPLATES) await utimes(record, 1000 + (n === 0 ? 100 : n), 1000 + (n === 0 ? 100 : n));
  }
  const kept = (await listTemplates(paths)).map(({ key }) => key);
  expect(kept).toHaveLength(MAX_TEMPLATES);
  expect(kept).not.toContain(keys[1]);
  expect(kept).toContain(keys[0]);
});

it("lists what is there, removes by key, prunes the rest", async () => {
  const other = KEY.replace("0", "f");
  await ensure();
  await ensure(other);
  const [info] = await listTemplates(paths);
  expect(info).toMatchObject({ description: "a test", ...SHAPE });
  expect(info?.diskBytes).toBeGreaterThan(0);
  expect(await removeTemplate(paths, "../../etc")).toBe(false);
  expect(await removeTemplate(paths, "f".repeat(24))).toBe(false);
  expect(await pruneTemplates(paths, new Set([other]))).toEqual([KEY]);
  expect(await removeTemplate(paths, other)).toBe(true);
  expect(await names()).toEqual([]);
});

it("has a key that changes with all that it depends on", async () => {
  const kernelPath = join(paths.dataDir, "k");
  const initramfsPath = join(paths.dataDir, "i");
  await writeFile(kernelPath, "k");
  await writeFile(initramfsPath, "i");
  const boot = { kernelPath, initramfsPath };
  const key = await templateKey("qemu 1", boot, SHAPE);
  expect(key).toMatch(/^[0-9a-f]{24}$/);
  expect(await templateKey("qemu 1", boot, { ...SHAPE })).toBe(key);
  const others = [
    await templateKey("qemu 2", boot, SHAPE),
    await templateKey("qemu 1", boot, { ...SHAPE, memoryMib: 513 }),
    await templateKey("qemu 1", boot, { ...SHAPE, network: false }),
  ];
  await writeFile(initramfsPath, "another");
  others.push(await templateKey("qemu 1", boot, SHAPE));
  expect(new Set([key, ...others]).size).toBe(5);
});
