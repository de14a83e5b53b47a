/**
 * What a container needs before it can be made, side by side: its image as a disk, and a machine that has been restored.
 * The machine does not know what for until both are there.
 */
import type { Image } from "../images/images.ts";
import { imageConfig } from "../images/images.ts";
import { openRootfs } from "../images/rootfs.ts";
import type { DiskFile } from "../machine/machine.ts";
import type { Network } from "../network/network.ts";
import type { RefusalSink } from "../network/policy/refusals.ts";
import type { ImageConfig } from "../oci/config.ts";
import { annotationsOfImage } from "../runtime-spec/annotations.ts";
import type { Store } from "../store/layout.ts";
import type { HeartbeatTiming } from "../agent/session/heartbeat.ts";
import { CleanupStack } from "../util/cleanup.ts";
import { FlameBoxError } from "../util/error.ts";
import type { Paths } from "../util/paths.ts";
import { acquireImage, pullFromSource, requireRunnable } from "./acquire.ts";
import { networkOf } from "./connection.ts";
import type { Berth } from "./berth.ts";
import type { Host } from "./host.ts";
import type { prepareHost } from "./host.ts";
import type { ContainerOptions } from "./options.ts";
import type { ContainerPlan, MachinePlan } from "./plan.ts";
import { planContainer } from "./plan.ts";
import { copyDisk, makeOverlayDisk, makeScratchDisk, storageSize } from "./scratch.ts";
import type { ReadyMachine } from "./template.ts";
import { restoreMachine } from "./template.ts";

/** What a container is started with and cannot be asked for: the host's VMM, and how long guests are waited for. */
export interface Surroundings {
  readonly prepareHost: typeof prepareHost;
  /** How long the guest may take to answer first; default by the VMM's speed. */
  readonly bootDeadlineMs?: number | undefined;
  /** Every later deadline of the agent's is multiplied by this; default 1. */
  readonly patience?: number | undefined;
  readonly heartbeat?: HeartbeatTiming | undefined;
  /** A machine of the container's size that has been restored already. It is the container's then. */
  readonly ready?: ReadyMachine | undefined;
}

export interface PreparedImage extends AsyncDisposable {
  readonly rootfs: Awaited<ReturnType<typeof openRootfs>>;
  readonly plan: ContainerPlan;
  readonly startNetwork: (() => Promise<Network>) | undefined;
}

export interface ImageRequest {
  /** As the user wrote it. */
  readonly name: string;
  readonly berth: Pick<Berth, "id" | "image">;
  readonly machine: MachinePlan;
  readonly options: ContainerOptions;
  /** Told what the container is of, once all that it wants is known to be right. */
  readonly onPlanned?: ((image: Image, plan: ContainerPlan) => Promise<void>) | undefined;
  /** Told of each packet of the container's that its network refused. */
  readonly refusals?: RefusalSink | undefined;
}

export async function prepareImage(store: Store, request: ImageRequest): Promise<PreparedImage> {
  const { name, options, berth } = request;
  const image = berth.image ?? (await acquireImage(store, name, options));
  try {
    if (options.verify === true) {
      const { verifyImage } = await import("../images/verify.ts");
      await verifyImage(store, image, options);
    }
    return await openImage(store, image, request);
  } catch (error) {
    const damaged = error instanceof FlameBoxError && error.code === "image-incomplete";
    if (!damaged || options.pull === "never") throw error;
    // A pull takes what is damaged for absent, and fetches only that.
    options.onNotice?.(`${error.message}; fetching it again`);
    const fetched = await pullFromSource(store, name, options);
    // A container has one image, whatever its name stands for by now.
    if (berth.image !== undefined && berth.image.configDigest !== fetched.configDigest) throw error;
    return await openImage(store, berth.image ?? fetched, request);
  }
}

async function openImage(store: Store, image: Image, request: ImageRequest): Promise<PreparedImage> {
  const { machine, options } = request;
  const { id } = request.berth;
  requireRunnable(image.platform);
  const config = await imageConfig(store, image);
  const { config: execution = {} } = config;
  const annotations = { ...labelled(config, options.onNotice), ...options.annotations };
  const plan = planContainer(id, execution, machine.size, { ...options, annotations });
  const startNetwork = networkOf(options, execution, { id, hostname: plan.hostname }, request.refusals);
  const { signal, onProgress } = options;
  const rootfs = await openRootfs(store, image, { signal, onProgress });
  try {
    await request.onPlanned?.(image, plan);
  } catch (error) {
    await rootfs[Symbol.asyncDispose]();
    throw error;
  }
  return { rootfs, plan, startNetwork, [Symbol.asyncDispose]: () => rootfs[Symbol.asyncDispose]() };
}

