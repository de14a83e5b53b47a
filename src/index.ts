/**
 * FlameBox as a library: any OCI image, each in its own microVM.
 *
 *     import { run } from "flamebox";
 *     const { code, stdout } = await run("alpine", { command: ["uname", "-r"] });
 *
 * Every function takes `signal` and reports progress through `onProgress`; errors are `FlameBoxError`s with a
 * `code` for programs and a `hint` for people. Nothing here prints, reads the environment or exits.
 */
import { acquireImage, pullFromSource } from "./container/acquire.ts";
import type * as doctor from "./container/doctor.ts";
import { openHome } from "./container/home.ts";
import type { OperationOptions, PullOptions } from "./container/options.ts";
import type * as imageWork from "./container/images.ts";
import type * as logins from "./container/login.ts";
import type * as kernels from "./container/kernels.ts";
import type * as installation from "./container/setup.ts";
import type * as templates from "./container/templates.ts";
import * as images from "./images/images.ts";
import type { ImageInfo, RemovedImage } from "./images/images.ts";
import { exportRootfs } from "./images/rootfs.ts";

export { createPool } from "./container/pool.ts";
export type { Pool, PoolOptions, PoolStartOptions } from "./container/pool.ts";
export { run } from "./container/run.ts";
export { start } from "./container/start.ts";
export type { Check, HostReport } from "./container/doctor.ts";
export type { BuildKernelOptions, KernelInfo } from "./container/kernels.ts";
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
  Device,
  DeviceCgroupRule,
  Health,
  HealthcheckOptions,
  HealthResult,
  MachineOptions,
  OperationOptions,
  PortMapping,
  PullOptions,
  RegistryAccess,
  RunningContainer,
  RunOptions,
  RunResult,
  TmpfsMount,
  Ulimit,
  Volume,
} from "./container/options.ts";
export type { ImageInfo, RemovedImage } from "./images/images.ts";
export { FlameBoxError } from "./util/error.ts";
export { locatePaths } from "./util/paths.ts";
export type { PathEnvironment, Paths } from "./util/paths.ts";
export type { OnProgress, ProgressEvent } from "./util/progress.ts";
export { version } from "./util/version.ts";

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
export async function removeImage(reference: string, options: OperationOptions = {}): Promise<RemovedImage> {
  await using store = await openHome(options);
  return await images.removeImage(store, reference, options);
}

/**
 * Writes an image's root file system as one EROFS file; pulls the image when it is not here.
 * @throws FlameBoxError `file-exists` unless `force`
 */
export async function writeRootfs(
  reference: string,
  outPath: string,
  options: PullOptions & { readonly force?: boolean | undefined } = {},
): Promise<{ readonly path: string; readonly sizeBytes: number }> {
  await using store = await openHome(options);
  const image = await acquireImage(store, reference, options);
  return await exportRootfs(store, image, outPath, options);
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
