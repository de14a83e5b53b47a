/**
 * A container, from an image's name to a running process. The one place where everything is put together:
 *
 *     image ─► rootfs disk ─┐
 *     host ─► driver, boot ─┼─► machine ─► agent: configure, create, start ─► RunningContainer
 *     scratch disk, network ┘
 *
 * What has been begun when something fails is undone in reverse order before the error is passed on.
 */
import { randomBytes } from "node:crypto";
import { configure, createContainer, outputsOf, startContainer } from "../agent/client.ts";
import type { HeartbeatTiming } from "../agent/session/heartbeat.ts";
import type { Image } from "../images/images.ts";
import { imageConfig } from "../images/images.ts";
import type { OpenRootfs } from "../images/rootfs.ts";
import { openRootfs } from "../images/rootfs.ts";
import type { DiskFile, MachineConfig } from "../machine/machine.ts";
import type { Network } from "../network/network.ts";
import type { Store } from "../store/layout.ts";
import { CleanupStack } from "../util/cleanup.ts";
import { FlameBoxError } from "../util/error.ts";
import type { Paths } from "../util/paths.ts";
import { locatePaths } from "../util/paths.ts";
import { silent } from "../util/progress.ts";
import { acquireImage, pullFromRegistry, requireRunnable } from "./acquire.ts";
import type { BootedMachine } from "./boot.ts";
import { bootMachine, machineLost } from "./boot.ts";
import { networkOf, resolvConfOf } from "./connection.ts";
import { newContainerId } from "./container-id.ts";
import { generatedFiles } from "./files.ts";
import { openHome } from "./home.ts";
import type { Host } from "./host.ts";
import { prepareHost } from "./host.ts";
import type { ContainerOptions, RunningContainer } from "./options.ts";
import type { ContainerPlan, MachinePlan } from "./plan.ts";
import { planContainer, planMachine } from "./plan.ts";
import type { Launched } from "./running.ts";
import { Container } from "./running.ts";
import { DEFAULT_STORAGE_BYTES, makeScratchDisk } from "./scratch.ts";
import { openShares } from "./shares.ts";
import type { OpenedShares } from "./shares.ts";
import { keepVigil } from "./vigil.ts";
import type { Connection, ReadyMachine } from "./template.ts";
import { connectMachine, restoreMachine } from "./template.ts";
import type { Workspace } from "./workspace.ts";
import { createWorkspace } from "./workspace.ts";

/** What a container is started with and cannot be asked for: the host's VMM, and how long guests are waited for. */
export interface Surroundings {
  readonly prepareHost: typeof prepareHost;
  /** How long the guest may take to answer first; default by the VMM's speed. */
  readonly bootDeadlineMs?: number | undefined;
  /** Every later deadline of the agent's is multiplied by this; default 1. */
  readonly patience?: number | undefined;
  readonly heartbeat?: HeartbeatTiming | undefined;
}

/**
 * Starts a container of `image` and returns when its process has been executed.
 * @throws FlameBoxError; its `code` says which of everything that can be wrong is. `command-not-found` and
 *   `command-not-executable` mean that the image does not have the command.
 */
export async function start(image: string, options: ContainerOptions = {}): Promise<RunningContainer> {
  return await startOn({ prepareHost }, image, options);
}

