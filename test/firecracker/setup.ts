/** What the suites need: the program, and boot files of the kernel and the agent that `flamebox setup` left. */
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { requireAgent } from "../../src/container/host.ts";
import { firecrackerDriver } from "../../src/machine/firecracker/firecracker.ts";
import { findFirecracker } from "../../src/machine/firecracker/version.ts";
import { findKernel, prepareBoot } from "../../src/machine/kernel/kernel.ts";
import { elfKernel } from "../../src/machine/kernel/vmlinux.ts";
import type { BootFiles, MachineDriver } from "../../src/machine/machine.ts";
import { locatePaths } from "../../src/util/paths.ts";

/** Of this test process: what is left in it is nobody else's. */
export const runtimeDir = mkdtempSync(join(tmpdir(), "flamebox-fc-"));

export async function firecrackerProgram(): Promise<string> {
  const program = process.env["FLAMEBOX_FIRECRACKER"] ?? (await findFirecracker());
  if (program === undefined) throw new Error("there is no firecracker: run scripts/test-firecracker.sh");
  return program;
}

export async function setUp(): Promise<{ driver: MachineDriver; boot: BootFiles }> {
  const paths = locatePaths(process.env);
  const kernel = await findKernel(paths);
  if (kernel === undefined) throw new Error(`flamebox setup has left no kernel in ${paths.dataDir}`);
  const boot = await prepareBoot(kernel, await requireAgent(paths), paths);
  const driver = firecrackerDriver({ program: await firecrackerProgram(), runtimeDir });
  return { driver, boot: { ...boot, kernelPath: await elfKernel(kernel.path, paths) } };
}
