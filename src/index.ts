/**
 * FlameBox as a library: any OCI image, each in its own microVM.
 *
 *     import { run } from "flamebox";
 *     const { code, stdout } = await run("alpine", { command: ["uname", "-r"] });
 *
 * Every function takes `signal` and reports progress through `onProgress`; errors are `FlameBoxError`s with a
 * `code` for programs and a `hint` for people. Nothing here prints, reads the environment or exits.
 */
import type { Writable } from "node:stream";
import { acquireImage, pullFromSource } from "./container/acquire.ts";
import type * as doctor from "./container/doctor.ts";
import { openHome } from "./container/home.ts";
import { prepareHost } from "./container/host.ts";
import type * as attaching from "./container/lifecycle/attach.ts";
import type * as contents from "./container/lifecycle/contents.ts";
import type * as copies from "./container/lifecycle/copies.ts";
import type { CreateOptions } from "./container/lifecycle/create.ts";
import type { ContainerEvent, EventsOptions } from "./container/lifecycle/events.ts";
import { runInForeground } from "./container/lifecycle/foreground.ts";
import type { AttachedContainer } from "./container/lifecycle/foreground.ts";
import type { ContainerInfo } from "./container/lifecycle/info.ts";
import type { LogsOptions } from "./container/lifecycle/verbs.ts";
import type * as verbs from "./container/lifecycle/verbs.ts";
import type { LogEntry } from "./container/log/format.ts";
import type { OperationOptions, PullOptions } from "./container/options.ts";
import type * as networks from "./container/networks.ts";
import type * as imageWork from "./container/images.ts";
import type * as logins from "./container/login.ts";
import type * as kernels from "./container/kernels.ts";
import type * as installation from "./container/setup.ts";
import type * as templates from "./container/templates.ts";
import { locatePaths } from "./util/paths.ts";
import * as images from "./images/images.ts";
import type { ImageInfo } from "./images/images.ts";
import type { ExportedRootfs, ExportOptions } from "./images/export.ts";

export type { AttachedExec, AttachOptions, ExecInOptions } from "./container/lifecycle/attach.ts";
export type { Change, ContainerProcess, FileStat } from "./container/contents.ts";
export type { CommitContainerOptions, ContainerCopyOptions } from "./container/lifecycle/copies.ts";
export type { MachineUse } from "./container/machine-use.ts";
export type { CreateOptions } from "./container/lifecycle/create.ts";
export type { Action, ContainerEvent, EventsOptions } from "./container/lifecycle/events.ts";
export type { AttachedContainer } from "./container/lifecycle/foreground.ts";
export type { ContainerDetails, ContainerInfo } from "./container/lifecycle/info.ts";
export type { KeptOptions, LogOptions, RestartPolicy } from "./container/lifecycle/record.ts";
export type { ContainerState, Status } from "./container/lifecycle/state.ts";
export type {
  EndOptions,
  LogsOptions,
  RemoveOptions,
  UpdateOptions,
} from "./container/lifecycle/verbs.ts";
export type { LogEntry, LogStream } from "./container/log/format.ts";
export { FlameBox } from "./container/flamebox.ts";
export type { CollectOptions, ExecResult, FlameBoxOptions, OutputEvent } from "./container/flamebox.ts";
export type {
  ContainerFiles,
  DirectoryEntry,
  ReadFileOptions,
  WriteFileOptions,
} from "./container/container-files.ts";
export { createPool } from "./container/pool.ts";
export type { Pool, PoolOptions, PoolStartOptions } from "./container/pool.ts";
export { run } from "./container/run.ts";
export { start } from "./container/start.ts";
export type { Check, HostReport } from "./container/doctor.ts";
export type { BuildKernelOptions, KernelInfo } from "./container/kernels.ts";
export type { CreateNetworkOptions, Member, NetworkInfo } from "./container/networks.ts";
export type { BuildTemplateOptions, TemplateInfo } from "./container/templates.ts";
export type { SetupOptions, SetupReport } from "./container/setup.ts";
export type { ArchiveSource, ImportImageOptions, LoadImagesOptions } from "./container/load.ts";
export type { LoginOptions, LoginReport } from "./container/login.ts";
export type { PushReport } from "./container/push.ts";
export type { SaveImagesOptions } from "./container/save.ts";
export type { HistoryLine, ImageDetails, LayerDetails } from "./images/describe.ts";
export type { ImageUsage } from "./images/usage.ts";
export type { StoreProblem } from "./store/check.ts";
export type {
  BindMount,
  ContainerExit,
  ContainerOptions,
  ContainerStatistics,
  Device,
  DeviceCgroupRule,
  ExecOptions,
  ExecProcess,
  EgressOptions,
  Health,
  HealthcheckOptions,
  HealthResult,
  MachineOptions,
  OperationOptions,
  PortMapping,
  PullOptions,
  Refusal,
  RegistryAccess,
  RunningContainer,
  RunOptions,
  RunResult,
  TmpfsMount,
  Ulimit,
  Volume,
} from "./container/options.ts";
export type { ExportedRootfs, RootfsFormat } from "./images/export.ts";
export type { ImageInfo, RemovedImage } from "./images/images.ts";
export { FlameBoxError } from "./util/error.ts";
export { locatePaths } from "./util/paths.ts";
export type { PathEnvironment, Paths } from "./util/paths.ts";
export type { OnProgress, ProgressEvent } from "./util/progress.ts";
export { version } from "./util/version.ts";

