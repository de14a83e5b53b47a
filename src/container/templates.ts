/** Templates as a person manages them. Containers make and use them by themselves: template.ts. */
import { findKernel } from "../machine/kernel/kernel.ts";
import { MachineError } from "../machine/machine.ts";
import type { Template, TemplateInfo } from "../machine/template/store.ts";
import * as store from "../machine/template/store.ts";
import { FlameBoxError } from "../util/error.ts";
import type { Paths } from "../util/paths.ts";
import { locatePaths } from "../util/paths.ts";
import { quote } from "../util/printable.ts";
import { prepareHost } from "./host.ts";
import type { MachineOptions, OperationOptions } from "./options.ts";
import { preparationFor } from "./preparation.ts";
import { storageSize } from "./scratch.ts";
import { hostCapacity, sizeMachine } from "./sizing.ts";
import { provideTemplate } from "./template.ts";

export type { TemplateInfo };

export interface BuildTemplateOptions
  extends OperationOptions,
    Pick<
      MachineOptions,
      "cpus" | "memoryMib" | "storageBytes" | "kernel" | "requireKvm" | "vmm" | "firecrackerTuning"
    > {
  /** As the container's: `none` is a machine without a network interface. Default `user`. */
  readonly network?: "user" | "none" | undefined;
  /** For containers that stay when they have ended, whose disks have a journal. Default false. */
  readonly keep?: boolean | undefined;
}

/** What is here, used last first. */
export async function listTemplates(options: Pick<OperationOptions, "paths"> = {}): Promise<TemplateInfo[]> {
  return await store.listTemplates(options.paths ?? locatePaths());
}

/**
 * The template for containers of a size, made unless it is here.
 * @throws FlameBoxError `invalid-option`, `templates-unsupported`, `template-failed`, and those of a start
 */
export async function buildTemplate(options: BuildTemplateOptions = {}): Promise<TemplateInfo> {
  const paths = options.paths ?? locatePaths();
  const { vcpus: cpus, memoryMib } = sizeMachine(options, hostCapacity());
  const host = await prepareHost(paths, options);
  const { templates } = host.driver;
  if (templates === undefined)
    throw new MachineError("templates-unsupported", `${host.driver.name} cannot save machines`);
  const storageBytes = storageSize(options.storageBytes);
  const { network = "user", keep = false } = options;
  const disk = keep ? "lasting" : "passing";
  const shape = { cpus, memoryMib, network: network !== "none", storageBytes, disk } as const;
  const template = await provideTemplate(templates, { ...options, paths, host, shape });
  return await infoOf(paths, template);
}

async function infoOf(paths: Paths, { key }: Template): Promise<TemplateInfo> {
  const info = (await store.listTemplates(paths)).find((candidate) => candidate.key === key);
  if (info !== undefined) return info;
  throw new MachineError("template-failed", `the template ${key} was removed while it was being made`, {
    temporary: true,
  });
}

/**
 * Removes templates; machines that were restored from them go on.
 * @param keys keys, or beginnings that no other has. When one of them is not found, nothing is removed.
 * @returns what was removed
 * @throws MachineError `template-not-found`, `ambiguous-template-key`
 */
export async function removeTemplates(
  keys: readonly string[],
  options: Pick<OperationOptions, "paths"> = {},
): Promise<TemplateInfo[]> {
  const paths = options.paths ?? locatePaths();
  const present = await store.listTemplates(paths);
  const chosen = new Set(keys.map((key) => named(key, present)));
  const removed: TemplateInfo[] = [];
  for (const info of chosen) if (await store.removeTemplate(paths, info.key)) removed.push(info);
  return removed;
}

function named(key: string, present: readonly TemplateInfo[]): TemplateInfo {
  const found = key === "" ? [] : present.filter((info) => info.key.startsWith(key));
  const [only] = found;
  const hint = 'see "flamebox template ls"';
  if (only === undefined)
    throw new MachineError("template-not-found", `there is no template ${quote(key)}`, { hint });
  if (found.length > 1)
    throw new MachineError(
      "ambiguous-template-key",
      `${found.length} templates have keys that begin with ${quote(key)}`,
      { hint },
    );
  return only;
}

/**
 * Removes those that no start would use any more: made from another kernel (a kernel of the user's included),
 * agent or VMM than this host would take now; and what killed processes left.
 * @returns what was removed; those that are damaged are removed, too, and not told
 */
export async function pruneTemplates(options: OperationOptions = {}): Promise<TemplateInfo[]> {
  const paths = options.paths ?? locatePaths();
  const present = await store.listTemplates(paths);
  const removed = new Set(await store.pruneTemplates(paths, await usableKeys(paths, present, options)));
  return present.filter(({ key }) => removed.has(key));
}

async function usableKeys(
  paths: Paths,
  present: readonly TemplateInfo[],
  options: OperationOptions,
): Promise<Set<string>> {
  // A kernel that is yet to be fetched has no templates, and fetching it is not what was asked for.
  if (present.length === 0 || (await findKernel(paths)) === undefined) return new Set();
  const keys: string[] = [];
  // What a start would choose, and what it would with another option.
  for (const choice of [{}, { vmm: "qemu", onNotice: undefined }] as const) {
    const host = await prepareHost(paths, { ...options, ...choice }).catch((error: unknown) => {
      if (error instanceof FlameBoxError && error.code === "vmm-missing") return undefined;
      throw error;
    });
    if (host?.driver.templates === undefined) continue;
    const identity = await host.driver.templates.identity();
    for (const { cpus, memoryMib, network, storageBytes, disk } of present) {
      const shape = { cpus, memoryMib, network, storageBytes, disk };
      keys.push(await store.templateKey(identity, host.boot, shape, preparationFor(shape, host)));
    }
  }
  return new Set(keys);
}
