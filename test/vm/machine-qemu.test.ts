import { inject } from "vitest";
import { requireAgent } from "../../src/container/host.ts";
import { findKernel, prepareBoot } from "../../src/machine/kernel/kernel.ts";
import { qemuDriver } from "../../src/machine/qemu/qemu.ts";
import { machineContract } from "../contract/machine.ts";
import { dirname } from "node:path";

machineContract("QEMU in software emulation", async () => {
  const dataDir = dirname(inject("kernelDir"));
  const paths = { dataDir, runtimeDir: dataDir };
  const kernel = await findKernel(paths);
  if (kernel === undefined) throw new Error(`flamebox setup has left no kernel in ${dataDir}`);
  const boot = await prepareBoot(kernel, await requireAgent(paths), paths);
  return { driver: qemuDriver({ acceleration: "tcg" }), boot };
});
