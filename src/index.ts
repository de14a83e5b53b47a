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
import type { OperationOptions, PullOptions } from "./container/options.ts";
import type * as networks from "./container/networks.ts";
import type * as imageWork from "./container/images.ts";
import type * as logins from "./container/login.ts";
import type * as kernels from "./container/kernels.ts";
import type * as installation from "./container/setup.ts";
import type * as templates from "./container/templates.ts";
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
export {
  archiveFrom,
  archiveTo,
  attachContainer,
  commitContainer,
  containerChanges,
  containerEvents,
  containerLogs,
  containerProcesses,
  containerStatistics,
  copyFrom,
  copyTo,
  createContainer,
  execDetached,
  execInContainer,
  exportContainer,
  inspectContainer,
  killContainer,
  listContainers,
  pauseContainer,
  removeContainer,
  renameContainer,
  restartContainer,
  runContainer,
  runDetached,
  startAndAttach,
  startContainer,
  stopContainer,
  unpauseContainer,
  updateContainer,
  waitContainer,
} from "./container/named.ts";
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
