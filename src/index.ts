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
import type * as imageWork from "./container/images.ts";
import type * as logins from "./container/login.ts";
import type * as installation from "./container/setup.ts";
import * as images from "./images/images.ts";
import type { ImageInfo } from "./images/images.ts";
import type { ExportedRootfs, RootfsFileOptions } from "./images/export.ts";

export type { AttachedExec, AttachOptions, ExecInOptions } from "./container/lifecycle/attach.ts";
export type {
  ArchiveOptions,
  Change,
  ChangeKind,
  ContentsOptions,
  FileKind,
  ContainerProcess,
  FileStat,
  StatOptions,
  TimeOfFile,
} from "./container/contents.ts";
export type { CommitContainerOptions, ContainerCopyOptions } from "./container/lifecycle/copies.ts";
export type { MachineUse } from "./container/machine-use.ts";
export type { CreateOptions } from "./container/lifecycle/create.ts";
export type { Action, ContainerEvent, EventsOptions } from "./container/lifecycle/events.ts";
export type { ConnectNetworkOptions } from "./container/lifecycle/membership.ts";
export type { AttachedContainer } from "./container/lifecycle/foreground.ts";
export type { ContainerConfig } from "./container/lifecycle/configured.ts";
export type {
  ContainerDetails,
  ContainerInfo,
  ContainerMount,
  ContainerSizes,
} from "./container/lifecycle/info.ts";
export type { KeptOptions, LogOptions, RestartPolicy } from "./container/lifecycle/record.ts";
export type { ContainerState, HealthState, LiveState, Status } from "./container/lifecycle/state.ts";
export type {
  ContainerUsage,
  PruneContainersOptions,
  PrunedContainers,
} from "./container/lifecycle/prune.ts";
export type {
  EndOptions,
  ListContainersOptions,
  LogsOptions,
  RemoveOptions,
  UpdateOptions,
} from "./container/lifecycle/verbs.ts";
export type { EgressEntry } from "./container/log/egress.ts";
export type { LogEntry, LogStream } from "./container/log/format.ts";
export { FlameBox } from "./container/flamebox.ts";
export type {
  CollectOptions,
  DetachedFlameBoxOptions,
  ExecResult,
  FlameBoxOptions,
  ListedFlameBox,
  ListFlameBoxesOptions,
} from "./container/flamebox.ts";
export type { ConnectedFlameBox } from "./container/connected.ts";
export type { OutputEvent, OutputLogOptions } from "./container/output-log.ts";
export type { CopyOptions } from "./container/copy/copy.ts";
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
  containerEgressLog,
  containerEvents,
  containerLogs,
  containerProcesses,
  containerStatistics,
  containersToStart,
  containerUsage,
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
  pruneContainers,
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
export type { Pool, PoolOptions, PoolStartOptions, PoolTakeOptions } from "./container/pool.ts";
export {
  buildKernel,
  buildTemplate,
  connectNetwork,
  createNetwork,
  disconnectNetwork,
  inspectNetwork,
  listCniNetworks,
  listKernels,
  listNetworks,
  listTemplates,
  pruneNetworks,
  pruneTemplates,
  removeKernels,
  removeNetwork,
  removeTemplates,
  useKernel,
} from "./container/upkeep.ts";
export { run } from "./container/run.ts";
export { start } from "./container/start.ts";
export type { Check, DiagnoseOptions, HostReport } from "./container/doctor.ts";
export type { BuildKernelOptions, KernelInfo, KernelKind, KernelOptions } from "./container/kernels.ts";
export type { CniNetworkInfo } from "./container/cni.ts";
export type { CreateNetworkOptions, Member, NetworkInfo, NetworkOptions } from "./container/networks.ts";
export type { BuildTemplateOptions, TemplateInfo } from "./container/templates.ts";
export type { InstalledFirecracker, SetupOptions, SetupReport } from "./container/setup.ts";
export type { RemoveImageOptions } from "./container/images.ts";
export type { ArchiveSource, ImportImageOptions, LoadImagesOptions } from "./container/load.ts";
export type { LoginOptions, LoginReport, LogoutReport } from "./container/login.ts";
export type { PushReport } from "./container/push.ts";
export type { SaveFormat, SaveImagesOptions } from "./container/save.ts";
export type {
  Descriptor,
  Digest,
  HistoryLine,
  ImageDetails,
  LayerDetails,
  Platform,
} from "./images/describe.ts";
export type { ImageLimits } from "./images/budget.ts";
export type { CheckOptions, ImageUsage, PruneOptions } from "./images/usage.ts";
export type { StoreProblem } from "./store/check.ts";
export type {
  Balloon,
  BindMount,
  ContainerExit,
  ContainerOptions,
  ContainerStatistics,
  Device,
  DeviceCgroupRule,
  ExecOptions,
  ExecProcess,
  CniPlaces,
  EgressOptions,
  FirecrackerTuning,
  Health,
  HealthcheckOptions,
  HealthResult,
  LogLevel,
  MachineOptions,
  OperationOptions,
  PortMapping,
  Proxies,
  PullOptions,
  RateLimiter,
  RateLimits,
  Refusal,
  RegistryAccess,
  RunningContainer,
  RunOptions,
  RunResult,
  TmpfsMount,
  TokenBucket,
  Transport,
  TrustStore,
  Ulimit,
  Volume,
} from "./container/options.ts";
export type { ExportedRootfs, RootfsFileOptions, RootfsFormat } from "./images/export.ts";
export type { ImageInfo, RemovedImage } from "./images/images.ts";
export { FlameBoxError } from "./util/error.ts";
export type { ErrorDetails } from "./util/error.ts";
export { locatePaths } from "./util/paths.ts";
export type { PathEnvironment, Paths } from "./util/paths.ts";
export type { OnProgress, ProgressEvent } from "./util/progress.ts";
export { version } from "./util/version.ts";

