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
import type { Readable, Writable } from "node:stream";
import { Readable as NodeReadable } from "node:stream";
import type { ContainerStreams } from "../agent/client.ts";
import {
  configure,
  createContainer,
  resizeContainer,
  signalContainer,
  startContainer,
} from "../agent/client.ts";
import type { ExitEvent } from "../agent/protocol/messages.ts";
import type { Image } from "../images/images.ts";
import { imageConfig } from "../images/images.ts";
import { openRootfs } from "../images/rootfs.ts";
import { BASE_SERIAL, SCRATCH_SERIAL } from "../machine/qemu/arguments.ts";
import type { Network } from "../network/network.ts";
import { formatResolvConf, hostResolvers } from "../network/resolvers.ts";
import { startUserNetwork } from "../network/user-mode.ts";
import { generate } from "../runtime-spec/generate.ts";
import type { Store } from "../store/layout.ts";
import { CleanupStack } from "../util/cleanup.ts";
import { FlameBoxError } from "../util/error.ts";
import type { Paths } from "../util/paths.ts";
import { locatePaths } from "../util/paths.ts";
import { silent } from "../util/progress.ts";
import { acquireImage, pullFromRegistry, requireRunnable } from "./acquire.ts";
import type { BootedMachine } from "./boot.ts";
import { bootMachine, machineLost } from "./boot.ts";
import { newContainerId, shortId } from "./container-id.ts";
import { generatedFiles } from "./files.ts";
import { openHome } from "./home.ts";
import type { Host } from "./host.ts";
import { prepareHost } from "./host.ts";
import type { ContainerExit, ContainerOptions, PortMapping, RunningContainer } from "./options.ts";
import { DEFAULT_STORAGE_BYTES, makeScratchDisk } from "./scratch.ts";
import type { OpenedShares } from "./shares.ts";
import { openShares, withoutCovered } from "./shares.ts";
import type { Workspace } from "./workspace.ts";
import { createWorkspace } from "./workspace.ts";

const DEFAULT_MEMORY_MIB = 512;
const MIN_MEMORY_MIB = 128;
const DEFAULT_HOST_ADDRESS = "127.0.0.1";

/**
 * Starts a container of `image` and returns when its process has been executed.
 * @throws FlameBoxError; its `code` says which of everything that can be wrong is. `command-not-found` and
 *   `command-not-executable` mean that the image does not have the command.
 */
export async function start(image: string, options: ContainerOptions = {}): Promise<RunningContainer> {
  const paths = options.paths ?? locatePaths();
  checkMachineOptions(options);
  await using cleanup = new CleanupStack();
  const shares = cleanup.use(await openShares(options.binds ?? [], options.onNotice));
  const store = cleanup.use(await openHome(options));
  const id = newContainerId();
  const [prepared, host, workspace] = await together(cleanup, [
    prepareImage(store, image, id, options),
    prepareHost(paths, options),
    prepareWorkspace(paths, id, options),
  ]);
  cleanup.use(prepared.rootfs);
  options.signal?.throwIfAborted();
  const booted = cleanup.use(await boot({ host, vmdkPath: prepared.rootfs.vmdkPath, workspace, options }));
  const launched = await launch(booted, { id, options, prepared, shares });
  // The container goes on without its network; somebody should know why.
  void booted.network?.failed.then((error) => options.onNotice?.(error.message));
  return new Container(id, booted, launched, cleanup.move());
}

interface PreparedImage {
  readonly rootfs: Awaited<ReturnType<typeof openRootfs>>;
  readonly hostname: string;
  readonly user: string;
  /** config.json */
  readonly config: object;
}

async function prepareImage(
  store: Store,
  name: string,
  id: string,
  options: ContainerOptions,
): Promise<PreparedImage> {
  const image = await acquireImage(store, name, options);
  try {
    return await openImage(store, image, id, options);
  } catch (error) {
    const damaged = error instanceof FlameBoxError && error.code === "image-incomplete";
    if (!damaged || options.pull === "never") throw error;
    // A pull takes what is damaged for absent, and fetches only that.
    options.onNotice?.(`${error.message}; fetching it again`);
    return await openImage(store, await pullFromRegistry(store, name, options), id, options);
  }
}

