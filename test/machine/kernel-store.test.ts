import { mkdir, readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { parseVersion } from "../../src/machine/kernel/apt.ts";
import { adoptKernel, findKernel } from "../../src/machine/kernel/kernel.ts";
import type { KernelKind } from "../../src/machine/kernel/store.ts";
import {
  chooseKernel,
  listKernels,
  parseChoice,
  parseKernelRecord,
  publishKernel,
  removeKernels,
} from "../../src/machine/kernel/store.ts";
import { bootId, ownIdentity } from "../../src/util/liveness.ts";
import { scratchDir } from "../support/rootfs-image.ts";

const DEBIAN_9 = "6.12.9+deb12-cloud-amd64";
const DEBIAN_10 = "6.12.10+deb12-cloud-amd64";
const BUILT = "6.12.10-flamebox-0a1b2c3d";

let paths: { dataDir: string; runtimeDir: string };

const kernels = (...parts: string[]) => join(paths.dataDir, "kernels", ...parts);
const publish = async (name: string, kind: KernelKind) =>
  await publishKernel(paths, async (dir) => {
    await mkdir(join(dir, "modules"));
    await writeFile(join(dir, "vmlinuz"), Buffer.alloc(8192, "k"));
    return { name, release: name, modules: [], kind };
  });
const used = async () => (await listKernels(paths)).filter(({ inUse }) => inUse).map(({ name }) => name);
const refusal = async (job: Promise<unknown>) =>
  await job.then(
    () => "nothing",
    (error: { code: string }) => error.code,
  );

/** The header of a bzImage, with its release at the end. */
function bzImage(release: string): Buffer {
  const bytes = Buffer.alloc(0x400);
  bytes.writeUInt16LE(0xaa55, 0x1fe);
  bytes.write("HdrS", 0x202);
  bytes.writeUInt16LE(0x020f, 0x206);
  bytes.writeUInt16LE(0x100, 0x20e);
  bytes.write(`${release} (somebody)\0`, 0x300);
  return bytes;
}

beforeEach((context) => {
  const scratch = scratchDir();
  context.onTestFinished(() => scratch[Symbol.dispose]());
  paths = { dataDir: scratch.path, runtimeDir: scratch.path };
});

describe("the kernel in use", () => {
  beforeEach(async () => {
    for (const name of [DEBIAN_9, DEBIAN_10]) await publish(name, "debian");
    await publish(BUILT, "built");
  });

  it("is the newest of Debian's, by number, without a choice", async () => {
    expect(await findKernel(paths)).toMatchObject({ name: DEBIAN_10, kind: "debian" });
    expect(await used()).toEqual([DEBIAN_10]);
  });

  it.each([
    ["a name", BUILT, BUILT],
    ["the beginning of a name", "6.12.10-fl", BUILT],
    ["an older one of Debian's", DEBIAN_9, DEBIAN_9],
  ])("is chosen by %s, and stays so", async (_name, words, chosen) => {
    await chooseKernel(paths, words);
    expect(await findKernel(paths)).toMatchObject({ name: chosen });
    expect(await used()).toEqual([chosen]);
    await publish("6.12.11+deb12-cloud-amd64", "debian");
    expect(await used()).toEqual([chosen]);
    await chooseKernel(paths, "debian");
    expect(await used()).toEqual(["6.12.11+deb12-cloud-amd64"]);
  });

  it.each([
    ["a name that no kernel has", "6.13", "kernel-not-found"],
    ["no name", "", "kernel-not-found"],
    ["a way out", "../kernels", "kernel-not-found"],
    ["a beginning that several have", "6.12.10", "ambiguous-kernel-name"],
  ])("is not chosen by %s", async (_name, words, code) => {
    await chooseKernel(paths, DEBIAN_9);
    expect(await refusal(chooseKernel(paths, words))).toBe(code);
    expect(await used()).toEqual([DEBIAN_9]);
  });

  it("is an error when the chosen one has gone, until another is chosen", async () => {
    await chooseKernel(paths, BUILT);
    await rm(kernels(BUILT), { recursive: true });
    expect(await refusal(findKernel(paths))).toBe("kernel-missing");
    expect(await used()).toEqual([]);
    await chooseKernel(paths, "debian");
    expect(await findKernel(paths)).toMatchObject({ name: DEBIAN_10 });
  });

  it.each([
    ["nothing", ""],
    ["half of it", '{"name":"6.1'],
    ["no object", "7"],
    ["no name", "{}"],
    ["a name that is a path", '{"name":"../../etc"}'],
    ["more than a name", `{"name":"${"a".repeat(70_000)}"}`],
  ])("is an error when the choice has %s in it", async (_name, text) => {
    await writeFile(kernels("chosen.json"), text);
    expect(parseChoice(text)).toBeUndefined();
    expect(await refusal(findKernel(paths))).toBe("kernel-missing");
    await chooseKernel(paths, BUILT);
    expect(await used()).toEqual([BUILT]);
  });

  it("can be a given one, as long as its file is there", async () => {
    const path = join(paths.dataDir, "bzImage");
    await writeFile(path, bzImage("6.9.1-mine"));
    const given = await adoptKernel(path, { paths });
    expect(given).toMatchObject({ kind: "given", release: "6.9.1-mine", path, modules: [] });
    await chooseKernel(paths, given.name);
    expect(await findKernel(paths)).toEqual(given);
    await writeFile(path, bzImage("6.9.2-mine"));
    expect(await findKernel(paths)).toMatchObject({ kind: "given", release: "6.9.2-mine", path });
    await rm(path);
    expect(await refusal(findKernel(paths))).toBe("kernel-missing");
  });
});

describe("kernels", () => {
  it("are listed, the newest first, with what they take", async () => {
    for (const name of [DEBIAN_9, DEBIAN_10]) await publish(name, "debian");
    await publish(BUILT, "built");
    const list = await listKernels(paths);
    expect(list.map(({ name, kind }) => [name, kind])).toEqual([
      [DEBIAN_10, "debian"],
      [BUILT, "built"],
      [DEBIAN_9, "debian"],
    ]);
    expect(list[1]?.path).toBe(kernels(BUILT, "vmlinuz"));
    expect(list[1]?.diskBytes).toBeGreaterThanOrEqual(8192);
    expect(Date.parse(list[0]?.createdAt ?? "")).toBeGreaterThan(Date.now() - 60_000);
  });

  it("are none where there is nothing yet", async () => {
    expect(await listKernels(paths)).toEqual([]);
    expect(await findKernel(paths)).toBeUndefined();
    expect(await refusal(removeKernels(paths, ["a"]))).toBe("kernel-not-found");
  });

  it("are removed, but none of them together with the one in use", async () => {
    for (const name of [DEBIAN_9, DEBIAN_10]) await publish(name, "debian");
    await publish(BUILT, "built");
    expect(await refusal(removeKernels(paths, [BUILT, DEBIAN_10]))).toBe("kernel-in-use");
    expect(await refusal(removeKernels(paths, [BUILT, "nothing"]))).toBe("kernel-not-found");
    expect(await listKernels(paths)).toHaveLength(3);
    const removed = await removeKernels(paths, [BUILT, DEBIAN_9, BUILT]);
    expect(removed.map(({ name }) => name)).toEqual([BUILT, DEBIAN_9]);
    expect((await readdir(kernels())).sort()).toEqual([DEBIAN_10]);
  });

  it("that another process has published meanwhile stay", async () => {
    await publish(BUILT, "built");
    await writeFile(kernels(BUILT, "mark"), "");
    await publish(BUILT, "built");
    expect(await readdir(kernels(BUILT))).toContain("mark");
    expect(await readdir(kernels())).toEqual([BUILT]);
  });

  it("leave nothing when they cannot be made", async () => {
    const failing = publishKernel(paths, async (dir) => {
      await writeFile(join(dir, "vmlinuz"), "half");
      throw new Error("no");
    });
    await expect(failing).rejects.toThrow("no");
    expect(await readdir(kernels())).toEqual([]);
  });

  it("that killed processes left unfinished are collected; those of living ones are not", async () => {
    await mkdir(kernels(), { recursive: true });
    const { pid, startTicks } = ownIdentity();
    const dead = `.new.${pid}.${startTicks + 1}.00`;
    const living = `.new.${pid}.${startTicks}.00`;
    for (const name of [dead, living]) {
      await mkdir(kernels(name, "work"), { recursive: true });
      await writeFile(kernels(name, "work", "a.o"), "");
    }
    expect(bootId()).not.toBe("");
    expect(await listKernels(paths)).toEqual([]);
    expect(await readdir(kernels())).toEqual([living]);
  });
});

describe("a kernel's record", () => {
  it.each([
    ["of an older FlameBox, Debian's", DEBIAN_9, '{"release":"r","modules":["a.ko"]}', "debian"],
    ["of an older FlameBox, given", "custom-0", '{"release":"r","modules":[]}', "given"],
    ["that says its kind", BUILT, '{"release":"r","modules":[],"kind":"built"}', "built"],
  ])("%s", (_name, name, text, kind) => {
    expect(parseKernelRecord(name, text)).toMatchObject({ release: "r", kind });
  });

  it.each([
    ["is empty", ""],
    ["is cut short", '{"release":"r","modu'],
    ["is no object", "[]"],
    ["has no release", '{"modules":[]}'],
    ["has a release with a slash", '{"release":"a/b","modules":[]}'],
    ["has a module with a path", '{"release":"r","modules":["../a.ko"]}'],
    ["has modules that are none", '{"release":"r","modules":"a.ko"}'],
    ["has a kind that there is not", '{"release":"r","modules":[],"kind":"stolen"}'],
    ["has a path that depends on where one stands", '{"release":"r","modules":[],"path":"a/bzImage"}'],
    ["is too long", `{"release":"r","modules":[]}${" ".repeat(70_000)}`],
  ])("is none when it %s", async (_name, text) => {
    expect(parseKernelRecord("a", text)).toBeUndefined();
    await mkdir(kernels("a"), { recursive: true });
    await writeFile(kernels("a", "kernel.json"), text);
    expect(await listKernels(paths)).toEqual([]);
  });
});

describe("apt's record of a package", () => {
  it.each([
    ["gives its version", "Package: linux-source-6.12\nVersion: 6.12.117-1~deb12u1\n", "6.12.117-1~deb12u1"],
    ["gives an epoch, too", "Version: 1:2.0+b1\n", "1:2.0+b1"],
    ["is empty", "", undefined],
    ["names another field", "Python-Version: 3\n", undefined],
    ["has a version with a blank", "Version: 1 2\n", undefined],
    ["has an option for a version", "Version: \n-o\n", undefined],
    ["has a version that never ends", `Version: ${"1".repeat(200)}\n`, undefined],
  ])("%s", (_name, text, version) => {
    expect(parseVersion(text)).toBe(version);
  });
});
