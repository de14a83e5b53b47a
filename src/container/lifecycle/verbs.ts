/** What can be done to a container that is here, whatever process runs it. One function a verb, with Docker's meaning. */
import { setTimeout as sleep } from "node:timers/promises";
import { FlameBoxError } from "../../util/error.ts";
import { locatePaths } from "../../util/paths.ts";
import type { Paths } from "../../util/paths.ts";
import { quote } from "../../util/printable.ts";
import { call, exitOf } from "../control/client.ts";
import { tidyHome } from "../home.ts";
import type { EgressEntry } from "../log/egress.ts";
import { EGRESS_LOG } from "../log/egress.ts";
import type { LogEntry } from "../log/format.ts";
import type { ReadOptions } from "../log/reader.ts";
import { readLog, readRotated } from "../log/reader.ts";
import type { ContainerExit, ContainerStatistics, OperationOptions } from "../options.ts";
import { removeWorkspace } from "../workspace.ts";
import { noteEvent } from "./events.ts";
import { parseContainerFilters } from "./filters.ts";
import { healContainer, isOwned, rememberStop, whileIdle } from "./heal.ts";
import type { ContainerDetails, ContainerInfo } from "./info.ts";
import { detailsOf, infoOf } from "./info.ts";
import { spawnMonitor } from "./monitor.ts";
import type { ContainerChange } from "./limits.ts";
import type { ContainerRecord } from "./record.ts";
import { containerDir, readRecord, replaceRecord } from "./record.ts";
import { containerIds, findContainer, readRecords, removeContainerFiles, renameContainer } from "./roster.ts";
import type { StopOptions } from "./keeper.ts";
import { isToStartAfterBoot } from "./policy.ts";
import type { ContainerState } from "./state.ts";
import { isUp, readState } from "./state.ts";
import type { Listed, Wanted } from "./surroundings.ts";

const POLL_MS = 100;
/** From a container's end to its process's. */
const LEAVE_MS = 20_000;

export interface Found {
  readonly paths: Paths;
  readonly record: ContainerRecord;
}

/** What killed processes left is put right first, so that what is found is true. */
export async function find(name: string, options: OperationOptions): Promise<Found> {
  const paths = options.paths ?? locatePaths();
  await tidyHome(options);
  return { paths, record: await findContainer(paths, name) };
}

export interface ListContainersOptions extends OperationOptions {
  /** Not only those that run. A filter for `status` or `exited` means them all as well. */
  readonly all?: boolean | undefined;
  /** `status=exited`, `label=app=shop`, `name=web`, …: those of one key are alternatives, except labels. */
  readonly filters?: readonly string[] | undefined;
  /** With what they take on disk, and their images. */
  readonly sizes?: boolean | undefined;
  /** With what is mounted in them, and the ports that they expose. */
  readonly surroundings?: boolean | undefined;
}

/** Newest first. @throws FlameBoxError `invalid-filter` */
export async function listContainers(options: ListContainersOptions = {}): Promise<ContainerInfo[]> {
  const { all = false, sizes = false, surroundings = false, onNotice } = options;
  const filters = parseContainerFilters(options.filters);
  const paths = options.paths ?? locatePaths();
  await tidyHome(options);
  const records = await readRecords(paths, (_id, error) => onNotice?.(`${error.message}; ${error.hint}`));
  const listed = await Promise.all(
    records.map(async (record) => ({ record, info: await infoOf(paths, record) })),
  );
  const everything = listed.toSorted((a, b) => (a.info.createdAt < b.info.createdAt ? 1 : -1));
  const widen = async (some: readonly Listed[], wanted: Wanted): Promise<ContainerInfo[]> => {
    if (!wanted.sizes && !wanted.surroundings) return some.map(({ info }) => info);
    return await (await import("./surroundings.ts")).widened(paths, some, wanted, options);
  };
  const known = await widen(everything, { sizes: false, surroundings: filters.wantsSurroundings });
  const ids = new Set(filters.apply(known).map(({ id }) => id));
  const chosen = everything.filter(({ info }) => ids.has(info.id) && (all || filters.wantsAll || isUp(info)));
  return await widen(chosen, { sizes, surroundings });
}

