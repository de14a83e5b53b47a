/**
 * A container, from an image's name to a process that is about to be executed. The one place where everything is put
 * together:
 *
 *     image ─► rootfs disk ─┐
 *     host ─► driver, boot ─┼─► machine ─► agent: configure, create ─► Assembled
 *     scratch disk, network ┘
 *
 * What has been begun when something fails is undone in reverse order before the error is passed on.
 */
import { randomBytes } from "node:crypto";
import type { ContainerStreams } from "../agent/client.ts";
import type { Configuration } from "../agent/client.ts";
import { configure, createContainer, outputsOf } from "../agent/client.ts";
import type { AgentSession } from "../agent/session/session.ts";
import type { ExitEvent } from "../agent/protocol/messages.ts";
import type { OpenRootfs } from "../images/rootfs.ts";
import type { DiskFile, MachineConfig } from "../machine/machine.ts";
import type { Network } from "../network/network.ts";
import { CleanupStack } from "../util/cleanup.ts";
import { FlameBoxError } from "../util/error.ts";
import type { Paths } from "../util/paths.ts";
import { locatePaths } from "../util/paths.ts";
import { silent } from "../util/progress.ts";
import type { Berth } from "./berth.ts";
import { passingBerth } from "./berth.ts";
import type { BootedMachine } from "./boot.ts";
import { bootMachine, machineLost } from "./boot.ts";
import { hostsOf, resolvConfOf } from "./connection.ts";
import { generatedFiles } from "./files.ts";
import { openHome } from "./home.ts";
import type { Host } from "./host.ts";
import { IDLE_PATH, idleProgram } from "./idle-program.ts";
import type { ContainerOptions } from "./options.ts";
import type { ContainerPlan, MachinePlan } from "./plan.ts";
import { planMachine } from "./plan.ts";
import type { ImageRequest, Surroundings } from "./prepare.ts";
import { prepareImage, prepareMachine, together } from "./prepare.ts";
import type { ContainerFacts } from "./running.ts";
import type { OpenedShares } from "./shares.ts";
import type { Connection } from "./template.ts";
import { connectMachine } from "./template.ts";
import type { Workspace } from "./workspace.ts";

/** A container in its machine, whose process waits to be executed. */
export interface Assembled {
  readonly booted: BootedMachine;
  readonly facts: ContainerFacts;
  readonly streams: ContainerStreams;
  /** Told once the process has been executed and has ended. */
  readonly exit: Promise<ExitEvent>;
  /** Whether another command can still be given. */
  readonly isChangeable: boolean;
  /** The writable one. */
  readonly disk: DiskFile;
  /** Everything that ends with it. */
  readonly owned: CleanupStack;
}

export interface Placing {
  /** Where it is made; default: in a folder that goes with it. */
  readonly berthOf?: ((paths: Paths) => Promise<Berth>) | undefined;
  readonly onPlanned?: ImageRequest["onPlanned"];
  readonly refusals?: ImageRequest["refusals"];
  /** The program that does nothing is there, for whoever decides at the start. */
  readonly mayIdle?: boolean | undefined;
}

/**
 * @throws FlameBoxError as `start`, but for what only the exec can tell
 */
export async function assemble(
  surroundings: Surroundings,
  image: string,
  options: ContainerOptions,
  { berthOf = passingBerth, onPlanned, refusals, mayIdle = false }: Placing = {},
): Promise<Assembled> {
  const paths = options.paths ?? locatePaths();
  const machine = await planMachine(options);
  await using cleanup = new CleanupStack();
  const shares = cleanup.use(await sharesOf(options));
  const store = cleanup.use(await openHome(options));
  const berth = cleanup.use(await berthOf(paths));
  const { id, workspace } = berth;
  const [prepared, { host, ready, scratch }] = await together(cleanup, options.signal, [
    async (signal) =>
      await prepareImage(store, {
        name: image,
        berth,
        machine,
        onPlanned,
        refusals,
        options: { ...options, signal },
      }),
    async (signal) =>
      await prepareMachine({ paths, surroundings, machine, berth, options: { ...options, signal } }),
  ]);
  const { rootfs, startNetwork } = prepared;
  const disks: MachineConfig["disks"] = { base: await baseDisk(host, rootfs, options), scratch };
  const configureGuest = async (session: AgentSession, network: Network | undefined): Promise<void> =>
    await configure(session, identityOf(id, prepared.plan, network), { signal: options.signal });
  const connection = { disks, startNetwork, configureGuest };
  if (ready !== undefined) await workspace.recordVmm(ready.machine.pid);
  const booted = cleanup.use(
    ready === undefined
      ? await boot({ surroundings, host, workspace, machine, connection, options })
      : await explained(connectMachine(ready, connection), ready, options.signal),
  );
  if (ready === undefined)
    await explained(configureGuest(booted.session, booted.network), booted, options.signal);
  const config = prepared.plan.configFor(host.kernel.release);
  const { plan: containerPlan } = prepared;
  const hasIdle = mayIdle || options.idle === true;
  const created = await create(booted, { id, host, options, plan: containerPlan, config, shares, hasIdle });
  const { mounts: _mounts, configFor: _configFor, hostname: _hostname, user, ...plan } = prepared.plan;
  const facts = {
    ...plan,
    id,
    name: options.name,
    vcpus: machine.size.vcpus,
    memoryLimitBytes: machine.size.share.memoryLimitBytes,
    onHealth: options.onHealth,
    probe: { process: config.process, user, groups: options.groupAdd ?? [] },
  };
  return { booted, facts, ...created, disk: scratch, owned: cleanup.move() };
}

