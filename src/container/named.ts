/**
 * Containers that have a name, as the library offers them. What a start does not need is loaded when it is asked for.
 */
import { locatePaths } from "../util/paths.ts";
import { prepareHost } from "./host.ts";
import type * as attaching from "./lifecycle/attach.ts";
import type * as contents from "./lifecycle/contents.ts";
import type * as copies from "./lifecycle/copies.ts";
import type { CreateOptions } from "./lifecycle/create.ts";
import type { ContainerEvent, EventsOptions } from "./lifecycle/events.ts";
import { runInForeground } from "./lifecycle/foreground.ts";
import type { AttachedContainer } from "./lifecycle/foreground.ts";
import type { ContainerInfo } from "./lifecycle/info.ts";
import type { LogsOptions } from "./lifecycle/verbs.ts";
import type * as pruning from "./lifecycle/prune.ts";
import type * as verbs from "./lifecycle/verbs.ts";
import type { EgressEntry } from "./log/egress.ts";
import type { LogEntry } from "./log/format.ts";
import type { OperationOptions } from "./options.ts";

/**
 * Starts a container that has a name, and attaches to it. `detachable` has it run in a process of its own, so that it
 * goes on when the result is disposed; else this process runs it, which is quicker, and disposing ends it.
 * @throws FlameBoxError as `start`; `name-taken`
 */
export async function runContainer(
  image: string,
  options: CreateOptions & { readonly detachable?: boolean | undefined } = {},
): Promise<AttachedContainer> {
  const { detachable = false, ...rest } = options;
  if (!detachable) return await runInForeground({ prepareHost }, image, rest);
  return await (await import("./lifecycle/attach.ts")).createAndAttach(image, rest);
}

/**
 * Makes a container that stays until it is removed, and does not start it.
 * @throws FlameBoxError as `start`, but for what only a start can tell; `name-taken`
 */
export async function createContainer(image: string, options: CreateOptions = {}): Promise<ContainerInfo> {
  const { create } = await import("./lifecycle/create.ts");
  const { inspectContainer: inspect } = await import("./lifecycle/verbs.ts");
  const { id } = await create(image, options);
  return await inspect(id, options);
}

/** Makes a container and starts it in a process of its own. Nobody is attached. */
export async function runDetached(image: string, options: CreateOptions = {}): Promise<ContainerInfo> {
  const { create } = await import("./lifecycle/create.ts");
  const { startContainer: begin } = await import("./lifecycle/verbs.ts");
  const { id } = await create(image, options);
  return await begin(id, options);
}

/** A container's output, oldest first; with `follow` until it ends. */
export async function* containerLogs(name: string, options: LogsOptions = {}): AsyncGenerator<LogEntry> {
  yield* (await import("./lifecycle/verbs.ts")).containerLogs(name, options);
}

/**
 * What a container wanted of the network and was refused, oldest first; with `follow` until it ends. A minute has so
 * many entries; `untold` counts what has none.
 * @throws FlameBoxError `container-not-found`
 */
export async function* containerEgressLog(
  name: string,
  options: LogsOptions = {},
): AsyncGenerator<EgressEntry> {
  yield* (await import("./lifecycle/verbs.ts")).containerEgressLog(name, options);
}

/** What happens to containers from now on, or from `sinceMs`; until `untilMs`, or for ever. */
export async function* containerEvents(
  options: OperationOptions & EventsOptions = {},
): AsyncGenerator<ContainerEvent> {
  const { readEvents } = await import("./lifecycle/events.ts");
  yield* readEvents(options.paths ?? locatePaths(), options);
}

/**
 * Containers that are here, newest first: those that run, or all of them.
 * @function
 */
export const listContainers: typeof verbs.listContainers = async (...given) =>
  await (await import("./lifecycle/verbs.ts")).listContainers(...given);

/**
 * All that there is to know of a container.
 * @throws FlameBoxError `container-not-found`, `ambiguous-container-id`
 * @function
 */
export const inspectContainer: typeof verbs.inspectContainer = async (...given) =>
  await (await import("./lifecycle/verbs.ts")).inspectContainer(...given);

/**
 * Starts a container that does not run, in a process of its own.
 * @throws FlameBoxError as `start`
 * @function
 */
export const startContainer: typeof verbs.startContainer = async (...given) =>
  await (await import("./lifecycle/verbs.ts")).startContainer(...given);

/**
 * Containers that nobody runs and that their restart policy wants to run, oldest first: for a host that has booted.
 * @function
 */
export const containersToStart: typeof verbs.containersToStart = async (...given) =>
  await (await import("./lifecycle/verbs.ts")).containersToStart(...given);

/**
 * Asks a container to end, and kills it when it has not in time.
 * @throws FlameBoxError `container-not-found`
 * @function
 */
export const stopContainer: typeof verbs.stopContainer = async (...given) =>
  await (await import("./lifecycle/verbs.ts")).stopContainer(...given);

/**
 * Sends a signal to a container's first process.
 * @throws FlameBoxError `container-not-running`
 * @function
 */
export const killContainer: typeof verbs.killContainer = async (...given) =>
  await (await import("./lifecycle/verbs.ts")).killContainer(...given);

/**
 * Stops a container if it runs, and starts it.
 * @throws FlameBoxError `container-not-found`; as `start`
 * @function
 */
export const restartContainer: typeof verbs.restartContainer = async (...given) =>
  await (await import("./lifecycle/verbs.ts")).restartContainer(...given);

/**
 * Halts a container's machine.
 * @throws FlameBoxError `container-not-running`, `container-paused`, `pause-unsupported`
 * @function
 */
export const pauseContainer: typeof verbs.pauseContainer = async (...given) =>
  await (await import("./lifecycle/verbs.ts")).pauseContainer(...given);

