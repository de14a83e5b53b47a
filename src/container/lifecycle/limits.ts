/**
 * What of a container can be changed once it is there: its restart policy, and the limits of its cgroup. Whether it runs
 * decides when they hold:
 *
 *     record + change ─► changed record ─► limits within its machine ─► guest, at once
 *                              │                    └─ more than the machine has: told, and for the next start
 *                              └─► written when the guest has agreed
 */
import type { ResourceUpdate } from "../../agent/usage.ts";
import { resourcesOf } from "../../runtime-spec/resources.ts";
import { FlameBoxError } from "../../util/error.ts";
import type { Paths } from "../../util/paths.ts";
import { quote } from "../../util/printable.ts";
import type { Container } from "../running.ts";
import { requireCpus } from "../../machine/host-cpus.ts";
import { hostCapacity, sizeMachine } from "../sizing.ts";
import type { HostCapacity, MachineSize } from "../sizing.ts";
import { replaceRecord } from "./record.ts";
import type { ContainerRecord, KeptOptions, RestartPolicy } from "./record.ts";

/** Each member as of `create`; what is not given stays as it is. */
export interface ContainerChange {
  readonly restart?: RestartPolicy | undefined;
  /** Takes the place of a quota and a period as well. */
  readonly cpus?: number | undefined;
  /** A quota or a period takes the place of `cpus`. */
  readonly cpuQuotaUs?: number | undefined;
  readonly cpuPeriodUs?: number | undefined;
  /** Holds from the next start on. */
  readonly cpusetCpus?: string | undefined;
  readonly cpuShares?: number | undefined;
  readonly memoryMib?: number | undefined;
  readonly memoryReservationBytes?: number | undefined;
  readonly memorySwapBytes?: number | undefined;
  readonly pidsLimit?: number | undefined;
}

const MIB = 1 << 20;
const PERIOD_US = 100_000;
/** What a cgroup has without any. */
const DEFAULT_SHARES = 1_024;
/** An absent reservation and one of 0 leave the guest's as it is; the kernel rounds down to whole pages. */
const NO_RESERVATION_BYTES = 1;

/** @throws FlameBoxError `invalid-option` for what no start on this host could carry out */
export async function changeRecordHere(
  record: ContainerRecord,
  change: ContainerChange,
): Promise<ContainerRecord> {
  if (change.cpusetCpus !== undefined) await requireCpus(change.cpusetCpus);
  return changeRecord(record, change);
}

/** @throws FlameBoxError `invalid-option` for what no start on a host of this size could carry out */
export function changeRecord(
  record: ContainerRecord,
  { restart, ...limits }: ContainerChange,
  host: HostCapacity = hostCapacity(),
): ContainerRecord {
  if (restart !== undefined && restart.name !== "no" && record.autoRemove)
    throw new FlameBoxError(
      "invalid-option",
      "a container cannot both be removed when it ends and be started again",
    );
  const given = Object.fromEntries(Object.entries(limits).filter(([, value]) => value !== undefined));
  const { cpus, cpuQuotaUs, cpuPeriodUs, ...kept } = record.options;
  // A number of CPUs and a quota exclude each other: the newer one holds.
  const isTimed = limits.cpuQuotaUs !== undefined || limits.cpuPeriodUs !== undefined;
  const time = {
    ...(!isTimed && { cpus }),
    ...(limits.cpus === undefined && { cpuQuotaUs, cpuPeriodUs }),
  };
  const options: KeptOptions = { ...kept, ...time, ...given };
  resourcesOf(options, sizeMachine(options, host).share, []);
  return { ...record, ...(restart !== undefined && { restart }), options };
}

/** What the machine had when it was started: it cannot have more. */
export interface MachineBounds {
  readonly vcpus: number;
  readonly memoryBytes: number;
}

export interface Limits {
  readonly resources: ResourceUpdate;
  /** The size that the options ask for, where the machine has less. */
  readonly beyond: { readonly cpus?: number; readonly memoryBytes?: number };
}

