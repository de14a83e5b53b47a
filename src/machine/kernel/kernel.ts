/**
 * What a machine boots from, in the data directory:
 *
 *     kernels/RELEASE/…                        Debian's, installed once (debian-package.ts)
 *     kernels/RELEASE-KEY/…                    made here from Debian's source (build.ts)
 *     kernels/custom-KEY/…                     a kernel given by the user
 *     guest/initramfs-KEY.cpio                 derived: the agent + one kernel's modules
 *     guest/vmlinux-KEY                        derived: the ELF file in a bzImage (vmlinux.ts)
 *
 * store.ts says how they are kept, and which one is used.
 */
import { createHash } from "node:crypto";
import { access, mkdir, open, readFile, realpath, stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import * as bzimage from "../../formats/bzimage/bzimage.ts";
import { makePrivateDir, writeFileAtomic } from "../../util/atomic-file.ts";
import { messageOf } from "../../util/error.ts";
import type { Paths } from "../../util/paths.ts";
import type { OnProgress } from "../../util/progress.ts";
import { silent } from "../../util/progress.ts";
import type { BootFiles } from "../machine.ts";
import { MachineError } from "../machine.ts";
import { collectModules, downloadKernel } from "./debian-package.ts";
import { buildInitramfs } from "./initramfs.ts";
import type { Kernel } from "./store.ts";
import { BACK_TO_DEBIAN, chosenKernel, loadKernel, newestDebian, publishKernel } from "./store.ts";

export interface KernelOptions {
  readonly paths: Paths;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
}

/**
 * The kernel to use: the chosen one, else the newest of Debian's that is installed, or undefined.
 * @throws MachineError `kernel-missing` when the chosen one is not here any more
 */
export async function findKernel(paths: Paths): Promise<Kernel | undefined> {
  const chosen = await chosenKernel(paths);
  if (chosen === undefined) return await newestDebian(paths);
  if (chosen.kind !== "given") return chosen;
  try {
    // The file may be another one by now, with other modules.
    return await adoptKernel(chosen.path, { paths });
  } catch (error) {
    throw new MachineError("kernel-missing", `the kernel that was chosen: ${messageOf(error)}`, {
      hint: BACK_TO_DEBIAN,
      cause: error,
    });
  }
}

/**
 * Fetches Debian's cloud kernel unless there is one to use (`force` fetches the newest again).
 * @throws MachineError `kernel-unavailable`, `kernel-missing`
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
    return { name: release, release, modules, kind: "debian" };
  });
}

/**
 * A kernel of the user's: a bzImage. Its modules are looked for in `modules/RELEASE` and `lib/modules/RELEASE`
 * beside it and in /lib/modules/RELEASE; where there are none it must have everything built in.
 * @throws MachineError `kernel-unavailable`, BzImageError `not-a-kernel`
 */
export async function adoptKernel(given: string, options: KernelOptions): Promise<Kernel> {
  const { paths, signal } = options;
  const path = resolve(given);
  const { header, key } = await inspectKernel(path);
  const name = `custom-${key}`;
  const known = await loadKernel(paths, name);
  if (known !== undefined) return { ...known, path };
  const release = header.release ?? "unknown";
  return await publishKernel(paths, async (temporary) => {
    const moduleDir = join(temporary, "modules");
    const source = header.release === undefined ? undefined : await findModules(path, header.release);
    if (source === undefined) await mkdir(moduleDir, { mode: 0o700 });
    const modules = source === undefined ? [] : await collectModules(source, release, moduleDir, signal);
    return { name, release, modules, kind: "given", path };
  });
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