/** @throws FlameBoxError `container-not-found`, `ambiguous-container-id` */
export async function inspectContainer(
  name: string,
  options: OperationOptions = {},
): Promise<ContainerDetails> {
  const { paths, record } = await find(name, options);
  return await detailsOf(paths, record);
}

/**
 * Starts a container that has been created or has ended, in a process of its own. One that runs already is left so.
 * @throws FlameBoxError as `start`
 */
export async function startContainer(name: string, options: OperationOptions = {}): Promise<ContainerInfo> {
  const { paths, record } = await find(name, options);
  if (!(await isOwned(paths, record.id))) await spawnMonitor(record, { ...options, paths });
  return await infoOf(paths, record);
}

/**
 * Containers that nobody runs and whose restart policy wants them to, oldest first: for a host that has booted. `always`
 * in any case, `unless-stopped` unless a user has stopped it, `on-failure` when it did not end with 0.
 */
export async function containersToStart(options: OperationOptions = {}): Promise<ContainerInfo[]> {
  const paths = options.paths ?? locatePaths();
  await tidyHome(options);
  const wanted: ContainerInfo[] = [];
  for (const record of await readRecords(paths, (_id, error) => options.onNotice?.(error.message))) {
    if (await isOwned(paths, record.id)) continue;
    if (isToStartAfterBoot(record.restart, await readState(paths, record.id)))
      wanted.push(await infoOf(paths, record));
  }
  return wanted.toSorted((a, b) => (a.createdAt < b.createdAt ? -1 : 1));
}

async function ask(
  { paths, record }: Found,
  method: string,
  params: object,
  { signal }: OperationOptions,
): Promise<Record<string, unknown>> {
  return await call(paths, record, { method, params }, { signal });
}

/** Until its process is gone, and whatever it held is free. */
async function untilLeft({ paths, record }: Found, signal: AbortSignal | undefined): Promise<void> {
  const deadline = performance.now() + LEAVE_MS;
  while (await isOwned(paths, record.id)) {
    if (performance.now() > deadline)
      throw new FlameBoxError("container-busy", `the process that runs ${quote(record.name)} does not end`);
    await sleep(POLL_MS, undefined, { signal });
  }
  await healContainer(paths, record.id);
}

export interface EndOptions extends OperationOptions {
  /** What asks it to end; default: the container's stop signal. */
  readonly stopSignal?: string | number | undefined;
  /** How long it may take before it is killed; default: the container's; -1 is without end. */
  readonly timeoutMs?: number | undefined;
}

function endParams({ stopSignal, timeoutMs }: EndOptions): StopOptions {
  return {
    ...(stopSignal !== undefined && { signal: stopSignal }),
    ...(timeoutMs !== undefined && { timeoutMs }),
  };
}

/** One that does not run is left as it is. @throws FlameBoxError `container-not-found` */
export async function stopContainer(
  name: string,
  options: EndOptions = {},
): Promise<ContainerInfo | undefined> {
  const found = await find(name, options);
  await endFound(found, options);
  const record = await readRecord(found.paths, found.record.id);
  return record && (await infoOf(found.paths, record));
}

/** Has it end, and waits until nobody runs it. @returns its last state */
export async function endFound(found: Found, options: EndOptions): Promise<ContainerState> {
  const { paths, record } = found;
  if (!(await isOwned(paths, record.id))) {
    await rememberStop(paths, record);
    return await readState(paths, record.id);
  }
  const { state } = await ask(found, "stop", endParams(options), options);
  await untilLeft(found, options.signal);
  return state as ContainerState;
}