/**
 * Lets a container's machine go on.
 * @throws FlameBoxError `container-not-running`, `container-not-paused`
 * @function
 */
export const unpauseContainer: typeof verbs.unpauseContainer = async (...given) =>
  await (await import("./lifecycle/verbs.ts")).unpauseContainer(...given);

/**
 * Waits until a container has ended.
 * @throws FlameBoxError `container-not-found`
 * @function
 */
export const waitContainer: typeof verbs.waitContainer = async (...given) =>
  await (await import("./lifecycle/verbs.ts")).waitContainer(...given);

/**
 * What a container uses now.
 * @throws FlameBoxError `container-not-running`
 * @function
 */
export const containerStatistics: typeof verbs.containerStatistics = async (...given) =>
  await (await import("./lifecycle/verbs.ts")).containerStatistics(...given);

/**
 * Removes a container, with its disk, its volumes and its log.
 * @throws FlameBoxError `container-running` unless `force`
 * @function
 */
export const removeContainer: typeof verbs.removeContainer = async (...given) =>
  await (await import("./lifecycle/verbs.ts")).removeContainer(...given);

/**
 * Removes every container that does not run, or those of them that filters name.
 * @throws FlameBoxError `invalid-filter`
 * @function
 */
export const pruneContainers: typeof pruning.pruneContainers = async (...given) =>
  await (await import("./lifecycle/prune.ts")).pruneContainers(...given);

/**
 * What containers take on disk.
 * @function
 */
export const containerUsage: typeof pruning.containerUsage = async (...given) =>
  await (await import("./lifecycle/prune.ts")).containerUsage(...given);

/**
 * Gives a container another name.
 * @throws FlameBoxError `name-taken`, `invalid-option`
 * @function
 */
export const renameContainer: typeof verbs.rename = async (...given) =>
  await (await import("./lifecycle/verbs.ts")).rename(...given);

/**
 * Changes a container's restart policy and its limits: at once, as far as its machine goes.
 * @throws FlameBoxError `invalid-option`; of one that runs `memory-in-use`, `container-paused`: nothing has changed then
 * @function
 */
export const updateContainer: typeof verbs.updateContainer = async (...given) =>
  await (await import("./lifecycle/verbs.ts")).updateContainer(...given);

/**
 * Attaches to a container that runs.
 * @throws FlameBoxError `container-not-running`
 * @function
 */
export const attachContainer: typeof attaching.attachContainer = async (...given) =>
  await (await import("./lifecycle/attach.ts")).attachContainer(...given);

/**
 * Starts a container that does not run, attached.
 * @throws FlameBoxError as `start`; `container-running`
 * @function
 */
export const startAndAttach: typeof attaching.startAndAttach = async (...given) =>
  await (await import("./lifecycle/attach.ts")).startAndAttach(...given);

/**
 * Executes a process in a container that runs.
 * @throws FlameBoxError `container-not-running`, `command-not-found`, `command-not-executable`, `user-not-found`, …
 * @function
 */
export const execInContainer: typeof attaching.execInRunning = async (...given) =>
  await (await import("./lifecycle/attach.ts")).execInRunning(...given);

/**
 * Executes a process in a container that runs, and leaves it to itself.
 * @throws FlameBoxError `container-not-running`, `command-not-found`, …
 * @function
 */
export const execDetached: typeof attaching.execDetached = async (...given) =>
  await (await import("./lifecycle/attach.ts")).execDetached(...given);

/**
 * Copies a container's files to this host, with the rules of `docker cp`.
 * @throws FlameBoxError `path-not-found`, `copy-refused`, `archive-refused`
 * @function
 */
export const copyFrom: typeof copies.copyFrom = async (...given) =>
  await (await import("./lifecycle/copies.ts")).copyFrom(...given);

/**
 * Copies this host's files into a container, with the rules of `docker cp`.
 * @throws FlameBoxError `copy-source-failed`, `copy-refused`, `failed`
 * @function
 */
export const copyTo: typeof copies.copyTo = async (...given) =>
  await (await import("./lifecycle/copies.ts")).copyTo(...given);

/**
 * Makes an image of a container's files.
 * @throws FlameBoxError `container-not-found`, `invalid-reference`, `invalid-change`
 * @function
 */
export const commitContainer: typeof copies.commitContainer = async (...given) =>
  await (await import("./lifecycle/copies.ts")).commitContainer(...given);

/**
 * A container's files as a tar archive, to a stream.
 * @throws FlameBoxError `container-not-found`, `path-not-found`
 * @function
 */
export const archiveFrom: typeof copies.archiveFrom = async (...given) =>
  await (await import("./lifecycle/copies.ts")).archiveFrom(...given);

/**
 * Unpacks a tar archive in a container.
 * @throws FlameBoxError `container-not-found`, `path-not-found`, `not-a-directory`, `failed`
 * @function
 */
export const archiveTo: typeof copies.archiveTo = async (...given) =>
  await (await import("./lifecycle/copies.ts")).archiveTo(...given);

/**
 * A container's whole root file system as a tar archive, to a stream.
 * @throws FlameBoxError `container-not-found`
 * @function
 */
export const exportContainer: typeof copies.exportContainer = async (...given) =>
  await (await import("./lifecycle/copies.ts")).exportContainer(...given);

/**
 * What a container has changed of its image's files.
 * @throws FlameBoxError `container-not-found`
 * @function
 */
export const containerChanges: typeof copies.containerChanges = async (...given) =>
  await (await import("./lifecycle/copies.ts")).containerChanges(...given);

/**
 * What runs in a container.
 * @throws FlameBoxError `container-not-running`
 * @function
 */
export const containerProcesses: typeof contents.containerProcessList = async (...given) =>
  await (await import("./lifecycle/contents.ts")).containerProcessList(...given);
