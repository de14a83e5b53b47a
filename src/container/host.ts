/**
 * What this host can give: which VMM, with or without KVM, booting what. Found once a command.
 */
import { access } from "node:fs/promises";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { AgentSession } from "../agent/session/session.ts";
import { adoptKernel, installKernel, prepareBoot } from "../machine/kernel/kernel.ts";
import type { Kernel } from "../machine/kernel/store.ts";
import type { BootFiles, MachineDriver } from "../machine/machine.ts";
import { MachineError } from "../machine/machine.ts";
import type { KvmVerdict } from "../machine/probe/kvm.ts";
import { probeKvm } from "../machine/probe/kvm.ts";
import type { Paths } from "../util/paths.ts";
import type { OnProgress } from "../util/progress.ts";
import { silent } from "../util/progress.ts";
import type { HostOptions } from "./options.ts";
import { PACKAGE_ROOT } from "./package-root.ts";
import { chooseVmm } from "./vmm.ts";

export interface Host {
  readonly driver: MachineDriver;
  readonly boot: BootFiles;
  readonly kernel: Kernel;
  readonly kvm: KvmVerdict;
}

export const EMULATION_NOTICE =
  "software emulation: slow, and no isolation boundary against hostile code; KVM is not used because";

/** Where the guest's agent can be: shipped with the package, built in a checkout, or built by `setup`. */
function agentCandidates(paths: Paths): string[] {
  const built = join("x86_64-unknown-linux-gnu", "release", "flamebox-agent");
  return [
    join(PACKAGE_ROOT, "guest", "bin", "flamebox-agent"),
    join(PACKAGE_ROOT, "guest", "target", built),
    join(paths.dataDir, "guest", "target", built),
  ];
}

export function guestSourceDir(): string {
  return join(PACKAGE_ROOT, "guest");
}

/** What a kernel that is built here has built in. */
export function kernelFragmentPath(): string {
  return join(PACKAGE_ROOT, "kernel", "tuned.config");
}

export async function findAgent(paths: Paths): Promise<string | undefined> {
  for (const path of agentCandidates(paths)) {
    try {
      await access(path);
      return path;
    } catch {
      // Not there; the next place may have it.
    }
  }
  return undefined;
}

/** @throws MachineError `agent-missing` */
export async function requireAgent(paths: Paths): Promise<string> {
  const path = await findAgent(paths);
  if (path === undefined)
    throw new MachineError("agent-missing", "the guest's agent has not been built", {
      hint: 'run "flamebox setup"',
    });
  return path;
}

/**
 * Finds all that a machine needs (vmm.ts chooses the VMM). The kernel is the one that was chosen; else Debian's,
 * fetched at first use.
 * @throws MachineError `vmm-missing`, `kernel-unavailable`, `kernel-missing`, `agent-missing`, `kvm-unusable`
 */
export async function prepareHost(paths: Paths, options: HostOptions): Promise<Host> {
  const { signal, onProgress = silent } = options;
  const [kernel, agent] = await Promise.all([
    options.kernel === undefined
      ? installKernel({ paths, signal, onProgress })
      : adoptKernel(options.kernel, { paths, signal, onProgress }),
    requireAgent(paths),
  ]);
  const { driver, boot, kvm } = await chooseVmm({
    paths,
    kernel,
    boot: await prepareBoot(kernel, agent, paths),
    options,
    agent,
    tryKvm: async (candidate) => await checkKvm({ ...candidate, paths, signal, onProgress }),
  });
  if (!kvm.usable && options.requireKvm === true)
    throw new MachineError("kvm-unusable", `KVM is not usable: ${kvm.reason}`, { hint: kvm.hint });
  if (!kvm.usable) options.onNotice?.(`${EMULATION_NOTICE} ${kvm.reason}`);
  return { driver, boot, kernel, kvm };
}

export interface KvmCheckOptions {
  readonly paths: Paths;
  readonly boot: BootFiles;
  /** One that uses KVM. */
  readonly driver: MachineDriver;
  readonly program: string;
  /** Tried with a network interface. */
  readonly network?: boolean | undefined;
  readonly isJailed?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
}

export async function checkKvm(options: KvmCheckOptions): Promise<KvmVerdict> {
  const { onProgress = silent, ...rest } = options;
  let reported = false;
  const report = (state: "running" | "done"): void => {
    reported = state === "running";
    onProgress({ id: "kvm", label: "trying a guest on KVM", state });
  };
  try {
    return await probeKvm({ ...rest, answered, onStart: () => report("running") });
  } finally {
    if (reported) report("done");
  }
}

async function answered(stream: Duplex, deadlineMs: number, signal: AbortSignal | undefined): Promise<void> {
  const { session } = await AgentSession.open(stream, { deadlineMs, signal });
  await session[Symbol.asyncDispose]();
}
