/** What the suites need: a host with the program, the kernel and the agent that `flamebox setup` left. */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { inject } from "vitest";
import type { Host } from "../../src/container/host.ts";
import { requireAgent } from "../../src/container/host.ts";
import { firecrackerDriver } from "../../src/machine/firecracker/firecracker.ts";
import { findJailer } from "../../src/machine/firecracker/find-jailer.ts";
import type { FirecrackerTuning } from "../../src/machine/firecracker/tuning.ts";
import { findFirecracker } from "../../src/machine/firecracker/version.ts";
import { jailProblem } from "../../src/machine/jail/ability.ts";
import { USERS_DIR } from "../../src/machine/jail/users.ts";
import { findKernel, prepareBoot } from "../../src/machine/kernel/kernel.ts";
import { elfKernel } from "../../src/machine/kernel/vmlinux.ts";

export async function firecrackerProgram(): Promise<string> {
  const program = process.env["FLAMEBOX_FIRECRACKER"] ?? (await findFirecracker());
  if (program === undefined) throw new Error("there is no firecracker: run scripts/test-firecracker.sh");
  return program;
}

/** An emulated processor is slow, and its KVM slower. */
export const PATIENCE = { bootDeadlineMs: 120_000, patience: 10 };

/** What the host has of machines: directories of running ones, jailed and not. */
export async function leftOfMachines(): Promise<string[]> {
  const { dataDir, runtimeDir } = inject("firecracker").paths;
  // Containers that live by themselves have a folder for their sockets, which stays.
  const sockets = "containers";
  const dirs = [runtimeDir, join(runtimeDir, sockets), join(dataDir, "jails"), USERS_DIR];
  const found = (await Promise.all(dirs.map(async (dir) => await readdir(dir).catch(() => [])))).flat();
  return found.filter((name) => name !== sockets);
}

/** Root's VMMs are jailed, others' cannot be. */
export const isRoot = process.geteuid?.() === 0;

async function jailerProgram(firecracker: string): Promise<string> {
  const problem = await jailProblem(inject("firecracker").paths.dataDir, { jailer: true });
  if (problem !== undefined) throw new Error(`root cannot jail machines here: ${problem}`);
  const found = await findJailer({ paths: inject("firecracker").paths, firecracker });
  if ("problem" in found) throw new Error(`there is no jailer for ${firecracker}: ${found.problem}`);
  return found.program;
}

/** As `prepareHost` would find it, but for the probe of KVM, whose deadline an emulated processor may miss. */
export async function firecrackerHost(tuning?: FirecrackerTuning): Promise<Host> {
  const { paths } = inject("firecracker");
  const kernel = await findKernel(paths);
  if (kernel === undefined) throw new Error(`flamebox setup has left no kernel in ${paths.dataDir}`);
  const agent = await requireAgent(paths);
  const boot = await prepareBoot(kernel, agent, paths);
  const program = await firecrackerProgram();
  return {
    driver: firecrackerDriver({
      program,
      runtimeDir: paths.runtimeDir,
      helper: agent,
      tuning,
      jailer: isRoot ? { program: await jailerProgram(program), dataDir: paths.dataDir } : undefined,
    }),
    boot: { ...boot, kernelPath: await elfKernel(kernel.path, paths) },
    kernel,
    kvm: { usable: true, reason: "the suites are run where it is" },
  };
}
