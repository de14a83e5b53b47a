/**
 * Kernels on disk, and which of them is used:
 *
 *     kernels/NAME/vmlinuz, modules/*.ko, kernel.json     one kernel; of a given one the bzImage is elsewhere
 *     kernels/chosen.json                                 the name of the one to use; without: the newest Debian one
 *     kernels/.new.PID.TICKS.X/                           being made or removed
 *
 * A folder is published by rename and complete when it has its kernel.json.
 */
import { mkdir, readFile, readdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as v from "valibot";
import { makePrivateDir, writeFileAtomic } from "../../util/atomic-file.ts";
import { systemCode } from "../../util/error.ts";
import { withLock } from "../../util/lock.ts";
import type { Paths } from "../../util/paths.ts";
import { quote } from "../../util/printable.ts";
import { collectUnfinished, removeWhole, unfinishedName } from "../../util/unfinished.ts";
import { MachineError } from "../machine.ts";

export type KernelKind = "debian" | "built" | "given";

export interface Kernel {
  /** Of its folder: `6.12.117+deb12-cloud-amd64`, `6.12.117-flamebox-3f2a9c1b`, `custom-0123456789abcdef`. */
  readonly name: string;
  /** `6.12.117+deb12-cloud-amd64` */
  readonly release: string;
  /** Debian's own, made by `flamebox kernel build`, or a file of the user's. */
  readonly kind: KernelKind;
  /** bzImage. */
  readonly path: string;
  readonly moduleDir: string;
  /** File names in `moduleDir`, in load order. */
  readonly modules: readonly string[];
}

/** A kernel for people and programs. */
export interface KernelInfo {
  readonly name: string;
  readonly release: string;
  readonly kind: KernelKind;
  /** bzImage. */
  readonly path: string;
  /** What its folder takes on disk. */
  readonly diskBytes: number;
  /** RFC 3339. */
  readonly createdAt: string;
  readonly inUse: boolean;
}

export type KernelRecord = Pick<Kernel, "release" | "modules" | "kind"> & {
  /** Where a given kernel is. */
  readonly path?: string | undefined;
};

/** What `kernel use` calls the newest of Debian's. */
export const DEBIAN = "debian";
export const BACK_TO_DEBIAN = 'run "flamebox kernel use debian" to go back to Debian\'s own';

const BLOCK_BYTES = 512;
const MAX_RECORD_BYTES = 64 * 1024;
const fileName = v.pipe(v.string(), v.regex(/^[0-9A-Za-z][0-9A-Za-z._+~-]{0,200}$/));
const kernelRecord = v.object({
  release: fileName,
  modules: v.array(fileName),
  kind: v.optional(v.picklist(["debian", "built", "given"])),
  path: v.optional(v.pipe(v.string(), v.startsWith("/"))),
});
const choiceRecord = v.object({ name: fileName });

export function kernelsDir(paths: Paths): string {
  return join(paths.dataDir, "kernels");
}

function choicePath(paths: Paths): string {
  return join(kernelsDir(paths), "chosen.json");
}

/** Of a record's file; undefined when it is none. */
export function parseKernelRecord(name: string, text: string): KernelRecord | undefined {
  const parsed = v.safeParse(kernelRecord, parseJson(text));
  if (!parsed.success) return undefined;
  const { kind = name.startsWith("custom-") ? "given" : "debian", ...rest } = parsed.output;
  return { ...rest, kind };
}

/** @returns the chosen name; undefined when it is none */
export function parseChoice(text: string): string | undefined {
  const parsed = v.safeParse(choiceRecord, parseJson(text));
  return parsed.success ? parsed.output.name : undefined;
}

function parseJson(text: string): unknown {
  if (text.length > MAX_RECORD_BYTES) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (systemCode(error) === "ENOENT" || systemCode(error) === "ENOTDIR") return undefined;
    throw error;
  }
}

/** The kernel of that name, or undefined. */
export async function loadKernel(paths: Paths, name: string): Promise<Kernel | undefined> {
  const dir = join(kernelsDir(paths), name);
  const text = await readIfThere(join(dir, "kernel.json"));
  const record = text === undefined ? undefined : parseKernelRecord(name, text);
  if (record === undefined) return undefined;
  const { release, modules, kind, path = join(dir, "vmlinuz") } = record;
  return { name, release, kind, path, moduleDir: join(dir, "modules"), modules };
}

/** All that are complete, by name, the newest first. */
export async function loadKernels(paths: Paths): Promise<Kernel[]> {
  let names: string[];
  try {
    names = await readdir(kernelsDir(paths));
  } catch (error) {
    if (systemCode(error) === "ENOENT") return [];
    throw error;
  }
  const found: Kernel[] = [];
  const visible = names.filter((name) => !name.startsWith("."));
  for (const name of visible.sort((a, b) => b.localeCompare(a, "en", { numeric: true }))) {
    const kernel = await loadKernel(paths, name);
    if (kernel !== undefined) found.push(kernel);
  }
  return found;
}

/** The newest of Debian's that is here. */
export async function newestDebian(paths: Paths): Promise<Kernel | undefined> {
  return (await loadKernels(paths)).find(({ kind }) => kind === "debian");
}

/**
 * The kernel that was chosen; undefined when none was, so that Debian's newest is the one.
 * @throws MachineError `kernel-missing` when it is not here any more: another kernel, unasked for, would be a surprise
 */