/** @param signal 1 … 64 @throws FlameBoxError `container-not-running` */
export async function killContainer(
  name: string,
  signal: number,
  options: OperationOptions = {},
): Promise<void> {
  await ask(await find(name, options), "signal", { signal }, options);
}

/** Stops it if it runs, and starts it. */
export async function restartContainer(name: string, options: EndOptions = {}): Promise<ContainerInfo> {
  const found = await find(name, options);
  const { paths, record } = found;
  if (await isOwned(paths, record.id)) await ask(found, "restart", endParams(options), options);
  else await spawnMonitor(record, { ...options, paths });
  return await infoOf(paths, record);
}

/** @throws FlameBoxError `container-not-running`, `container-paused`, `pause-unsupported` */
export async function pauseContainer(name: string, options: OperationOptions = {}): Promise<void> {
  await ask(await find(name, options), "pause", {}, options);
}

/** @throws FlameBoxError `container-not-running`, `container-not-paused` */
export async function unpauseContainer(name: string, options: OperationOptions = {}): Promise<void> {
  await ask(await find(name, options), "unpause", {}, options);
}

/**
 * Waits until the container has ended. Of one that has, it tells how.
 * @throws FlameBoxError `container-not-found`
 */
export async function waitContainer(name: string, options: OperationOptions = {}): Promise<ContainerExit> {
  const found = await find(name, options);
  const { paths, record } = found;
  if (await isOwned(paths, record.id)) {
    try {
      return exitOf((await ask(found, "wait", {}, options))["exit"]);
    } catch (error) {
      const gone = error instanceof FlameBoxError && error.code === "container-not-running";
      if (!gone) throw error;
      await healContainer(paths, record.id);
    }
  }
  const { exitCode = 0, oomKilled = false } = await readState(paths, record.id);
  return { code: exitCode, oomKilled };
}

/** @throws FlameBoxError `container-not-running` */
export async function containerStatistics(
  name: string,
  options: OperationOptions = {},
): Promise<ContainerStatistics> {
  const { stats } = await ask(await find(name, options), "stats", {}, options);
  return stats as ContainerStatistics;
}

export interface RemoveOptions extends OperationOptions {
  /** Ends it first, if it runs. */
  readonly force?: boolean | undefined;
}

/**
 * Removes a container, with its disk, its volumes and its log.
 * @throws FlameBoxError `container-running` unless `force`
 */
export async function removeContainer(name: string, options: RemoveOptions = {}): Promise<void> {
  const { force = false } = options;
  let found: Found;
  try {
    found = await find(name, options);
  } catch (error) {
    if (!(error instanceof FlameBoxError && error.code === "container-damaged" && force)) throw error;
    return await removeDamaged(name, options);
  }
  const { paths, record } = found;
  if (force) await endByForce(found, options);
  const remove = async () => {
    await removeContainerFiles(paths, record);
    await noteEvent(paths, "destroy", record);
  };
  // One with --rm has gone by itself.
  if ((await readRecord(paths, record.id)) === undefined) return;
  await whileIdle(paths, record, remove);
}

async function endByForce(found: Found, options: OperationOptions): Promise<void> {
  try {
    await endFound(found, { ...options, stopSignal: "SIGKILL", timeoutMs: 0 });
  } catch (error) {
    options.signal?.throwIfAborted();
    if (!(error instanceof FlameBoxError) || error.code !== "container-not-running") throw error;
    await untilLeft(found, options.signal);
  }
}

async function removeDamaged(name: string, options: OperationOptions): Promise<void> {
  const paths = options.paths ?? locatePaths();
  const ids = (await containerIds(paths)).filter((id) => id.startsWith(name));
  for (const id of ids) {
    const isDamaged = await readRecord(paths, id).then(
      () => false,
      () => true,
    );
    if (isDamaged)
      await whileIdle(paths, { id, name }, async () => await removeWorkspace(containerDir(paths, id)));
  }
}