async function openImage(
  store: Store,
  image: Image,
  id: string,
  options: ContainerOptions,
): Promise<PreparedImage> {
  requireRunnable(image.platform);
  const { config: execution = {} } = await imageConfig(store, image);
  const hostname = options.hostname ?? shortId(id);
  // Before anything is started: most mistakes in options show here.
  const config = generate(execution, { ...options, containerId: id, hostname });
  const { signal, onProgress } = options;
  const rootfs = await openRootfs(store, image, { signal, onProgress });
  return { rootfs, hostname, user: options.user ?? execution.User ?? "", config };
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

/** Waits for all three even when one fails, so that nothing goes on behind the error, and keeps what has to be undone. */
async function together(
  cleanup: CleanupStack,
  jobs: readonly [Promise<PreparedImage>, Promise<Host>, Promise<Workspace>],
): Promise<[PreparedImage, Host, Workspace]> {
  const [image, host, workspace] = await Promise.allSettled(jobs);
  if (workspace.status === "fulfilled") cleanup.use(workspace.value);
  if (image.status === "fulfilled" && (host.status === "rejected" || workspace.status === "rejected"))
    await image.value.rootfs[Symbol.asyncDispose]();
  for (const result of [image, host, workspace]) if (result.status === "rejected") throw result.reason;
  return await Promise.all(jobs);
}

interface BootRequest {
  readonly host: Host;
  readonly vmdkPath: string;
  readonly workspace: Workspace;
  readonly options: ContainerOptions;
}

async function boot({ host, vmdkPath, workspace, options }: BootRequest): Promise<BootedMachine> {
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
        cpus: options.cpus ?? 1,
        memoryMib: options.memoryMib ?? DEFAULT_MEMORY_MIB,
        disks: {
          base: { path: vmdkPath, format: "vmdk" },
          scratch: { path: workspace.scratchPath, format: "raw" },
        },
      },
      startNetwork: networkOf(options),
      signal,
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

function networkOf(options: ContainerOptions): (() => Promise<Network>) | undefined {
  const { network = "user", publish = [], signal } = options;
  if (network === "user") {
    const ports = publish.map((port) => ({ ...port, hostAddress: port.hostAddress ?? DEFAULT_HOST_ADDRESS }));
    return async () => await startUserNetwork({ ports, signal });
  }
  if (publish.length > 0)
    throw new FlameBoxError("invalid-option", "a container without a network cannot publish ports", {
      hint: "leave out --network none or -p",
    });
  return undefined;
}

interface LaunchRequest {
  readonly id: string;
  readonly options: ContainerOptions;
  readonly prepared: PreparedImage;
  readonly shares: OpenedShares;
}

interface Launched extends ContainerStreams {
  readonly exit: Promise<ExitEvent>;
}

async function launch(booted: BootedMachine, request: LaunchRequest): Promise<Launched> {
  const { id, options, prepared, shares } = request;
  const { session, network } = booted;
  const { signal } = options;
  const call = signal === undefined ? {} : { signal };
  await configure(
    session,
    {
      timeMs: Date.now(),
      entropy: randomBytes(64),
      hostname: prepared.hostname,
      machineId: id.slice(0, 32),
      network: network?.guest,
    },
    call,
  );
  const files = generatedFiles({
    hostname: prepared.hostname,
    address: network?.guest.addresses[0]?.split("/")[0],
    addHosts: options.addHosts ?? [],
    resolvConf: await resolvConfOf(options, network !== undefined),
  });
  try {
    const streams = await createContainer(
      session,
      {
        id,
        baseDevice: BASE_SERIAL,
        scratchDevice: SCRATCH_SERIAL,
        files: withoutCovered(files, shares.places),
        shares: shares.places,
        user: prepared.user,
        groups: options.groupAdd ?? [],
        config: prepared.config,
        stdin: options.interactive === true,
        terminal: options.tty !== undefined,
      },
      call,
    );
    // Asked before the start: a short process may have ended by the time the start is answered.
    const exit = session.exitOf(id);
    exit.catch(() => {});
    await startContainer(session, id, call);
    return { ...streams, exit };
  } catch (error) {
    signal?.throwIfAborted();
    throw withConsole(error, booted);
  }
}

async function resolvConfOf(options: ContainerOptions, hasNetwork: boolean): Promise<string> {
  if (options.dns !== undefined && options.dns.length > 0)
    return formatResolvConf({ servers: options.dns, search: [], options: [] });
  return hasNetwork ? formatResolvConf(await hostResolvers()) : "";
}

/** An agent that does not answer says nothing itself; its machine's console may. */
function withConsole(error: unknown, booted: BootedMachine): unknown {
  if (!(error instanceof FlameBoxError) || !MACHINE_LOSSES.has(error.code)) return error;
  return machineLost(booted.machine, error.message, error);
}

const MACHINE_LOSSES = new Set(["agent-lost", "agent-timeout", "protocol-error"]);

/** @throws FlameBoxError `invalid-option` */
function checkMachineOptions(options: ContainerOptions): void {
  const { cpus = 1, memoryMib = DEFAULT_MEMORY_MIB } = options;
  if (!Number.isInteger(cpus) || cpus < 1 || cpus > 255)
    throw new FlameBoxError("invalid-option", `a machine has 1 to 255 CPUs, not ${cpus}`);
  if (!Number.isInteger(memoryMib) || memoryMib < MIN_MEMORY_MIB || memoryMib > 1 << 20)
    throw new FlameBoxError(
      "invalid-option",
      `a machine has ${MIN_MEMORY_MIB} MiB to 1 TiB of memory, not ${memoryMib} MiB`,
    );
}

class Container implements RunningContainer {
  readonly id: string;
  readonly machine: string;
  readonly kernelRelease: string;
  readonly bootRetries: number;
  readonly ports: readonly Required<PortMapping>[];
  readonly stdin: Writable | null;
  readonly stdout: Readable;
  readonly stderr: Readable;
  readonly #booted: BootedMachine;
  readonly #owned: CleanupStack;
  readonly #exit: Promise<ContainerExit>;
  #disposed: Promise<void> | undefined;

  constructor(id: string, booted: BootedMachine, launched: Launched, owned: CleanupStack) {
    this.id = id;
    this.machine = booted.machine.description;
    this.kernelRelease = booted.hello.kernel;
    this.bootRetries = booted.retries;
    this.ports = booted.network?.ports ?? [];
    this.stdin = launched.stdin;
    this.stdout = launched.stdout;
    this.stderr = launched.stderr ?? NodeReadable.from([]);
    this.#booted = booted;
    this.#owned = owned;
    this.#exit = launched.exit.then(exitOf);
    // Whoever waits is told; nobody has to.
    this.#exit.catch(() => {});
  }

  async wait(options: { readonly signal?: AbortSignal | undefined } = {}): Promise<ContainerExit> {
    const { signal } = options;
    if (signal === undefined) return await this.#exit;
    signal.throwIfAborted();
    let onAbort = (): void => {};
    const aborted = new Promise<never>((_resolve, reject) => {
      onAbort = () => reject(signal.reason as Error);
      signal.addEventListener("abort", onAbort, { once: true });
    });
    try {
      return await Promise.race([this.#exit, aborted]);
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }

  async kill(signal: number): Promise<void> {
    await signalContainer(this.#booted.session, this.id, signal);
  }

  async resize(size: { readonly columns: number; readonly rows: number }): Promise<void> {
    await resizeContainer(this.#booted.session, this.id, size);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Whoever comes second waits as well: it is over when nothing is left.
    this.#disposed ??= this.#owned[Symbol.asyncDispose]();
    await this.#disposed;
  }
}

function exitOf(event: ExitEvent): ContainerExit {
  const oomKilled = event.oomKilled ?? false;
  if (event.signal !== undefined) return { code: 128 + event.signal, signal: event.signal, oomKilled };
  return { code: event.exitCode ?? 0, oomKilled };
}