/** A function of its own: tsc does not rewrite what is imported beside `await using`. */
const loadExports = async () => await import("./images/export.ts");

/** `format` is `erofs` unless given; `sizeBytes` is for ext4; `force` replaces a file that is there. */
export type RootfsFileOptions = Pick<ExportOptions, "format" | "sizeBytes" | "force">;

/**
 * Fetches an image from its source, converts layers that are not here yet, and makes its root file system.
 * @param reference as Docker writes them: `alpine`, `ghcr.io/owner/app:1.2`, `localhost:5000/x@sha256:…`; or a place
 *   on this host: `oci:DIR`, `oci-archive:FILE`, `docker-archive:FILE`, `dir:DIR`
 * @throws FlameBoxError `image-not-found`, `platform-not-found`, `unauthorized`, `registry-unreachable`,
 *   `digest-mismatch`, `disk-full`, …; what the reference stood for before is then as it was
 */
export async function pull(reference: string, options: PullOptions = {}): Promise<ImageInfo> {
  await using store = await openHome(options);
  const image = await pullFromSource(store, reference, { ...options, named: true });
  return await images.infoOf(store, image);
}

/** The images that are here, by reference. Records that cannot be used are told through `onNotice`. */
export async function listImages(
  options: OperationOptions & { readonly filters?: readonly string[] | undefined } = {},
): Promise<ImageInfo[]> {
  await using store = await openHome(options);
  return await images.listImages(store, options);
}

/**
 * Removes a reference, and whatever no other reference and no running machine needs.
 * @param reference a reference, or the beginning of an image's id
 * @throws FlameBoxError `image-not-found`, `ambiguous-image-id`
 */
export const removeImage: typeof imageWork.removeImage = async (...given) =>
  await (await import("./container/images.ts")).removeImage(...given);

/**
 * Writes an image's root file system to a file, as EROFS, ext4, squashfs or tar; pulls the image when it is not here.
 * @throws FlameBoxError `file-exists` unless `force`; `program-missing` for squashfs; `ext4-too-small`,
 *   `ext4-cannot-hold`
 */
export async function writeRootfs(
  reference: string,
  outPath: string,
  options: PullOptions & RootfsFileOptions = {},
): Promise<ExportedRootfs> {
  const { exportRootfs } = await loadExports();
  await using store = await openHome(options);
  const image = await acquireImage(store, reference, options);
  return await exportRootfs(store, image, outPath, options);
}

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
  return await (await import("./container/lifecycle/attach.ts")).createAndAttach(image, rest);
}