/** Most containers have none, and need nothing of what serves them. */
async function sharesOf({ binds = [], onNotice }: ContainerOptions): Promise<OpenedShares> {
  if (binds.length === 0) return { places: [], [Symbol.asyncDispose]: async () => {} };
  const { openShares } = await import("./shares.ts");
  return await openShares(binds, onNotice);
}

async function baseDisk({ driver }: Host, rootfs: OpenRootfs, options: ContainerOptions): Promise<DiskFile> {
  const path = driver.baseFormat === "vmdk" ? rootfs.vmdkPath : await rootfs.rawFile(options);
  return { path, format: driver.baseFormat };
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

/** An agent that does not answer says nothing itself; its machine's console may. */
async function explained<T>(
  job: Promise<T>,
  machine: Pick<BootedMachine, "machine">,
  signal: AbortSignal | undefined,
): Promise<T> {
  try {
    return await job;
  } catch (error) {
    signal?.throwIfAborted();
    throw withConsole(error, machine);
  }
}

function identityOf(id: string, { hostname }: ContainerPlan, network: Network | undefined): Configuration {
  return {
    timeMs: Date.now(),
    entropy: randomBytes(64),
    hostname,
    machineId: id.slice(0, 32),
    network: network?.guest,
  };
}

interface CreateRequest {
  readonly id: string;
  readonly host: Host;
  readonly options: ContainerOptions;
  readonly plan: ContainerPlan;
  /** config.json */
  readonly config: object;
  readonly shares: OpenedShares;
  readonly hasIdle: boolean;
}

async function create(
  booted: BootedMachine,
  request: CreateRequest,
): Promise<Pick<Assembled, "streams" | "exit" | "isChangeable">> {
  const { id, options, plan, config, shares } = request;
  const { diskNames } = request.host.driver;
  const { session, network } = booted;
  const { signal } = options;
  const files = generatedFiles({
    hostname: plan.hostname,
    address: network?.guest.addresses[0]?.split("/")[0],
    addHosts: hostsOf(options, network?.guest),
    resolvConf: resolvConfOf(options, network?.resolvers),
  }).filter(({ path }) => !plan.mounts.targets.includes(path));
  if (request.hasIdle) files.push({ path: IDLE_PATH, mode: 0o755, text: idleProgram() });
  try {
    const { warnings, prepared, ...streams } = await createContainer(
      session,
      {
        id,
        baseDevice: diskNames.base,
        scratchDevice: diskNames.scratch,
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
      { signal },
    );
    for (const warning of warnings) options.onNotice?.(warning);
    // Asked before the start: a short process may have ended by the time the start is answered.
    const exit = session.exitOf(id, outputsOf(streams));
    exit.catch(() => {});
    return { streams, exit, isChangeable: prepared };
  } catch (error) {
    signal?.throwIfAborted();
    throw withConsole(error, booted);
  }
}

/** An agent that does not answer says nothing itself; its machine's console may. */
export function withConsole(error: unknown, { machine }: Pick<BootedMachine, "machine">): unknown {
  if (!(error instanceof FlameBoxError) || !MACHINE_LOSSES.has(error.code)) return error;
  return machineLost(machine, error.message, error);
}

const MACHINE_LOSSES = new Set(["agent-lost", "agent-timeout", "protocol-error"]);