/** A function of its own: tsc does not rewrite what is imported beside `await using`. */
const loadExports = async () => await import("./images/export.ts");

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
 * @function
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

/**
 * What this host can do, and what is missing. Never throws for what is missing.
 * @function
 */
export const diagnose: typeof doctor.diagnose = async (...given) =>
  await (await import("./container/doctor.ts")).diagnose(...given);

/**
 * Puts the kernel, the guest and the first template in place.
 * @throws MachineError `kernel-unavailable`, `kernel-missing`, `agent-missing`, `firecracker-unavailable`
 * @function
 */
export const setup: typeof installation.setup = async (...given) =>
  await (await import("./container/setup.ts")).setup(...given);

/**
 * Everything in an image archive (`docker save`'s, old or new, or an OCI one; plain, gzip or zstd) with the names that
 * it has there.
 * @throws FlameBoxError `invalid-archive`, `image-not-found`, `platform-not-found`, …
 * @function
 */
export const loadImages: typeof imageWork.loadImages = async (...given) =>
  await (await import("./container/images.ts")).loadImages(...given);

/**
 * An image whose only layer is a file system's archive. Without a reference it gets no name.
 * @throws FlameBoxError `invalid-change`, `invalid-reference`, `tar-…`
 * @function
 */
export const importImage: typeof imageWork.importImage = async (...given) =>
  await (await import("./container/images.ts")).importImage(...given);

/**
 * Writes images to an archive, a directory or a stream.
 * @throws FlameBoxError `image-not-found`, `file-exists`, …
 * @function
 */
export const saveImages: typeof imageWork.saveImages = async (...given) =>
  await (await import("./container/images.ts")).saveImages(...given);

/**
 * Another name for an image.
 * @throws FlameBoxError `image-not-found`, `invalid-reference`, `invalid-tag`
 * @function
 */
export const tagImage: typeof imageWork.tagImage = async (...given) =>
  await (await import("./container/images.ts")).tagImage(...given);

/**
 * Sends an image to the registry that its name names.
 * @throws FlameBoxError `image-not-found`, `unauthorized`, `denied`, `registry-unreachable`, …
 * @function
 */
export const push: typeof imageWork.push = async (...given) =>
  await (await import("./container/images.ts")).push(...given);

/**
 * Everything about an image that is here: config, layers, history, sizes.
 * @throws FlameBoxError `image-not-found`, `ambiguous-image-id`
 * @function
 */
export const inspectImage: typeof imageWork.inspectImage = async (...given) =>
  await (await import("./container/images.ts")).inspectImage(...given);

/**
 * Removes images without a name, or all that nothing uses, and whatever no image needs.
 * @throws FlameBoxError `invalid-filter`
 * @function
 */
export const pruneImages: typeof imageWork.pruneImages = async (...given) =>
  await (await import("./container/images.ts")).pruneImages(...given);

/**
 * What images take on disk.
 * @function
 */
export const imageUsage: typeof imageWork.imageUsage = async (...given) =>
  await (await import("./container/images.ts")).imageUsage(...given);

/**
 * Reads all that is here of images, and says what is wrong. Changes nothing.
 * @function
 */
export const checkImages: typeof imageWork.checkImages = async (...given) =>
  await (await import("./container/images.ts")).checkImages(...given);

/**
 * Tries credentials at a registry and keeps them in Docker's configuration.
 * @throws SourceError `unauthorized`, …; AuthError
 * @function
 */
export const login: typeof logins.login = async (...given) =>
  await (await import("./container/login.ts")).login(...given);

/**
 * Forgets the credentials for a registry.
 * @function
 */
export const logout: typeof logins.logout = async (...given) =>
  await (await import("./container/login.ts")).logout(...given);
