/**
 * The agent's methods, typed. protocol/PROTOCOL.md, "Requests"; one function a method, every one with a
 * deadline of its own kind.
 *
 *     client.ts   machines, containers and processes: made, started, signalled
 *     files.ts    what a container has in its file system, in and out as tar
 *     layer.ts    what a container has changed of its image
 *     usage.ts    what runs in a container, what it uses and what it may use
 */
import type { Readable, Writable } from "node:stream";
import type { CallOptions } from "./call.ts";
import { ask, CREATE_DEADLINE_MS, requireGeneration } from "./call.ts";
import type { ExecExitEvent } from "./protocol/messages.ts";
import { AgentError, createdSchema, pidSchema, pingSchema } from "./protocol/messages.ts";
import type { AgentSession } from "./session/session.ts";

const KILL = 9;

export interface Configuration {
  /** Milliseconds since the epoch. */
  readonly timeMs: number;
  /** 32 to 512 bytes for the kernel's random number generator. */
  readonly entropy: Uint8Array;
  readonly hostname: string;
  /** 32 lower-case hexadecimal digits. */
  readonly machineId: string;
  readonly network?:
    | {
        readonly mac: string;
        readonly mtu: number;
        readonly addresses: readonly string[];
        readonly gateways: readonly string[];
      }
    | undefined;
}

/** A directory on the writable disk that is mounted into the container and goes with it. */
export interface AnonymousVolume {
  /** Absolute, in the container. Made when it is missing. */
  readonly path: string;
  readonly readonly: boolean;
  /** Whether what the image has at `path` is copied into it first. */
  readonly seed: boolean;
}

export interface ContainerRequest {
  readonly id: string;
  /** Serial numbers of the disks. */
  readonly baseDevice: string;
  readonly scratchDevice: string;
  readonly files: readonly {
    readonly path: string;
    readonly mode: number;
    readonly text: string | Uint8Array;
  }[];
  /** `name`, `uid`, `name:group`, `uid:gid`; empty is root. */
  readonly user: string;
  readonly groups: readonly string[];
  /** An OCI runtime-spec config.json. */
  readonly config: object;
  readonly stdin: boolean;
  readonly terminal: boolean;
  /** A process 1 that reaps and forwards signals, with the container's process as its child. Generation 2. */
  readonly init?: boolean | undefined;
  /** At most 64. Generation 2. */
  readonly volumes?: readonly AnonymousVolume[] | undefined;
  /** Mounted in this order; at most 32. Generation 2. */
  readonly shares?: readonly SharedPlace[] | undefined;
}

/** A folder or file of the host's, as a FUSE file system whose server is on this side. */
export interface SharedPlace {
  /** Absolute, in the container. Made when it is missing. */
  readonly path: string;
  readonly kind: "directory" | "file";
  readonly readonly: boolean;
  /** Called before the container is created: the mount itself already asks. The streams are the server's to end. */
  readonly serve: (requests: Readable, replies: Writable) => void;
}

export interface ContainerStreams {
  readonly stdin: Writable | null;
  readonly stdout: Readable;
  /** Undefined with a terminal. */
  readonly stderr: Readable | undefined;
}

export interface CreatedContainer extends ContainerStreams {
  /** What of config.json cannot be had in this machine, and does no harm to be without. For people. */
  readonly warnings: readonly string[];
  /** Whether it was made beforehand, and can be told another command at its start. */
  readonly prepared: boolean;
}

export interface ExecRequest {
  /** The container's. */
  readonly id: string;
  /** The new process's name: as a container's id, and used by no other process in the container that still runs. */
  readonly exec: string;
  /** `process` as in an OCI config.json: args, env, cwd, terminal, consoleSize, capabilities, rlimits, … */
  readonly process: object;
  /** As a container's; undefined leaves it to `process.user`. */
  readonly user?: string | undefined;
  readonly groups?: readonly string[] | undefined;
  readonly stdin: boolean;
  readonly terminal: boolean;
}

export interface Execution {
  readonly streams: ContainerStreams;
  /** Resolves after the last byte of the output streams. Rejects when the session ends before. */
  readonly wait: () => Promise<ExecExitEvent>;
}

/**
 * The heartbeat. `rssBytes` is the agent's own memory.
 * @throws FlameBoxError `agent-timeout`, `agent-lost`
 */