/** All of a container's limits, as far as a machine of this size has them. */
export function limitsWithin(
  bounds: MachineBounds,
  options: KeptOptions,
  host: HostCapacity = hostCapacity(),
): Limits {
  const { vcpus, memoryBytes } = bounds;
  const size = sizeMachine(options, host);
  const wantedBytes = options.memoryMib === undefined ? memoryBytes : size.share.memoryLimitBytes;
  const limit = Math.min(wantedBytes, memoryBytes);
  const { quotaUs, periodUs } = cpuTimeOf(size);
  const cpus = quotaUs / periodUs;
  const { cpuShares = 0, pidsLimit = 0, memoryReservationBytes: reserved = 0 } = options;
  return {
    resources: {
      // Nothing of swap: a machine has none.
      memory: { limit, reservation: Math.min(reserved, limit) || NO_RESERVATION_BYTES },
      cpu: {
        shares: cpuShares === 0 ? DEFAULT_SHARES : cpuShares,
        quota: cpus >= vcpus ? -1 : quotaUs,
        period: periodUs,
      },
      pids: { limit: pidsLimit > 0 ? pidsLimit : -1 },
    },
    beyond: {
      ...(cpus > vcpus && { cpus }),
      ...(wantedBytes > memoryBytes && { memoryBytes: wantedBytes }),
    },
  };
}

/** Whole CPUs have no quota in a machine of their own; in a larger one they do. */
function cpuTimeOf({ vcpus, share }: MachineSize): { readonly quotaUs: number; readonly periodUs: number } {
  return share.cpu ?? { quotaUs: vcpus * PERIOD_US, periodUs: PERIOD_US };
}

export interface Changed {
  /** As it has been written. */
  readonly record: ContainerRecord;
  /** What people should know: what has to wait for the next start. */
  readonly notices: readonly string[];
}

/**
 * For whoever runs the container: the guest first, which may refuse, and then the record.
 * @param container undefined when it does not run just now
 * @throws FlameBoxError `invalid-option`, `memory-in-use`, `container-paused`; nothing has changed then
 */
export async function changeContainer(
  paths: Paths,
  container: Container | undefined,
  before: ContainerRecord,
  change: ContainerChange,
): Promise<Changed> {
  const record = await changeRecordHere(before, change);
  const isLimited = Object.keys(change).some((key) => key !== "restart");
  const running = isLimited ? container : undefined;
  const notices = running === undefined ? [] : await limitContainer(running, before, record, change);
  await replaceRecord(paths, record);
  return { record, notices };
}

/**
 * Gives a running container its limits. When its guest refuses, it has those of before.
 * @returns for people: what has to wait for the next start, and what this machine's kernel cannot do
 * @throws FlameBoxError `container-paused`; AgentError `conflict` when it holds more memory than it is to have, …
 */
async function limitContainer(
  container: Container,
  before: ContainerRecord,
  after: ContainerRecord,
  { cpus, cpuQuotaUs, cpusetCpus, memoryMib }: ContainerChange,
): Promise<readonly string[]> {
  const name = after.name;
  if (container.isPaused)
    throw new FlameBoxError("container-paused", `the container ${quote(name)} is paused`, {
      hint: `let it go on first: flamebox unpause ${name}`,
    });
  const { bounds } = container;
  const { resources, beyond } = limitsWithin(bounds, after.options);
  let warnings: readonly string[];
  try {
    warnings = await container.limit(resources);
  } catch (error) {
    await container.limit(limitsWithin(bounds, before.options).resources).catch(() => {});
    throw explained(error, name);
  }
  const later: string[] = [];
  if (cpusetCpus !== undefined) later.push(`the CPUs ${cpusetCpus} of this host`);
  if (beyond.cpus !== undefined && (cpus ?? cpuQuotaUs) !== undefined)
    later.push(`${beyond.cpus} CPUs (its machine has ${bounds.vcpus})`);
  if (beyond.memoryBytes !== undefined && memoryMib !== undefined)
    later.push(`${mib(beyond.memoryBytes)} of memory (its machine has ${mib(bounds.memoryBytes)} for it)`);
  if (later.length === 0) return warnings;
  return [
    ...warnings,
    `${name}: from its next start on it has ${later.join(" and ")}; until then what its machine has`,
  ];
}

function mib(bytes: number): string {
  return `${Math.floor(bytes / MIB)} MiB`;
}

function explained(error: unknown, name: string): unknown {
  if (!(error instanceof FlameBoxError) || error.code !== "conflict") return error;
  return new FlameBoxError("memory-in-use", `${quote(name)}: ${error.message}`, {
    cause: error,
    hint: "give it more, end what uses it, or stop the container first: it then has the limit from its next start on",
  });
}