/** As `start`, on surroundings of the caller's choice: a machine that is played by a test. */
export async function startOn(
  surroundings: Surroundings,
  image: string,
  options: ContainerOptions,
): Promise<RunningContainer> {
  const paths = options.paths ?? locatePaths();
  const machine = await planMachine(options);
  await using cleanup = new CleanupStack();
  const shares = cleanup.use(await openShares(options.binds ?? [], options.onNotice));
  const store = cleanup.use(await openHome(options));
  const id = newContainerId();
  const [workspace, prepared, { host, ready }] = await together(cleanup, options.signal, [
    async (signal) => await prepareWorkspace(paths, id, { ...options, signal }),
    async (signal) =>
      await prepareImage(store, { name: image, id, machine, options: { ...options, signal } }),
    async (signal) => await prepareMachine({ paths, surroundings, machine, options: { ...options, signal } }),
  ]);
  const { rootfs, startNetwork } = prepared;
  const disks: MachineConfig["disks"] = {
    base: await baseDisk(host, rootfs, options),
    scratch: { path: workspace.scratchPath, format: "raw" },
  };
  const connection = { disks, startNetwork };
  if (ready !== undefined) await workspace.recordVmm(ready.machine.pid);
  const booted = cleanup.use(
    ready === undefined
      ? await boot({ surroundings, host, workspace, machine, connection, options })
      : await connectMachine(ready, connection),
  );
  const config = prepared.plan.configFor(host.kernel.release);
  const launched = await launch(booted, { id, options, plan: prepared.plan, config, shares });
  keepVigil(booted, launched.exit, surroundings.heartbeat);
  // The container goes on without its network; somebody should know why.
  void booted.network?.failed.then((error) => options.onNotice?.(error.message));
  const { mounts: _mounts, configFor: _configFor, hostname: _hostname, user, ...plan } = prepared.plan;
  const facts = {
    ...plan,
    id,
    name: options.name,
    memoryLimitBytes: machine.size.share.memoryLimitBytes,
    onHealth: options.onHealth,
    probe: { process: config.process, user, groups: options.groupAdd ?? [] },
  };
  return new Container(facts, booted, launched, cleanup.move());
}

async function baseDisk({ driver }: Host, rootfs: OpenRootfs, options: ContainerOptions): Promise<DiskFile> {
  const path = driver.baseFormat === "vmdk" ? rootfs.vmdkPath : await rootfs.rawFile(options);
  return { path, format: driver.baseFormat };
}

interface PreparedImage extends AsyncDisposable {
  readonly rootfs: OpenRootfs;
  readonly plan: ContainerPlan;
  readonly startNetwork: (() => Promise<Network>) | undefined;
}

interface ImageRequest {
  /** As the user wrote it. */
  readonly name: string;
  readonly id: string;
  readonly machine: MachinePlan;
  readonly options: ContainerOptions;
}

async function prepareImage(store: Store, request: ImageRequest): Promise<PreparedImage> {
  const { name, options } = request;
  const image = await acquireImage(store, name, options);
  try {
    return await openImage(store, image, request);
  } catch (error) {
    const damaged = error instanceof FlameBoxError && error.code === "image-incomplete";
    if (!damaged || options.pull === "never") throw error;
    // A pull takes what is damaged for absent, and fetches only that.
    options.onNotice?.(`${error.message}; fetching it again`);
    return await openImage(store, await pullFromRegistry(store, name, options), request);
  }
}

async function openImage(store: Store, image: Image, request: ImageRequest): Promise<PreparedImage> {
  const { id, machine, options } = request;
  requireRunnable(image.platform);
  const { config: execution = {} } = await imageConfig(store, image);
  const plan = planContainer(id, execution, machine.size, options);
  const startNetwork = networkOf(options, execution);
  const { signal, onProgress } = options;
  const rootfs = await openRootfs(store, image, { signal, onProgress });
  return { rootfs, plan, startNetwork, [Symbol.asyncDispose]: () => rootfs[Symbol.asyncDispose]() };
}

async function prepareWorkspace(paths: Paths, id: string, options: ContainerOptions): Promise<Workspace> {
  const workspace = await createWorkspace(paths, id);
  try {
    await makeScratchDisk(
      paths,
      workspace.scratchPath,
      options.storageBytes ?? DEFAULT_STORAGE_BYTES,
      options.signal,
    );
    return workspace;
  } catch (error) {
    await workspace[Symbol.asyncDispose]();
    throw error;
  }
}

interface PreparedMachine extends AsyncDisposable {
  readonly host: Host;
  /** Undefined when it is to be booted. */
  readonly ready: ReadyMachine | undefined;
}

interface MachineRequest {
  readonly paths: Paths;
  readonly surroundings: Surroundings;
  readonly machine: MachinePlan;
  readonly options: ContainerOptions;
}

async function prepareMachine(request: MachineRequest): Promise<PreparedMachine> {
  const { paths, surroundings, machine, options } = request;
  const host = await surroundings.prepareHost(paths, options);
  const { vcpus: cpus, memoryMib } = machine.size;
  const wanted = options.template ?? true;
  const ready = wanted
    ? await restoreMachine({
        ...options,
        paths,
        host,
        shape: { cpus, memoryMib, network: options.network !== "none" },
        hostCpus: machine.hostCpus,
        deadlineMs: surroundings.bootDeadlineMs,
        patience: surroundings.patience,
      })
    : undefined;
  return { host, ready, [Symbol.asyncDispose]: async () => await ready?.[Symbol.asyncDispose]() };
}