export async function ping(
  session: AgentSession,
  options: CallOptions & { readonly deadlineMs?: number | undefined } = {},
): Promise<{ readonly rssBytes: number }> {
  requireGeneration(session, 2, "a heartbeat");
  return await ask(session, "system.ping", pingSchema, {}, options);
}

export async function configure(
  session: AgentSession,
  what: Configuration,
  options: CallOptions = {},
): Promise<void> {
  const { timeMs, entropy, hostname, machineId, network } = what;
  const params = {
    time: timeOf(timeMs),
    entropy: Buffer.from(entropy).toString("base64"),
    hostname,
    machineId,
  };
  await session.request("system.configure", network === undefined ? params : { ...params, network }, options);
}

function timeOf(timeMs: number): object {
  const seconds = Math.floor(timeMs / 1000);
  return { seconds, nanoseconds: Math.floor((timeMs - seconds * 1000) * 1_000_000) };
}

/** As exactly as a machine's clock is to be set, and how often it is tried on a host that is too busy for that. */
const CLOCK_MS = 50;
const CLOCK_TRIES = 4;

/**
 * The host's time now. A machine that has been told before sets it at once, and so more exactly. A request that lay on
 * the way leaves the clock behind by so much, for good; its answer comes as late, and then it is told again.
 */
export async function setTime(
  session: Pick<AgentSession, "request">,
  options: CallOptions = {},
): Promise<void> {
  for (let tries = 1; ; tries++) {
    const sentMs = performance.now();
    await session.request("system.configure", { time: timeOf(Date.now()) }, options);
    if (performance.now() - sentMs <= CLOCK_MS || tries === CLOCK_TRIES) return;
  }
}

/** What a machine is to have ready for its first container, before it is known what that will be. */
export interface PreparationRequest {
  /** Serial numbers of the disks. */
  readonly baseDevice: string;
  readonly scratchDevice: string;
  /** An OCI runtime-spec config.json. A container whose own differs only in its process, and its host name, is quick. */
  readonly config: object;
}

/**
 * Generation 3.
 * @throws AgentError `invalid-config`, `conflict`, `failed`
 */
export async function prepareContainer(
  session: AgentSession,
  request: PreparationRequest,
  options: CallOptions = {},
): Promise<void> {
  requireGeneration(session, 3, "a container made beforehand");
  const rootfs = rootfsOf(request);
  const params = { rootfs, config: request.config };
  await session.request("container.prepare", params, { ...options, deadlineMs: CREATE_DEADLINE_MS });
}

/**
 * Has the machine do once what executing a program takes, so that a later one is executed sooner. Generation 3.
 * @throws AgentError `failed`
 */
export async function rehearse(session: AgentSession, options: CallOptions = {}): Promise<void> {
  requireGeneration(session, 3, "a rehearsal");
  await session.request("system.rehearse", {}, options);
}

function rootfsOf(disks: Pick<PreparationRequest, "baseDevice" | "scratchDevice">): object {
  return {
    base: { device: disks.baseDevice, type: "erofs" },
    writable: { device: disks.scratchDevice, type: "ext4" },
  };
}

/** @throws AgentError `user-not-found`, `invalid-config`, `command-not-found`, `failed`, … */
export async function createContainer(
  session: AgentSession,
  request: ContainerRequest,
  options: CallOptions = {},
): Promise<CreatedContainer> {
  const { init = false, volumes = [], shares = [] } = request;
  if (init || volumes.length > 0 || shares.length > 0)
    requireGeneration(session, 2, "an init process, an anonymous volume, or a host folder");
  const stdio = openStdio(session, request);
  const served = shares.map((share, index) => openShare(session, share, `s${index}`));
  const params = {
    id: request.id,
    rootfs: rootfsOf(request),
    files: request.files.map(({ path, mode, text }) => ({
      path,
      mode,
      data: Buffer.from(text).toString("base64"),
    })),
    user: { user: request.user, groups: request.groups },
    config: request.config,
    stdio: stdio.ids,
    ...(init && { init }),
    ...(volumes.length > 0 && { volumes }),
    ...(served.length > 0 && { shares: served }),
  };
  const call = { ...options, deadlineMs: CREATE_DEADLINE_MS };
  const { warnings, prepared } = await ask(session, "container.create", createdSchema, params, call);
  return { ...stdio.streams, warnings, prepared };
}