/** @throws FlameBoxError `name-taken`, `invalid-option` */
export async function rename(
  name: string,
  to: string,
  options: OperationOptions = {},
): Promise<ContainerInfo> {
  const found = await find(name, options);
  const { paths } = found;
  const record = await renameContainer(paths, found.record, to);
  await reload({ paths, record }, options);
  await noteEvent(paths, "rename", record, { oldName: found.record.name });
  return await infoOf(paths, record);
}

/** Tells the process that runs it, if there is one. */
async function reload(found: Found, options: OperationOptions): Promise<void> {
  if (!(await isOwned(found.paths, found.record.id))) return;
  await ask(found, "reload", {}, options).catch((error: unknown) => {
    // It has just ended, and the next start reads the record.
    if (!(error instanceof FlameBoxError)) throw error;
  });
}

export interface UpdateOptions extends OperationOptions, ContainerChange {}

/**
 * Changes what a container was made with. One that runs has its limits at once, as far as its machine goes; what is
 * beyond that it has from its next start on, and `onNotice` is told.
 * @throws FlameBoxError `invalid-option`; of one that runs `memory-in-use`, `container-paused`: nothing has changed then
 */
export async function updateContainer(name: string, options: UpdateOptions): Promise<ContainerInfo> {
  const { paths: _paths, signal: _signal, onNotice, onProgress: _onProgress, ...rest } = options;
  const { firecracker: _firecracker, jailer: _jailer, ...change } = rest;
  const found = await find(name, options);
  const { paths, record } = found;
  const notices = await changedByKeeper(found, change, options);
  if (notices !== undefined) {
    for (const notice of notices) onNotice?.(notice);
  } else {
    await whileIdle(paths, record, async () => {
      const { changeRecordHere } = await import("./limits.ts");
      const changed = await changeRecordHere((await readRecord(paths, record.id)) ?? record, change);
      await replaceRecord(paths, changed);
      await noteEvent(paths, "update", changed);
    });
  }
  return await infoOf(paths, (await readRecord(paths, record.id)) ?? record);
}

/** What its process has to say of it; undefined when there is none. */
async function changedByKeeper(
  found: Found,
  change: ContainerChange,
  options: OperationOptions,
): Promise<readonly string[] | undefined> {
  if (!(await isOwned(found.paths, found.record.id))) return undefined;
  try {
    return (await ask(found, "update", change, options))["notices"] as readonly string[];
  } catch (error) {
    if (!(error instanceof FlameBoxError && error.code === "container-not-running")) throw error;
    // It has just ended.
    await untilLeft(found, options.signal);
    return undefined;
  }
}

export interface LogsOptions extends OperationOptions, Omit<ReadOptions, "isOver" | "signal"> {
  /** Goes on as long as the container runs. */
  readonly follow?: boolean | undefined;
}

/** @throws FlameBoxError `container-not-found`, `no-log` */
export async function* containerLogs(name: string, options: LogsOptions = {}): AsyncGenerator<LogEntry> {
  const { paths, record } = await find(name, options);
  if (record.log.driver === "none")
    throw new FlameBoxError("no-log", `the container ${quote(record.name)} keeps no log`, {
      hint: "it was made with --log-driver none",
    });
  yield* readLog(containerDir(paths, record.id), readingOf({ paths, record }, options));
}

function readingOf({ paths, record }: Found, options: LogsOptions): ReadOptions {
  const { follow = false, tail, sinceMs, untilMs, signal } = options;
  const isOver = async () => !(await isOwned(paths, record.id));
  return { tail, sinceMs, untilMs, signal, ...(follow && { isOver }) };
}

/** What its network refused it, oldest first; with `follow` until it ends. @throws FlameBoxError `container-not-found` */
export async function* containerEgressLog(
  name: string,
  options: LogsOptions = {},
): AsyncGenerator<EgressEntry> {
  const found = await find(name, options);
  yield* readRotated(containerDir(found.paths, found.record.id), EGRESS_LOG, readingOf(found, options));
}