type Jobs<T extends readonly AsyncDisposable[]> = {
  readonly [K in keyof T]: (signal: AbortSignal) => Promise<T[K]>;
};

/**
 * Does all at once. The first that fails ends the others, and they are waited for, so that nothing goes on behind
 * the error. What they made belongs to `cleanup`, the last first.
 */
async function together<T extends readonly AsyncDisposable[]>(
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

interface BootRequest {
  readonly surroundings: Surroundings;
  readonly host: Host;
  readonly workspace: Workspace;
  readonly machine: MachinePlan;
  readonly connection: Connection;
  readonly options: ContainerOptions;
}

async function boot(request: BootRequest): Promise<BootedMachine> {
  const { surroundings, host, workspace, machine, connection, options } = request;
  const { signal, onProgress = silent } = options;
  const report = (state: "running" | "done" | "failed", note?: string): void =>
    onProgress({ id: "boot", label: "starting the machine", state, ...(note !== undefined && { note }) });
  report("running");
  try {
    const booted = await bootMachine({
      driver: host.driver,
      emulated: !host.kvm.usable,
      config: {
        boot: host.boot,
        cpus: machine.size.vcpus,
        memoryMib: machine.size.memoryMib,
        hostCpus: machine.hostCpus,
        disks: connection.disks,
      },
      startNetwork: connection.startNetwork,
      signal,
      deadlineMs: surroundings.bootDeadlineMs,
      patience: surroundings.patience,
      onRetry: (attempt, why) => {
        report("running", `attempt ${attempt}: ${why}`);
        options.onNotice?.(`starting the machine again (attempt ${attempt}): ${why}`);
      },
      onStarted: async (machine) => await workspace.recordVmm(machine.pid),
    });
    report("done");
    return booted;
  } catch (error) {
    report("failed");
    throw error;
  }
}

interface LaunchRequest {
  readonly id: string;
  readonly options: ContainerOptions;
  readonly plan: ContainerPlan;
  /** config.json */
  readonly config: object;
  readonly shares: OpenedShares;
}

async function launch(booted: BootedMachine, request: LaunchRequest): Promise<Launched> {
  const { id, options, plan, config, shares } = request;
  const { session, network } = booted;
  const { diskSerials: disks } = booted.machine;
  const { signal } = options;
  const call = signal === undefined ? {} : { signal };
  const machine = {
    timeMs: Date.now(),
    entropy: randomBytes(64),
    hostname: plan.hostname,
    machineId: id.slice(0, 32),
    network: network?.guest,
  };
  const files = generatedFiles({
    hostname: plan.hostname,
    address: network?.guest.addresses[0]?.split("/")[0],
    addHosts: options.addHosts ?? [],
    resolvConf: await resolvConfOf(options, network !== undefined),
  }).filter(({ path }) => !plan.mounts.targets.includes(path));
  try {
    await configure(session, machine, call);
    const { warnings, ...streams } = await createContainer(
      session,
      {
        id,
        baseDevice: disks.base ?? "",
        scratchDevice: disks.scratch ?? "",
        files,
        shares: shares.places,
        user: plan.user,
        groups: options.groupAdd ?? [],
        config,
        init: options.init,
        volumes: plan.mounts.volumes,
        stdin: options.interactive === true,
        terminal: options.tty !== undefined,
      },
      call,
    );
    for (const warning of warnings) options.onNotice?.(warning);
    // Asked before the start: a short process may have ended by the time the start is answered.
    const exit = session.exitOf(id, outputsOf(streams));
    exit.catch(() => {});
    await startContainer(session, id, call);
    return { ...streams, exit };
  } catch (error) {
    signal?.throwIfAborted();
    throw withConsole(error, booted);
  }
}

/** An agent that does not answer says nothing itself; its machine's console may. */
function withConsole(error: unknown, booted: BootedMachine): unknown {
  if (!(error instanceof FlameBoxError) || !MACHINE_LOSSES.has(error.code)) return error;
  return machineLost(booted.machine, error.message, error);
}

const MACHINE_LOSSES = new Set(["agent-lost", "agent-timeout", "protocol-error"]);