function labelled(config: ImageConfig, onNotice: ContainerOptions["onNotice"]): Record<string, string> {
  const { annotations, leftOut } = annotationsOfImage(config);
  if (leftOut > 0) onNotice?.(`${leftOut} of the image's labels are no annotations: they are too long`);
  return annotations;
}

export interface PreparedMachine extends AsyncDisposable {
  readonly host: Host;
  /** Undefined when it is to be booted. */
  readonly ready: ReadyMachine | undefined;
  readonly scratch: DiskFile;
}

export interface MachineRequest {
  readonly paths: Paths;
  readonly surroundings: Surroundings;
  readonly machine: MachinePlan;
  readonly berth: Berth;
  readonly options: ContainerOptions;
}

export async function prepareMachine(request: MachineRequest): Promise<PreparedMachine> {
  const { paths, surroundings, machine, berth, options } = request;
  const storageBytes = storageSize(options.storageBytes);
  const host = await surroundings.prepareHost(paths, options);
  const { vcpus: cpus, memoryMib } = machine.size;
  const { disk } = berth;
  const shape = { cpus, memoryMib, network: options.network !== "none", storageBytes, disk };
  const restore = async () =>
    await restoreMachine({
      ...options,
      paths,
      host,
      shape,
      hostCpus: machine.hostCpus,
      scratchLink: disk === "used" ? undefined : berth.workspace.backingPath,
      deadlineMs: surroundings.bootDeadlineMs,
      patience: surroundings.patience,
    });
  const ready = surroundings.ready ?? ((options.template ?? true) ? await restore() : undefined);
  await using cleanup = new CleanupStack();
  if (ready !== undefined) cleanup.use(ready);
  const scratch = await writableDisk(request, host, ready);
  const owned = cleanup.move();
  return { host, ready, scratch, [Symbol.asyncDispose]: () => owned[Symbol.asyncDispose]() };
}

/** A restored machine knows its disk's bytes already; any other gets a fresh one. */
async function writableDisk(
  { paths, berth, options }: MachineRequest,
  { driver }: Host,
  ready: ReadyMachine | undefined,
): Promise<DiskFile> {
  if (berth.usedDisk !== undefined) return berth.usedDisk;
  const { scratchPath: path } = berth.workspace;
  const sizeBytes = storageSize(options.storageBytes);
  if (ready !== undefined && driver.overlays) {
    await makeOverlayDisk(path, sizeBytes);
    return { path, format: "qcow2", backingPath: ready.scratchPath };
  }
  const { signal } = options;
  const journal = berth.disk !== "passing";
  if (ready === undefined) await makeScratchDisk(paths, path, { sizeBytes, journal, signal });
  else await copyDisk(ready.scratchPath, path, signal);
  return { path, format: "raw" };
}

type Jobs<T extends readonly AsyncDisposable[]> = {
  readonly [K in keyof T]: (signal: AbortSignal) => Promise<T[K]>;
};

/**
 * Does all at once. The first that fails ends the others, and they are waited for, so that nothing goes on behind
 * the error. What they made belongs to `cleanup`, the last first.
 */
export async function together<T extends readonly AsyncDisposable[]>(
  cleanup: CleanupStack,
  signal: AbortSignal | undefined,
  jobs: Jobs<T>,
): Promise<T> {
  const failing = new AbortController();
  const either = signal ? AbortSignal.any([signal, failing.signal]) : failing.signal;
  const run = async (job: (signal: AbortSignal) => Promise<AsyncDisposable>) => {
    try {
      return await job(either);
    } catch (error) {
      failing.abort(error);
      throw error;
    }
  };
  const running = jobs.map(run);
  for (const result of await Promise.allSettled(running)) {
    if (result.status === "fulfilled") cleanup.use(result.value);
  }
  signal?.throwIfAborted();
  if (failing.signal.aborted) throw failing.signal.reason;
  return (await Promise.all(running)) as unknown as T;
}
