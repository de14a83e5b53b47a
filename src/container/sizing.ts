/**
 * How large a machine is for a container of a given size.
 *
 * `memoryMib` is the container's: the limit of its cgroup. Its machine has that and what the kernel and the agent
 * need, so that a container which takes all of its memory is ended by its own limit, and nothing else suffers:
 *
 *     need of a machine of M MiB = 92 + M/16 + 4 for each further vCPU
 *                                + 64 above 512 MiB: the reserve that the kernel keeps for huge pages
 *                                + 104 from 2816 MiB: bounce buffers for 32-bit devices, and a third memory zone
 *
 * The kernel counts what is available to programs, and the agent takes from that what it keeps from all containers
 * together (guest/src/init/limits.rs). Measured with Debian's 6.12 cloud kernel, what is then missing of the machine:
 * 87 MiB of 128, 98 of 256, 115 of 512, 206 of 1024, 259 of 2048, 475 of 4096; 4 for a vCPU. The host gives a
 * machine memory only when the machine touches it.
 */
import { availableParallelism, totalmem } from "node:os";
import type { MachineShare } from "../runtime-spec/resources.ts";
import { FlameBoxError } from "../util/error.ts";
import type { ContainerOptions } from "./options.ts";

const MIB = 1 << 20;
/** Of a machine whose container has no limit of its own. */
export const DEFAULT_MACHINE_MIB = 512;
/** Docker's least. */
const MIN_MEMORY_MIB = 6;
const HUGE_PAGES_ABOVE_MIB = 512;
/** q35 puts memory beyond 4 GiB of addresses from here on. */
const HIGH_MEMORY_FROM_MIB = 2_816;
const MAX_CPUS = 255;
const DEFAULT_PERIOD_US = 100_000;
const MIN_PERIOD_US = 1_000;
const MAX_PERIOD_US = 1_000_000;
const MIN_QUOTA_US = 1_000;

/** What the host has; a parameter so that limits can be tested on any. */
export interface HostCapacity {
  readonly cpus: number;
  readonly memoryMib: number;
}

export interface MachineSize {
  readonly vcpus: number;
  readonly memoryMib: number;
  readonly share: MachineShare;
}

export function hostCapacity(): HostCapacity {
  // A cgroup around this process bounds its machines as well; without one the number is beyond all memory.
  const constrained = process.constrainedMemory();
  const bytes = constrained > 0 ? Math.min(constrained, totalmem()) : totalmem();
  return { cpus: availableParallelism(), memoryMib: Math.floor(bytes / MIB) };
}

/** MiB that a machine of `machineMib` needs for itself. */
export function machineNeedMib(machineMib: number, vcpus: number): number {
  const hugePages = machineMib > HUGE_PAGES_ABOVE_MIB ? 64 : 0;
  const highMemory = machineMib >= HIGH_MEMORY_FROM_MIB ? 104 : 0;
  return 92 + Math.ceil(machineMib / 16) + 4 * (vcpus - 1) + hugePages + highMemory;
}

/** MiB for a container whose machine has all that there is. */
export function limitWithin(machineMib: number, vcpus: number): number {
  return Math.max(MIN_MEMORY_MIB, machineMib - machineNeedMib(machineMib, vcpus));
}

/** The smallest machine in which a container has `limitMib`. */
function machineFor(limitMib: number, vcpus: number): number {
  let machineMib = limitMib;
  for (;;) {
    const enough = limitMib + machineNeedMib(machineMib, vcpus);
    if (enough <= machineMib) return machineMib;
    machineMib = enough;
  }
}

/** @throws FlameBoxError `invalid-option` */
export function sizeMachine(options: ContainerOptions, host: HostCapacity): MachineSize {
  const cpu = cpuTime(options, host);
  const vcpus = cpu.vcpus;
  const { memoryMib } = options;
  if (memoryMib !== undefined && (!Number.isSafeInteger(memoryMib) || memoryMib < MIN_MEMORY_MIB))
    throw invalid(`a container has at least ${MIN_MEMORY_MIB} MiB of memory, in whole MiB, not ${memoryMib}`);
  const wanted = memoryMib ?? DEFAULT_MACHINE_MIB;
  const most = host.memoryMib - machineNeedMib(host.memoryMib, vcpus);
  if (memoryMib !== undefined && wanted > most)
    throw invalid(
      `this host has ${host.memoryMib} MiB of memory, too little for a container of ${wanted} MiB`,
      `at most ${Math.max(0, most)} MiB can be given to a container here`,
    );
  const machineMib = memoryMib === undefined ? DEFAULT_MACHINE_MIB : machineFor(memoryMib, vcpus);
  const limitMib = memoryMib ?? limitWithin(machineMib, vcpus);
  return {
    vcpus,
    memoryMib: Math.max(machineMib, limitMib + machineNeedMib(machineMib, vcpus)),
    share: { memoryLimitBytes: limitMib * MIB, cpu: cpu.time },
  };
}

interface CpuTime {
  readonly vcpus: number;
  readonly time: MachineShare["cpu"];
}

/** Whole CPUs are vCPUs, and need no quota; a fraction is a quota on as many vCPUs as it touches. */
function cpuTime(options: ContainerOptions, host: HostCapacity): CpuTime {
  const { cpus, cpuPeriodUs = 0, cpuQuotaUs = 0 } = options;
  if (cpus !== undefined && (cpuPeriodUs > 0 || cpuQuotaUs > 0))
    throw invalid(
      "CPUs are given as a number, or as a quota and a period, not both",
      "leave out --cpus, or the others",
    );
  if (
    cpuPeriodUs !== 0 &&
    !(Number.isSafeInteger(cpuPeriodUs) && cpuPeriodUs >= MIN_PERIOD_US && cpuPeriodUs <= MAX_PERIOD_US)
  )
    throw invalid(`a CPU period has ${MIN_PERIOD_US} to ${MAX_PERIOD_US} microseconds, not ${cpuPeriodUs}`);
  if (cpuQuotaUs > 0 && !(Number.isSafeInteger(cpuQuotaUs) && cpuQuotaUs >= MIN_QUOTA_US))
    throw invalid(`a CPU quota has at least ${MIN_QUOTA_US} microseconds, not ${cpuQuotaUs}`);
  const periodUs = cpuPeriodUs === 0 ? DEFAULT_PERIOD_US : cpuPeriodUs;
  const wanted = cpus ?? (cpuQuotaUs > 0 ? cpuQuotaUs / periodUs : 1);
  const most = Math.min(host.cpus, MAX_CPUS);
  if (!(wanted >= 0.01 && wanted <= most))
    throw invalid(`this host has ${most} CPUs: a container can have 0.01 to ${most} of them, not ${wanted}`);
  if (cpuQuotaUs > 0) return { vcpus: Math.ceil(wanted), time: { quotaUs: cpuQuotaUs, periodUs } };
  if (Number.isInteger(wanted)) return { vcpus: wanted, time: undefined };
  const quotaUs = Math.max(MIN_QUOTA_US, Math.round(wanted * DEFAULT_PERIOD_US));
  return { vcpus: Math.ceil(wanted), time: { quotaUs, periodUs: DEFAULT_PERIOD_US } };
}

function invalid(message: string, hint?: string): FlameBoxError {
  return new FlameBoxError("invalid-option", message, { hint });
}
