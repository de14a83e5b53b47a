/**
 * What a machine boots from, in the data directory:
 *
 *     kernels/RELEASE/vmlinuz, modules/*.ko, kernel.json     installed once (debian-package.ts), or
 *     kernels/custom-KEY/…                                    a kernel given by the user
 *     guest/initramfs-KEY.cpio                                derived: the agent + one kernel's modules
 *     guest/vmlinux-KEY                                       derived: the ELF file in a bzImage (vmlinux.ts)
 *
 * A folder in kernels/ is published by rename and complete when it has its kernel.json.
 */
import { createHash } from "node:crypto";
import {
  access,
  mkdir,
  mkdtemp,
  open,
  readFile,
  readdir,
  realpath,
  rename,
  rm,
  stat,
  writeFile,
} from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { object, array, pipe, regex, safeParse, string } from "valibot";
import * as bzimage from "../../formats/bzimage/bzimage.ts";
import { makePrivateDir, writeFileAtomic } from "../../util/atomic-file.ts";
import { messageOf, systemCode } from "../../util/error.ts";
import type { Paths } from "../../util/paths.ts";
import type { OnProgress } from "../../util/progress.ts";
import { silent } from "../../util/progress.ts";
import type { BootFiles } from "../machine.ts";
import { MachineError } from "../machine.ts";
import { collectModules, downloadKernel } from "./debian-package.ts";
import { buildInitramfs } from "./initramfs.ts";

export interface Kernel {
  /** `6.12.117+deb12-cloud-amd64` */
  readonly release: string;
  /** bzImage. */
  readonly path: string;
  readonly moduleDir: string;
  /** File names in `moduleDir`, in load order. */
  readonly modules: readonly string[];
}

export interface KernelOptions {
  readonly paths: Paths;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
}

const fileName = pipe(string(), regex(/^[0-9A-Za-z][0-9A-Za-z._+~-]{0,200}$/));
const kernelRecord = object({ release: fileName, modules: array(fileName) });

function kernelsDir(paths: Paths): string {
  return join(paths.dataDir, "kernels");
}

