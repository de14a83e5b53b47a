/** What of its machine a container may use: `linux.resources`, from options that have Docker's bounds. */
import type { Resources } from "./config.ts";
import type { DeviceRule } from "./config.ts";
import { invalidOption } from "./error.ts";

export interface ResourceOptions {
  /** Memory and swap together, bytes; -1 is no limit. A machine has no swap, so it only has to fit. */
  readonly memorySwapBytes?: number | undefined;
  /** What the container keeps when memory is short, bytes. */
  readonly memoryReservationBytes?: number | undefined;
  /** -1000 … 1000: how early the kernel ends the process when memory is short. */
  readonly oomScoreAdj?: number | undefined;
  /** Relative weight, 2 … 262144; 0 is the default. */
  readonly cpuShares?: number | undefined;
  /** Microseconds, 1000 … 1000000; default 100000. */
  readonly cpuPeriodUs?: number | undefined;
  /** Microseconds of all CPUs together in a period, at least 1000; 0 and less is no limit. */
  readonly cpuQuotaUs?: number | undefined;
  /** Processes and threads; 0 and less is no limit. */
  readonly pidsLimit?: number | undefined;
  /** Relative weight of disk access, 10 … 1000; 0 is the default. */
  readonly blkioWeight?: number | undefined;
}

/** What sizing.ts of container/ has decided. */
export interface MachineShare {
  /** Bytes: the container's `memory.max`. */
  readonly memoryLimitBytes: number;
  /** Undefined when the machine's whole CPUs are meant. */
  readonly cpu?: { readonly quotaUs: number; readonly periodUs: number } | undefined;
}

function between(what: string, value: number, low: number, high: number): number {
  if (!Number.isSafeInteger(value) || value < low || value > high)
    throw invalidOption(`${what} is a whole number from ${low} to ${high}, not ${value}`);
  return value;
}

const MAX_SHARES = 262_144;
const MAX_BYTES = Number.MAX_SAFE_INTEGER;

function memoryOf(options: ResourceOptions, { memoryLimitBytes: limit }: MachineShare): Resources["memory"] {
  const { memorySwapBytes: swap, memoryReservationBytes: reservation } = options;
  if (swap !== undefined && swap !== -1) {
    between("the limit of memory and swap", swap, 0, MAX_BYTES);
    // As in Docker, 0 is as if nothing had been said.
    if (swap !== 0 && swap < limit)
      throw invalidOption(
        `the limit of memory and swap together (${swap} bytes) is less than that of memory (${limit} bytes)`,
        "--memory-swap counts the memory as well; give it at least the value of --memory",
      );
  }
  if (reservation !== undefined) {
    between("the reserved memory", reservation, 0, MAX_BYTES);
    if (reservation > limit)
      throw invalidOption(
        `more memory is reserved (${reservation} bytes) than the container may use (${limit} bytes)`,
        "raise --memory, or lower --memory-reservation",
      );
  }
  return {
    limit,
    // There is no swap in a machine. Without a value the runtime would still write one.
    swap: swap === undefined || swap === 0 ? limit : swap,
    ...(reservation !== undefined && reservation > 0 && { reservation }),
  };
}

function cpuOf(options: ResourceOptions, share: MachineShare): Resources["cpu"] {
  const { cpuShares } = options;
  const shares =
    cpuShares === undefined || cpuShares === 0
      ? undefined
      : between("the CPU shares", cpuShares, 2, MAX_SHARES);
  const { cpu } = share;
  if (shares === undefined && cpu === undefined) return undefined;
  return {
    ...(shares !== undefined && { shares }),
    ...(cpu && { quota: cpu.quotaUs, period: cpu.periodUs }),
  };
}

/** @throws RuntimeSpecError `invalid-option` */
export function resourcesOf(
  options: ResourceOptions,
  share: MachineShare,
  devices: readonly DeviceRule[],
): Resources {
  const { pidsLimit = 0, blkioWeight = 0 } = options;
  const memory = memoryOf(options, share);
  const cpu = cpuOf(options, share);
  between("the limit of processes", pidsLimit, -1, 1 << 22);
  if (blkioWeight !== 0) between("the weight of disk access", blkioWeight, 10, 1_000);
  return {
    devices,
    ...(memory && { memory }),
    ...(cpu && { cpu }),
    ...(pidsLimit > 0 && { pids: { limit: pidsLimit } }),
    ...(blkioWeight !== 0 && { blockIO: { weight: blkioWeight } }),
  };
}

/** @throws RuntimeSpecError `invalid-option` */
export function oomScoreAdjOf({ oomScoreAdj }: ResourceOptions): number | undefined {
  return oomScoreAdj === undefined
    ? undefined
    : between("the OOM score adjustment", oomScoreAdj, -1_000, 1_000);
}