/**
 * Makes a container that stays until it is removed, and does not start it.
 * @throws FlameBoxError as `start`, but for what only a start can tell; `name-taken`
 */
export async function createContainer(image: string, options: CreateOptions = {}): Promise<ContainerInfo> {
  const { create } = await import("./container/lifecycle/create.ts");
  const { inspectContainer: inspect } = await import("./container/lifecycle/verbs.ts");
  const { id } = await create(image, options);
  return await inspect(id, options);
}

/** Makes a container and starts it in a process of its own. Nobody is attached. */
export async function runDetached(image: string, options: CreateOptions = {}): Promise<ContainerInfo> {
  const { create } = await import("./container/lifecycle/create.ts");
  const { startContainer: begin } = await import("./container/lifecycle/verbs.ts");
  const { id } = await create(image, options);
  return await begin(id, options);
}

/** A container's output, oldest first; with `follow` until it ends. */
export async function* containerLogs(name: string, options: LogsOptions = {}): AsyncGenerator<LogEntry> {
  yield* (await import("./container/lifecycle/verbs.ts")).containerLogs(name, options);
}

/** What happens to containers from now on, or from `sinceMs`; until `untilMs`, or for ever. */
export async function* containerEvents(
  options: OperationOptions & EventsOptions = {},
): AsyncGenerator<ContainerEvent> {
  const { readEvents } = await import("./container/lifecycle/events.ts");
  yield* readEvents(options.paths ?? locatePaths(), options);
}

/** The same as tar, to a stream, which is left open. */
export async function streamRootfs(
  reference: string,
  out: Writable,
  options: PullOptions = {},
): Promise<{ readonly sizeBytes: number }> {
  const { exportToStream } = await loadExports();
  await using store = await openHome(options);
  const image = await acquireImage(store, reference, options);
  return await exportToStream(store, image, out, options);
}

// What most programs do not need is loaded when it is asked for: a container's start is not to wait for it.

/** Containers that are here, newest first: those that run, or all of them. */
export const listContainers: typeof verbs.listContainers = async (...given) =>
  await (await import("./container/lifecycle/verbs.ts")).listContainers(...given);

/** All that there is to know of a container. */
export const inspectContainer: typeof verbs.inspectContainer = async (...given) =>
  await (await import("./container/lifecycle/verbs.ts")).inspectContainer(...given);

/** Starts a container that does not run, in a process of its own. */
export const startContainer: typeof verbs.startContainer = async (...given) =>
  await (await import("./container/lifecycle/verbs.ts")).startContainer(...given);

/** Asks a container to end, and kills it when it has not in time. */
export const stopContainer: typeof verbs.stopContainer = async (...given) =>
  await (await import("./container/lifecycle/verbs.ts")).stopContainer(...given);

/** Sends a signal to a container's first process. */
export const killContainer: typeof verbs.killContainer = async (...given) =>
  await (await import("./container/lifecycle/verbs.ts")).killContainer(...given);

/** Stops a container if it runs, and starts it. */
export const restartContainer: typeof verbs.restartContainer = async (...given) =>
  await (await import("./container/lifecycle/verbs.ts")).restartContainer(...given);

/** Halts a container's machine. */
export const pauseContainer: typeof verbs.pauseContainer = async (...given) =>
  await (await import("./container/lifecycle/verbs.ts")).pauseContainer(...given);

/** Lets a container's machine go on. */
export const unpauseContainer: typeof verbs.unpauseContainer = async (...given) =>
  await (await import("./container/lifecycle/verbs.ts")).unpauseContainer(...given);

/** Waits until a container has ended. */
export const waitContainer: typeof verbs.waitContainer = async (...given) =>
  await (await import("./container/lifecycle/verbs.ts")).waitContainer(...given);

/** What a container uses now. */
export const containerStatistics: typeof verbs.containerStatistics = async (...given) =>
  await (await import("./container/lifecycle/verbs.ts")).containerStatistics(...given);