/** What a container that was prepared can be told when it is started, and not before. Generation 3. */
export interface Override {
  /** In the place of the arguments that it was created with. */
  readonly args?: readonly string[] | undefined;
  /** `NAME=value`, each in the place of what it was created with under that name. */
  readonly env?: readonly string[] | undefined;
}

/** @throws AgentError `command-not-found`, `command-not-executable`, `conflict`, `failed` */
export async function startContainer(
  session: AgentSession,
  id: string,
  { override, ...options }: CallOptions & { readonly override?: Override | undefined } = {},
): Promise<void> {
  if (override !== undefined) requireGeneration(session, 3, "another command for a container");
  await session.request(
    "container.start",
    { id, ...override },
    { ...options, deadlineMs: CREATE_DEADLINE_MS },
  );
}

/**
 * Executes a further process in a running container, in all its namespaces, its cgroup, and under its seccomp filter.
 * Aborting ends the process as well.
 * @throws AgentError `command-not-found`, `command-not-executable`, `user-not-found`, `not-found`, `conflict`, …
 */
export async function execInContainer(
  session: AgentSession,
  request: ExecRequest,
  options: CallOptions = {},
): Promise<Execution> {
  const { id, exec, process, user, groups = [] } = request;
  requireGeneration(session, 2, "a further process in a container");
  // Asked before the exec: a short process may have ended by the time the request is answered.
  const outputs: Readable[] = [];
  const { exit, forget } = session.waitExec(id, exec, outputs);
  exit.catch(() => {});
  const stdio = openStdio(session, request);
  outputs.push(...outputsOf(stdio.streams));
  const params = {
    id,
    exec,
    process,
    stdio: stdio.ids,
    ...(user !== undefined && { user: { user, groups } }),
  };
  try {
    const call = { ...options, deadlineMs: CREATE_DEADLINE_MS };
    await ask(session, "container.exec", pidSchema, params, call);
  } catch (error) {
    // Else it may still come to run: its exit is waited for, and it is told to go.
    if (error instanceof AgentError) forget();
    else signalContainer(session, id, KILL, exec).catch(() => {});
    const { stdin, stdout, stderr } = stdio.streams;
    for (const stream of [stdin, stdout, stderr]) stream?.destroy();
    throw error;
  }
  return { streams: stdio.streams, wait: async () => await exit };
}

/**
 * To the container's first process, or to the one that was executed as `exec`.
 * @throws AgentError `not-found` when the process has ended
 */
export async function signalContainer(
  session: AgentSession,
  id: string,
  signal: number,
  exec?: string,
): Promise<void> {
  await session.request("container.signal", { id, signal, ...ofExec(session, exec) });
}

export async function resizeContainer(
  session: AgentSession,
  id: string,
  size: { readonly columns: number; readonly rows: number },
  exec?: string,
): Promise<void> {
  const { columns, rows } = size;
  await session.request("container.resize", { id, columns, rows, ...ofExec(session, exec) });
}

/** A member that an agent of generation 1 does not know would be passed over, and the container be signalled. */
function ofExec(session: AgentSession, exec: string | undefined): { exec?: string } {
  if (exec === undefined) return {};
  requireGeneration(session, 2, "a further process in a container");
  return { exec };
}

/** Those whose end comes before the process's. */
export function outputsOf({ stdout, stderr }: ContainerStreams): Readable[] {
  return stderr === undefined ? [stdout] : [stdout, stderr];
}

function openShare(session: AgentSession, share: SharedPlace, tag: string): object {
  const requests = session.openIncoming();
  const replies = session.openOutgoing();
  share.serve(requests.stream, replies.stream);
  const { path, kind, readonly } = share;
  return { tag, path, kind, readonly, requests: requests.id, replies: replies.id };
}

function openStdio(
  session: AgentSession,
  wanted: { readonly stdin: boolean; readonly terminal: boolean },
): { readonly ids: object; readonly streams: ContainerStreams } {
  const stdin = wanted.stdin ? session.openOutgoing() : undefined;
  const stdout = session.openIncoming();
  const stderr = wanted.terminal ? undefined : session.openIncoming();
  return {
    ids: { ...(stdin && { stdin: stdin.id }), stdout: stdout.id, ...(stderr && { stderr: stderr.id }) },
    streams: { stdin: stdin?.stream ?? null, stdout: stdout.stream, stderr: stderr?.stream },
  };
}