async function loadKernel(dir: string): Promise<Kernel | undefined> {
  let text: string;
  try {
    text = await readFile(join(dir, "kernel.json"), "utf8");
  } catch (error) {
    if (systemCode(error) === "ENOENT" || systemCode(error) === "ENOTDIR") return undefined;
    throw error;
  }
  const parsed = safeParse(kernelRecord, parseJson(text));
  if (!parsed.success) return undefined;
  const { release, modules } = parsed.output;
  return { release, path: join(dir, "vmlinuz"), moduleDir: join(dir, "modules"), modules };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The newest installed kernel, or undefined. */
export async function findKernel(paths: Paths): Promise<Kernel | undefined> {
  let names: string[];
  try {
    names = await readdir(kernelsDir(paths));
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    throw error;
  }
  const installed = names.filter((name) => !name.startsWith(".") && !name.startsWith("custom-"));
  for (const name of installed.sort((a, b) => b.localeCompare(a, "en", { numeric: true }))) {
    const kernel = await loadKernel(join(kernelsDir(paths), name));
    if (kernel !== undefined) return kernel;
  }
  return undefined;
}

/**
 * Fetches Debian's cloud kernel unless one is installed (`force` fetches the newest again).
 * @throws MachineError `kernel-unavailable`
 */
export async function installKernel(
  options: KernelOptions & {
    readonly packageName?: string | undefined;
    readonly force?: boolean | undefined;
  },
): Promise<Kernel> {
  const { paths, signal, onProgress = silent, packageName, force = false } = options;
  const existing = force || packageName !== undefined ? undefined : await findKernel(paths);
  if (existing !== undefined) return existing;
  return await publishKernel(paths, async (dir) => {
    const { release, modules } = await downloadKernel(dir, { signal, onProgress, packageName });
    return { name: release, release, modules };
  });
}

/** Fills a temporary folder, then gives it its name. Another process may have been first: its folder stays. */
async function publishKernel(
  paths: Paths,
  fill: (dir: string) => Promise<{ name: string; release: string; modules: readonly string[] }>,
): Promise<Kernel> {
  await makePrivateDir(kernelsDir(paths));
  const temporary = await mkdtemp(join(kernelsDir(paths), ".new-"));
  try {
    const { name, release, modules } = await fill(temporary);
    await writeFile(join(temporary, "kernel.json"), JSON.stringify({ release, modules }), {
      mode: 0o600,
      flush: true,
    });
    const final = join(kernelsDir(paths), name);
    await rename(temporary, final).catch(async (error: unknown) => {
      if (systemCode(error) !== "ENOTEMPTY" && systemCode(error) !== "EEXIST") throw error;
      // A folder without its record is what a killed process left.
      if ((await loadKernel(final)) !== undefined) return;
      await rm(final, { recursive: true, force: true });
      await rename(temporary, final);
    });
    const kernel = await loadKernel(final);
    if (kernel === undefined)
      throw new MachineError("kernel-unavailable", `the kernel in ${final} is not complete`);
    return kernel;
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

/**
 * A kernel of the user's: a bzImage. Its modules are looked for in `modules/RELEASE` and `lib/modules/RELEASE`
 * beside it and in /lib/modules/RELEASE; where there are none it must have everything built in.
 * @throws MachineError `kernel-unavailable`, BzImageError `not-a-kernel`
 */
export async function useKernel(path: string, options: KernelOptions): Promise<Kernel> {
  const { paths, signal } = options;
  const { header, key } = await inspectKernel(path);
  const dir = join(kernelsDir(paths), `custom-${key}`);
  const known = await loadKernel(dir);
  if (known !== undefined) return { ...known, path };
  const release = header.release ?? "unknown";
  const kernel = await publishKernel(paths, async (temporary) => {
    const moduleDir = join(temporary, "modules");
    const source = header.release === undefined ? undefined : await findModules(path, header.release);
    if (source === undefined) await mkdir(moduleDir, { mode: 0o700 });
    const modules = source === undefined ? [] : await collectModules(source, release, moduleDir, signal);
    return { name: basename(dir), release, modules };
  });
  return { ...kernel, path };
}

/** `key` stands for the file's bytes. @throws MachineError `kernel-unavailable`, BzImageError `not-a-kernel` */
export async function inspectKernel(path: string): Promise<{ header: bzimage.BzImageHeader; key: string }> {
  let handle;
  try {
    handle = await open(path, "r");
  } catch (error) {
    throw new MachineError("kernel-unavailable", `cannot read the kernel ${path}: ${messageOf(error)}`, {
      cause: error,
    });
  }
  try {
    const { size, mtimeMs } = await handle.stat();
    const { buffer, bytesRead } = await handle.read(
      Buffer.alloc(bzimage.HEADER_BYTES),
      0,
      bzimage.HEADER_BYTES,
      0,
    );
    const head = buffer.subarray(0, bytesRead);
    const key = createHash("sha256")
      .update(head)
      .update(`${size} ${mtimeMs} ${path}`)
      .digest("hex")
      .slice(0, 16);
    return { header: bzimage.parse(head, path), key };
  } finally {
    await handle.close();
  }
}

async function findModules(kernelPath: string, release: string): Promise<string | undefined> {
  const beside = dirname(kernelPath);
  for (const root of [
    join(beside, "modules"),
    join(beside, "lib", "modules"),
    join(beside, "..", "lib", "modules"),
    "/lib/modules",
  ]) {
    try {
      await access(join(root, release, "modules.dep"));
      return join(root, release);
    } catch {
      // Not there; the next place may have them.
    }
  }
  return undefined;
}

/** The initramfs of this agent and this kernel's modules; made when it is not there yet. */
export async function prepareBoot(kernel: Kernel, agentPath: string, paths: Paths): Promise<BootFiles> {
  const agent = await stat(agentPath).catch((error: unknown) => {
    throw new MachineError("agent-missing", `the guest's agent is not at ${agentPath}`, {
      hint: 'run "flamebox setup"',
      cause: error,
    });
  });
  // Size and mtime stand for the agent's bytes, so that a start need not read them.
  const modules = await realpath(kernel.moduleDir);
  const identity = `2 ${modules} ${kernel.modules.join(" ")} ${agentPath} ${agent.size} ${agent.mtimeMs}`;
  const key = createHash("sha256").update(identity).digest("hex").slice(0, 16);
  const guestDir = join(paths.dataDir, "guest");
  const initramfsPath = join(guestDir, `initramfs-${key}.cpio`);
  try {
    await access(initramfsPath);
  } catch {
    await makePrivateDir(guestDir);
    const modules = await Promise.all(
      kernel.modules.map(async (name) => ({ name, data: await readFile(join(kernel.moduleDir, name)) })),
    );
    await writeFileAtomic(initramfsPath, buildInitramfs({ agent: await readFile(agentPath), modules }));
  }
  return { kernelPath: kernel.path, initramfsPath };
}