/** Removes a container, with its disk, its volumes and its log. */
export const removeContainer: typeof verbs.removeContainer = async (...given) =>
  await (await import("./container/lifecycle/verbs.ts")).removeContainer(...given);

/** Gives a container another name. */
export const renameContainer: typeof verbs.rename = async (...given) =>
  await (await import("./container/lifecycle/verbs.ts")).rename(...given);

/** Changes a container's restart policy, or the size of its machine from its next start on. */
export const updateContainer: typeof verbs.updateContainer = async (...given) =>
  await (await import("./container/lifecycle/verbs.ts")).updateContainer(...given);

/** Attaches to a container that runs. */
export const attachContainer: typeof attaching.attachContainer = async (...given) =>
  await (await import("./container/lifecycle/attach.ts")).attachContainer(...given);

/** Starts a container that does not run, attached. */
export const startAndAttach: typeof attaching.startAndAttach = async (...given) =>
  await (await import("./container/lifecycle/attach.ts")).startAndAttach(...given);

/** Executes a process in a container that runs. */
export const execInContainer: typeof attaching.execInRunning = async (...given) =>
  await (await import("./container/lifecycle/attach.ts")).execInRunning(...given);

/** Executes a process in a container that runs, and leaves it to itself. */
export const execDetached: typeof attaching.execDetached = async (...given) =>
  await (await import("./container/lifecycle/attach.ts")).execDetached(...given);

/** Copies a container's files to this host, with the rules of `docker cp`. */
export const copyFrom: typeof copies.copyFrom = async (...given) =>
  await (await import("./container/lifecycle/copies.ts")).copyFrom(...given);

/** Copies this host's files into a container, with the rules of `docker cp`. */
export const copyTo: typeof copies.copyTo = async (...given) =>
  await (await import("./container/lifecycle/copies.ts")).copyTo(...given);

/** Makes an image of a container's files. */
export const commitContainer: typeof copies.commitContainer = async (...given) =>
  await (await import("./container/lifecycle/copies.ts")).commitContainer(...given);

/** A container's files as a tar archive, to a stream. */
export const archiveFrom: typeof copies.archiveFrom = async (...given) =>
  await (await import("./container/lifecycle/copies.ts")).archiveFrom(...given);

/** Unpacks a tar archive in a container. */
export const archiveTo: typeof copies.archiveTo = async (...given) =>
  await (await import("./container/lifecycle/copies.ts")).archiveTo(...given);

/** A container's whole root file system as a tar archive, to a stream. */
export const exportContainer: typeof copies.exportContainer = async (...given) =>
  await (await import("./container/lifecycle/copies.ts")).exportContainer(...given);

/** What a container has changed of its image's files. */
export const containerChanges: typeof copies.containerChanges = async (...given) =>
  await (await import("./container/lifecycle/copies.ts")).containerChanges(...given);

/** What runs in a container. */
export const containerProcesses: typeof contents.containerProcessList = async (...given) =>
  await (await import("./container/lifecycle/contents.ts")).containerProcessList(...given);

/** What this host can do, and what is missing. Never throws for what is missing. */
export const diagnose: typeof doctor.diagnose = async (...given) =>
  await (await import("./container/doctor.ts")).diagnose(...given);

/** Puts the kernel, the guest and the first template in place. */
export const setup: typeof installation.setup = async (...given) =>
  await (await import("./container/setup.ts")).setup(...given);

/**
 * Everything in an image archive (`docker save`'s, old or new, or an OCI one; plain, gzip or zstd) with the names that
 * it has there.
 */
export const loadImages: typeof imageWork.loadImages = async (...given) =>
  await (await import("./container/images.ts")).loadImages(...given);

/** An image whose only layer is a file system's archive. Without a reference it gets no name. */
export const importImage: typeof imageWork.importImage = async (...given) =>
  await (await import("./container/images.ts")).importImage(...given);

