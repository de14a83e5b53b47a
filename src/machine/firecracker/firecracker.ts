/**
 * The Firecracker driver: vmm.ts is the process, api/ its resources, place.ts its directory, template.ts saving and
 * restoring. A machine is put together by the API, one resource at a time, before it starts:
 *
 *     spawn ─► /machine-config /boot-source /drives /vsock /entropy ─► /actions InstanceStart ─► guest listens
 */
import { stat } from "node:fs/promises";
import type { Machine, MachineConfig, MachineDriver, StartOptions } from "../machine.ts";
import { startInstance } from "./api/action.ts";
import { putBase, putCommon, putNetwork, putScratch } from "./configure.ts";
import { firecrackerTemplates } from "./template.ts";
import type { FirecrackerMachine, FirecrackerOptions } from "./vmm.ts";
import { spawnFirecracker } from "./vmm.ts";

export function firecrackerDriver(options: FirecrackerOptions): MachineDriver {
  return {
    name: "firecracker",
    baseFormat: "raw",
    // Firecracker's serial numbers are made of inodes, and change with the file; the order of its devices is kept.
    diskNames: { base: "vda", scratch: "vdb" },
    overlays: false,
    start: async (config, start) => await startFirecracker(options, config, start),
    templates: firecrackerTemplates(options),
  };
}

/** @throws MachineError; the signal's reason */
async function startFirecracker(
  options: FirecrackerOptions,
  config: MachineConfig,
  { signal }: StartOptions = {},
): Promise<Machine> {
  const { network, hostCpus, disks } = config;
  const mostFileBytes = disks.scratch === undefined ? 0 : (await stat(disks.scratch.path)).size;
  const hasNetwork = network !== undefined;
  const machine = await spawnFirecracker(options, { hasNetwork, hostCpus, mostFileBytes, signal });
  try {
    await configure(machine, config);
    signal?.throwIfAborted();
    await startInstance(machine.api);
    if (network !== undefined) machine.attachNetwork(network);
    return machine;
  } catch (error) {
    await machine.kill();
    throw error;
  }
}

async function configure(machine: FirecrackerMachine, config: MachineConfig): Promise<void> {
  const { place } = machine;
  await putCommon(machine, config.boot, config);
  const { base, scratch } = config.disks;
  if (base !== undefined) await putBase(machine, await place.lend(base.path));
  if (scratch !== undefined) await putScratch(machine, await place.give(scratch.path));
  if (config.network !== undefined) await putNetwork(machine, config.network.mac);
}
