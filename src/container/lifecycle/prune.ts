/** Containers that do not run, all at once: what they take on disk, and removing them. */
import { setTimeout as sleep } from "node:timers/promises";
import { hasLabel, instantOf, parseFilters } from "../../images/filter.ts";
import { FlameBoxError } from "../../util/error.ts";
import { locatePaths } from "../../util/paths.ts";
import type { Paths } from "../../util/paths.ts";
import { tidyHome } from "../home.ts";
import type { OperationOptions } from "../options.ts";
import { noteEvent } from "./events.ts";
import { whileIdle } from "./heal.ts";
import { diskUse } from "./info.ts";
import type { ContainerRecord } from "./record.ts";
import { containerDir, readRecord } from "./record.ts";
import { readRecords, removeContainerFiles } from "./roster.ts";
import { isUp, readState } from "./state.ts";

/** Of containers, as they are on this host's disk. */
export interface ContainerUsage {
  readonly containers: number;
  /** Those that run. */
  readonly active: number;
  /** Their writable disks and their logs, without their images. */
  readonly sizeBytes: number;
  /** What would come free if every container that does not run were removed. */
  readonly reclaimableBytes: number;
}

export async function containerUsage(options: OperationOptions = {}): Promise<ContainerUsage> {
  const paths = options.paths ?? locatePaths();
  await tidyHome(options);
  let usage = { containers: 0, active: 0, sizeBytes: 0, reclaimableBytes: 0 };
  for (const { id } of await readRecords(paths)) {
    const sizeBytes = await diskUse(containerDir(paths, id));
    const isActive = isUp(await readState(paths, id));
    usage = {
      containers: usage.containers + 1,
      active: usage.active + (isActive ? 1 : 0),
      sizeBytes: usage.sizeBytes + sizeBytes,
      reclaimableBytes: usage.reclaimableBytes + (isActive ? 0 : sizeBytes),
    };
  }
  return usage;
}

export interface PruneContainersOptions extends OperationOptions {
  /** `until=24h`, `label=KEY[=VALUE]`, `label!=KEY[=VALUE]`: only those. */
  readonly filters?: readonly string[] | undefined;
}

/** What went. */
export interface PrunedContainers {
  /** Their ids. */
  readonly deleted: readonly string[];
  readonly reclaimedBytes: number;
}

const FILTERS = ["until", "label", "label!"] as const;

type Predicate = (record: Pick<ContainerRecord, "createdAt" | "labels">) => boolean;

/** Of several times any will do; every label has to fit. @throws ImageError `invalid-filter` */
export function pruneFilter(texts: readonly string[], nowMs: number): Predicate {
  const filters = parseFilters(texts, FILTERS);
  const times = filters.filter(({ name }) => name === "until");
  return ({ createdAt, labels }) =>
    (times.length === 0 ||
      times.some(({ value }) => Date.parse(createdAt) < (instantOf(value, nowMs) ?? 0))) &&
    filters.every(({ name, value }) => name === "until" || hasLabel(labels, value) === (name === "label"));
}

/** `run -d` makes a container and has it started then: so long it may take until the one that runs it is known. */
const ABOUT_TO_START_MS = 2_000;

/**
 * Removes every container that does not run, with its disk, its volumes and its log. One that somebody looks into just
 * now stays, and so does one whose record cannot be read.
 * @throws ImageError `invalid-filter`
 */
export async function pruneContainers(options: PruneContainersOptions = {}): Promise<PrunedContainers> {
  const { filters = [], signal, onNotice } = options;
  const paths = options.paths ?? locatePaths();
  const isWanted = pruneFilter(filters, Date.now());
  await tidyHome(options);
  const records = await readRecords(paths, (_id, error) => onNotice?.(`${error.message}; ${error.hint}`));
  const deleted: string[] = [];
  let reclaimedBytes = 0;
  for (const record of records.filter(isWanted)) {
    signal?.throwIfAborted();
    const sizeBytes = await removeIdle(paths, record, signal);
    if (sizeBytes === undefined) continue;
    deleted.push(record.id);
    reclaimedBytes += sizeBytes;
  }
  return { deleted, reclaimedBytes };
}

/** @returns what it took on disk; undefined when it has stayed */
async function removeIdle(
  paths: Paths,
  record: ContainerRecord,
  signal: AbortSignal | undefined,
): Promise<number | undefined> {
  const { status } = await readState(paths, record.id);
  if (isUp({ status })) return undefined;
  const ageMs = Date.now() - Date.parse(record.createdAt);
  if (status === "created" && ageMs >= 0 && ageMs < ABOUT_TO_START_MS)
    await sleep(ABOUT_TO_START_MS - ageMs, undefined, { signal });
  try {
    return await whileIdle(paths, record, async () => {
      // Somebody may have removed it, or renamed it, since it was listed; or it has been run, and has not ended.
      const found = await readRecord(paths, record.id);
      if (found === undefined || isUp(await readState(paths, record.id))) return undefined;
      const sizeBytes = await diskUse(containerDir(paths, record.id));
      await removeContainerFiles(paths, found);
      await noteEvent(paths, "destroy", found);
      return sizeBytes;
    });
  } catch (error) {
    if (error instanceof FlameBoxError && error.code === "container-running") return undefined;
    throw error;
  }
}