/** Writes images to an archive, a directory or a stream. */
export const saveImages: typeof imageWork.saveImages = async (...given) =>
  await (await import("./container/images.ts")).saveImages(...given);

/** Another name for an image. */
export const tagImage: typeof imageWork.tagImage = async (...given) =>
  await (await import("./container/images.ts")).tagImage(...given);

/** Sends an image to the registry that its name names. */
export const push: typeof imageWork.push = async (...given) =>
  await (await import("./container/images.ts")).push(...given);

/** Everything about an image that is here: config, layers, history, sizes. */
export const inspectImage: typeof imageWork.inspectImage = async (...given) =>
  await (await import("./container/images.ts")).inspectImage(...given);

/** Removes images without a name, or all that nothing uses, and whatever no image needs. */
export const pruneImages: typeof imageWork.pruneImages = async (...given) =>
  await (await import("./container/images.ts")).pruneImages(...given);

/** What images take on disk. */
export const imageUsage: typeof imageWork.imageUsage = async (...given) =>
  await (await import("./container/images.ts")).imageUsage(...given);

/** Reads all that is here of images, and says what is wrong. Changes nothing. */
export const checkImages: typeof imageWork.checkImages = async (...given) =>
  await (await import("./container/images.ts")).checkImages(...given);

/** Tries credentials at a registry and keeps them in Docker's configuration. */
export const login: typeof logins.login = async (...given) =>
  await (await import("./container/login.ts")).login(...given);

/** Forgets the credentials for a registry. */
export const logout: typeof logins.logout = async (...given) =>
  await (await import("./container/login.ts")).logout(...given);

/** Saved machines, used last first. */
export const listTemplates: typeof templates.listTemplates = async (...given) =>
  await (await import("./container/templates.ts")).listTemplates(...given);

/** The template for containers of a size, made unless it is here. */
export const buildTemplate: typeof templates.buildTemplate = async (...given) =>
  await (await import("./container/templates.ts")).buildTemplate(...given);

/** Removes templates; machines that were restored from them go on. */
export const removeTemplates: typeof templates.removeTemplates = async (...given) =>
  await (await import("./container/templates.ts")).removeTemplates(...given);

/** Removes templates that no start would use any more. */
export const pruneTemplates: typeof templates.pruneTemplates = async (...given) =>
  await (await import("./container/templates.ts")).pruneTemplates(...given);

/** The kernels that are here: Debian's, those built here, and those given by `--kernel`. */
export const listKernels: typeof kernels.listKernels = async (...given) =>
  await (await import("./container/kernels.ts")).listKernels(...given);

/** Builds the tuned kernel from Debian's source. */
export const buildKernel: typeof kernels.buildKernel = async (...given) =>
  await (await import("./container/kernels.ts")).buildKernel(...given);

/** Chooses the kernel of all machines from now on. */
export const useKernel: typeof kernels.useKernel = async (...given) =>
  await (await import("./container/kernels.ts")).useKernel(...given);

/** Removes kernels that are not in use. */
export const removeKernels: typeof kernels.removeKernels = async (...given) =>
  await (await import("./container/kernels.ts")).removeKernels(...given);

/** Makes a network, in which containers reach each other by name. */
export const createNetwork: typeof networks.createNetwork = async (...given) =>
  await (await import("./container/networks.ts")).createNetwork(...given);

/** The networks that are here, and who is in them now. */
export const listNetworks: typeof networks.listNetworks = async (...given) =>
  await (await import("./container/networks.ts")).listNetworks(...given);

export const inspectNetwork: typeof networks.inspectNetwork = async (...given) =>
  await (await import("./container/networks.ts")).inspectNetwork(...given);

/** Removes a network that nobody is in. */
export const removeNetwork: typeof networks.removeNetwork = async (...given) =>
  await (await import("./container/networks.ts")).removeNetwork(...given);

/** Removes every network that nobody is in. */
export const pruneNetworks: typeof networks.pruneNetworks = async (...given) =>
  await (await import("./container/networks.ts")).pruneNetworks(...given);
