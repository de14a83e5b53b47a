/** What containers use, from two looks at each: rates, and the table of `stats` and `top`. */
import type { ContainerInfo, ContainerStatistics } from "../library.ts";
import { compileTemplate, type TemplateFields, type TemplateRow } from "./template.ts";
import { humanSize } from "./units.ts";

export interface Sample {
  readonly info: ContainerInfo;
  /** Undefined for one that does not run, or does not answer. */
  readonly statistics: ContainerStatistics | undefined;
  readonly atMs: number;
}

export interface Usage {
  readonly info: ContainerInfo;
  /** Of one CPU; undefined at the first look. */
  readonly cpuPercent: number | undefined;
  readonly memoryBytes: number;
  readonly memoryLimitBytes: number;
  readonly receivedBytes: number;
  readonly sentBytes: number;
  /** Bytes a second, both ways together; undefined at the first look. */
  readonly networkRate: number | undefined;
  readonly readBytes: number;
  readonly writtenBytes: number;
  readonly pids: number;
  /** Of its machine, on this host. */
  readonly hostBytes: number;
  readonly hostCpuPercent: number | undefined;
}

const MICROSECONDS_PER_MS = 1_000;

export function usageOf(now: Sample, before: Sample | undefined): Usage {
  const { info, statistics } = now;
  const earlier = before?.statistics;
  const passedMs = before === undefined ? 0 : now.atMs - before.atMs;
  const percent = (microseconds: number, was: number | undefined) =>
    was === undefined || passedMs <= 0
      ? undefined
      : Math.max(0, ((microseconds - was) / (passedMs * MICROSECONDS_PER_MS)) * 100);
  const bytes = (of: ContainerStatistics | undefined) =>
    (of?.network?.receivedBytes ?? 0) + (of?.network?.sentBytes ?? 0);
  return {
    info,
    cpuPercent: percent(statistics?.cpuMicroseconds ?? 0, earlier?.cpuMicroseconds),
    memoryBytes: statistics?.memoryBytes ?? 0,
    memoryLimitBytes: statistics?.memoryLimitBytes ?? 0,
    receivedBytes: statistics?.network?.receivedBytes ?? 0,
    sentBytes: statistics?.network?.sentBytes ?? 0,
    networkRate:
      earlier === undefined || passedMs <= 0
        ? undefined
        : Math.max(0, ((bytes(statistics) - bytes(earlier)) / passedMs) * 1_000),
    readBytes: statistics?.block?.readBytes ?? 0,
    writtenBytes: statistics?.block?.writtenBytes ?? 0,
    pids: statistics?.pids ?? 0,
    hostBytes: statistics?.machine.residentBytes ?? 0,
    hostCpuPercent: percent(statistics?.machine.cpuMicroseconds ?? 0, earlier?.machine.cpuMicroseconds),
  };
}

export const USAGE_FIELDS: TemplateFields = {
  Container: "CONTAINER",
  ID: "CONTAINER ID",
  Name: "NAME",
  CPUPerc: "CPU %",
  MemUsage: "MEM USAGE / LIMIT",
  MemPerc: "MEM %",
  NetIO: "NET I/O",
  BlockIO: "BLOCK I/O",
  PIDs: "PIDS",
  HostMem: "HOST MEM",
  HostCPUPerc: "HOST CPU %",
};

const COLUMNS = ["ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs", "HostMem"];

export function percentText(percent: number | undefined): string {
  return percent === undefined ? "--" : `${percent.toFixed(2)}%`;
}

function rowOf(usage: Usage, whole: boolean): TemplateRow {
  const { info, memoryBytes, memoryLimitBytes } = usage;
  const share = memoryLimitBytes === 0 ? undefined : (memoryBytes / memoryLimitBytes) * 100;
  return {
    Container: info.name,
    ID: whole ? info.id : info.id.slice(0, 12),
    Name: info.name,
    CPUPerc: percentText(usage.cpuPercent),
    MemUsage: `${humanSize(memoryBytes)} / ${humanSize(memoryLimitBytes)}`,
    MemPerc: percentText(share),
    NetIO: `${humanSize(usage.receivedBytes)} / ${humanSize(usage.sentBytes)}`,
    BlockIO: `${humanSize(usage.readBytes)} / ${humanSize(usage.writtenBytes)}`,
    PIDs: usage.pids,
    HostMem: humanSize(usage.hostBytes),
    HostCPUPerc: percentText(usage.hostCpuPercent),
  };
}

/** @param template undefined is the usual table. @throws UsageError */
export function formatUsage(
  template: string | undefined,
  whole: boolean,
): (usages: readonly Usage[]) => string {
  const source =
    template === undefined || template === "table"
      ? `table ${COLUMNS.map((name) => `{{.${name}}}`).join("\t")}`
      : template;
  const format = compileTemplate(source, USAGE_FIELDS);
  return (usages) => format(usages.map((usage) => rowOf(usage, whole)));
}
