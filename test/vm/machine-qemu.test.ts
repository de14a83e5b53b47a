import { dirname } from "node:path";
import { inject } from "vitest";
import { requireAgent } from "../../src/container/host.ts";
import { findKernel, prepareBoot } from "../../src/machine/kernel/kernel.ts";
import type { BootFiles, MachineDriver } from "../../src/machine/machine.ts";
import { qemuDriver } from "../../src/machine/qemu/qemu.ts";
import { machineContract } from "../contract/machine.ts";
import { templateContract } from "../contract/template.ts";

async function setUp(): Promise<{ driver: MachineDriver; boot: BootFiles }> {
  const dataDir = dirname(inject("kernelDir"));
  const paths = { dataDir, runtimeDir: dataDir };
  const kernel = await findKernel(paths);
  if (kernel === undefined) throw new Error(`flamebox setup has left no kernel in ${dataDir}`);
  const boot = await prepareBoot(kernel, await requireAgent(paths), paths);
  return { driver: qemuDriver({ acceleration: "tcg" }), boot };
}

machineContract("QEMU in software emulation", setUp);
templateContract("QEMU in software emulation", setUp);
