/** Looks at containers again and again: what `stats` and `top` show. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Operation } from "../commands/operation.ts";
import type { ContainerInfo } from "../library.ts";
import { type Sample, type Usage, usageOf } from "../output/usage.ts";

export interface WatchOptions {
  /** Names or ids; none: all that run. */
  readonly names: readonly string[];
  readonly everyMs: number;
  /** Also those that do not run. */
  readonly all: boolean;
}

/** How long one that does not answer may hold up the others. */
const PATIENCE_MS = 2_000;

async function chosen(
  { library, options }: Operation,
  { names, all }: WatchOptions,
): Promise<ContainerInfo[]> {
  if (names.length === 0) return await library.listContainers({ ...options, all });
  return await Promise.all(names.map(async (name) => library.inspectContainer(name, options)));
}

async function sampleOf(
  { library, options }: Operation,
  info: ContainerInfo,
  now: () => number,
): Promise<Sample> {
  if (info.status !== "running") return { info, statistics: undefined, atMs: now() };
  const late = AbortSignal.timeout(PATIENCE_MS);
  const signal = options.signal === undefined ? late : AbortSignal.any([options.signal, late]);
  try {
    return {
      info,
      statistics: await library.containerStatistics(info.id, { ...options, signal }),
      atMs: now(),
    };
  } catch (error) {
    if (options.signal?.aborted === true) throw error;
    // It has just ended, or its machine is too busy to answer.
    return { info, statistics: undefined, atMs: now() };
  }
}

/** The first look has no rates. Ends with the operation's signal. */
export async function* watchUsage(
  operation: Operation,
  options: WatchOptions,
  now: () => number,
): AsyncGenerator<Usage[]> {
  let before = new Map<string, Sample>();
  for (;;) {
    const infos = await chosen(operation, options);
    const samples = await Promise.all(infos.map(async (info) => sampleOf(operation, info, now)));
    yield samples.map((sample) => usageOf(sample, before.get(sample.info.id)));
    before = new Map(samples.map((sample) => [sample.info.id, sample]));
    await sleep(options.everyMs, undefined, { signal: operation.options.signal });
  }
}
