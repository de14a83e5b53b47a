/** Kernels as a person manages them. Machines find theirs by themselves: host.ts. */
import * as build from "../machine/kernel/build.ts";
import type { KernelInfo, KernelKind } from "../machine/kernel/store.ts";
import * as store from "../machine/kernel/store.ts";
import { MachineError } from "../machine/machine.ts";
import { locatePaths } from "../util/paths.ts";
import { kernelFragmentPath } from "./host.ts";
import type { OperationOptions } from "./options.ts";

export type { KernelInfo, KernelKind };

export interface BuildKernelOptions extends OperationOptions {
  /** Path of a file with lines as in a kernel's `.config`, which count more than FlameBox's own. */
  readonly fragment?: string | undefined;
  /** Compilers at once; default: as many as there are CPUs. */
  readonly jobs?: number | undefined;
}

/** Where kernels are kept. */
export type KernelOptions = Pick<OperationOptions, "paths">;

/** What is here, the newest first. */
export async function listKernels(options: KernelOptions = {}): Promise<KernelInfo[]> {
  return await store.listKernels(options.paths ?? locatePaths());
}

/**
 * Makes the tuned kernel out of Debian's source, which takes minutes; unless the same one is here. It is not used
 * before `useKernel` says so.
 * @throws FlameBoxError `build-tools-missing`, `kernel-unavailable`, `bad-fragment`, `fragment-refused`,
 *   `kernel-build-failed`, `disk-full`, `invalid-option`
 */
export async function buildKernel(options: BuildKernelOptions = {}): Promise<KernelInfo> {
  const { paths = locatePaths(), signal, onProgress, onNotice, jobs, fragment } = options;
  const { name } = await build.buildKernel({
    paths,
    signal,
    onProgress,
    onNotice,
    jobs,
    fragmentPath: kernelFragmentPath(),
    ownFragmentPath: fragment,
  });
  const info = (await store.listKernels(paths)).find((kernel) => kernel.name === name);
  if (info !== undefined) return info;
  throw new MachineError("kernel-unavailable", `the kernel ${name} was removed while it was being made`, {
    temporary: true,
  });
}

/**
 * Which kernel machines get from now on.
 * @param name of a kernel that is here, or the beginning of one that no other has; `debian`: the newest of Debian's
 * @returns the kernel in use; null while none of Debian's has been fetched
 * @throws MachineError `kernel-not-found`, `ambiguous-kernel-name`
 */
export async function useKernel(name: string, options: KernelOptions = {}): Promise<KernelInfo | null> {
  const paths = options.paths ?? locatePaths();
  await store.chooseKernel(paths, name);
  return (await store.listKernels(paths)).find(({ inUse }) => inUse) ?? null;
}

/**
 * Removes kernels; machines that were booted from them go on. When one of them cannot be removed, none is.
 * @param names names, or beginnings that no other has
 * @returns what was removed
 * @throws MachineError `kernel-not-found`, `ambiguous-kernel-name`, `kernel-in-use`
 */
export async function removeKernels(
  names: readonly string[],
  options: KernelOptions = {},
): Promise<KernelInfo[]> {
  return await store.removeKernels(options.paths ?? locatePaths(), names);
}
