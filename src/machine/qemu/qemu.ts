/** The QEMU driver: vmm.ts is the process, arguments.ts its command line, template.ts saving and restoring. */
import { stat } from "node:fs/promises";
import type { DiskFile, Machine, MachineConfig, MachineDriver, StartOptions } from "../machine.ts";
import { BASE_SERIAL, SCRATCH_SERIAL, qemuArguments } from "./arguments.ts";
import { qemuTemplates } from "./template.ts";
import type { QemuOptions } from "./vmm.ts";
import { spawnQemu } from "./vmm.ts";

export function qemuDriver(options: QemuOptions): MachineDriver {
  return {
    name: "qemu",
    baseFormat: "vmdk",
    diskNames: { base: BASE_SERIAL, scratch: SCRATCH_SERIAL },
    overlays: true,
    start: async (config, startOptions) => await startQemu(options, config, startOptions),
    templates: qemuTemplates(options),
  };
}

async function startQemu(
  options: QemuOptions,
  config: MachineConfig,
  start: StartOptions = {},
): Promise<Machine> {
  const { acceleration, processor } = options;
  const machine = await spawnQemu(options, qemuArguments(config, acceleration, processor), {
    hasNetwork: config.network !== undefined,
    hostCpus: config.hostCpus,
    mostFileBytes: await sizeOf(config.disks.scratch),
    signal: start.signal,
  });
  if (config.network !== undefined) machine.attachNetwork(config.network);
  return machine;
}

async function sizeOf(disk: DiskFile | undefined): Promise<number> {
  return disk === undefined ? 0 : (await stat(disk.backingPath ?? disk.path)).size;
}