export async function chosenKernel(paths: Paths): Promise<Kernel | undefined> {
  const text = await readIfThere(choicePath(paths));
  if (text === undefined) return undefined;
  const name = parseChoice(text);
  if (name === undefined)
    throw new MachineError("kernel-missing", `${choicePath(paths)} names no kernel`, {
      hint: BACK_TO_DEBIAN,
    });
  const kernel = await loadKernel(paths, name);
  if (kernel === undefined)
    throw new MachineError(
      "kernel-missing",
      `the kernel ${quote(name)} was chosen and is not here any more`,
      {
        hint: BACK_TO_DEBIAN,
      },
    );
  return kernel;
}

async function withChoice<T>(paths: Paths, job: () => Promise<T>): Promise<T> {
  await makePrivateDir(kernelsDir(paths));
  return await withLock(join(kernelsDir(paths), ".choice.lock"), {}, job);
}

/** @throws MachineError `kernel-not-found`, `ambiguous-kernel-name` */
export async function chooseKernel(paths: Paths, name: string): Promise<void> {
  await withChoice(paths, async () => {
    const kernel = name === DEBIAN ? undefined : named(name, await loadKernels(paths));
    if (kernel === undefined) await rm(choicePath(paths), { force: true });
    else await writeFileAtomic(choicePath(paths), JSON.stringify({ name: kernel.name }));
  });
}

/**
 * What is here. The one in use may be missing: then none is in use.
 */
export async function listKernels(paths: Paths): Promise<KernelInfo[]> {
  await collectUnfinished(kernelsDir(paths));
  const kernels = await loadKernels(paths);
  const used = await usedName(paths, kernels);
  return await Promise.all(kernels.map(async (kernel) => await infoOf(paths, kernel, used)));
}

async function usedName(paths: Paths, kernels: readonly Kernel[]): Promise<string | undefined> {
  const text = await readIfThere(choicePath(paths));
  if (text !== undefined) return parseChoice(text);
  return kernels.find(({ kind }) => kind === "debian")?.name;
}

async function infoOf(paths: Paths, kernel: Kernel, used: string | undefined): Promise<KernelInfo> {
  const { name, release, kind, path } = kernel;
  const dir = join(kernelsDir(paths), name);
  const { mtime } = await stat(join(dir, "kernel.json"));
  const diskBytes = await diskBytesOf(dir);
  return { name, release, kind, path, diskBytes, createdAt: mtime.toISOString(), inUse: name === used };
}

async function diskBytesOf(dir: string): Promise<number> {
  let blocks = 0;
  for (const name of await readdir(dir, { recursive: true }).catch(() => []))
    blocks += (await stat(join(dir, name)).catch(() => undefined))?.blocks ?? 0;
  return blocks * BLOCK_BYTES;
}

/** By name, or by the beginning of one that no other has. */
function named<T extends { readonly name: string }>(name: string, present: readonly T[]): T {
  const hint = 'see "flamebox kernel ls"';
  const exact = present.find((kernel) => kernel.name === name);
  const found = exact === undefined && name !== "" ? present.filter((one) => one.name.startsWith(name)) : [];
  const only = exact ?? found[0];
  if (only === undefined)
    throw new MachineError("kernel-not-found", `there is no kernel ${quote(name)}`, { hint });
  if (found.length > 1)
    throw new MachineError(
      "ambiguous-kernel-name",
      `${found.length} kernels have names that begin with ${quote(name)}`,
      { hint },
    );
  return only;
}

/**
 * Removes kernels; machines and templates that were booted from them go on. When one of them cannot be removed, none is.
 * @throws MachineError `kernel-not-found`, `ambiguous-kernel-name`, `kernel-in-use`
 */
export async function removeKernels(paths: Paths, names: readonly string[]): Promise<KernelInfo[]> {
  return await withChoice(paths, async () => {
    const present = await listKernels(paths);
    const chosen = new Set(names.map((name) => named(name, present)));
    const used = [...chosen].find(({ inUse }) => inUse);
    if (used !== undefined)
      throw new MachineError("kernel-in-use", `the kernel ${quote(used.name)} is the one in use`, {
        hint: 'choose another one first: "flamebox kernel use NAME", or "debian"',
      });
    const removed: KernelInfo[] = [];
    for (const info of chosen) if (await removeWhole(kernelsDir(paths), info.name)) removed.push(info);
    return removed;
  });
}

/**
 * Fills a temporary folder, then gives it its name. Another process may have been first: its folder stays.
 * @param fill makes the bzImage `vmlinuz`, unless the record has a path, and `modules/`
 */
export async function publishKernel(
  paths: Paths,
  fill: (dir: string) => Promise<KernelRecord & { readonly name: string }>,
): Promise<Kernel> {
  const parent = kernelsDir(paths);
  await makePrivateDir(parent);
  await collectUnfinished(parent);
  const temporary = join(parent, unfinishedName());
  await mkdir(temporary, { mode: 0o700 });
  try {
    const { name, ...record } = await fill(temporary);
    await writeFile(join(temporary, "kernel.json"), JSON.stringify(record), { mode: 0o600, flush: true });
    const final = join(parent, name);
    await rename(temporary, final).catch(async (error: unknown) => {
      if (systemCode(error) !== "ENOTEMPTY" && systemCode(error) !== "EEXIST") throw error;
      // A folder without its record is what a killed process left.
      if ((await loadKernel(paths, name)) !== undefined) return;
      await rm(final, { recursive: true, force: true });
      await rename(temporary, final);
    });
    const kernel = await loadKernel(paths, name);
    if (kernel === undefined)
      throw new MachineError("kernel-unavailable", `the kernel in ${final} is not complete`);
    return kernel;
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}
