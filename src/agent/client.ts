/**
 * The agent's methods, typed. protocol/PROTOCOL.md, "Requests"; one function a method, every one with a
 * deadline of its own kind.
 */
import type { Readable, Writable } from "node:stream";
import { check, pidSchema } from "./protocol/messages.ts";
import type { AgentSession } from "./session/session.ts";

/** Under emulation, and with many machines on few cores, a mount takes its time. */
const CREATE_DEADLINE_MS = 60_000;

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

export interface ContainerRequest {
  readonly id: string;
  /** Serial numbers of the disks. */
  readonly baseDevice: string;
  readonly scratchDevice: string;
  readonly files: readonly { readonly path: string; readonly mode: number; readonly text: string }[];
  /** `name`, `uid`, `name:group`, `uid:gid`; empty is root. */
  readonly user: string;
  readonly groups: readonly string[];
  /** An OCI runtime-spec config.json. */
  readonly config: object;
  readonly stdin: boolean;
  readonly terminal: boolean;
}

export interface ContainerStreams {
  readonly stdin: Writable | null;
  readonly stdout: Readable;
  /** Undefined with a terminal. */
  readonly stderr: Readable | undefined;
}

interface CallOptions {
  readonly signal?: AbortSignal | undefined;
}

export async function configure(
  session: AgentSession,
  what: Configuration,
  options: CallOptions = {},
): Promise<void> {
  const { timeMs, entropy, hostname, machineId, network } = what;
  const seconds = Math.floor(timeMs / 1000);
  const time = { seconds, nanoseconds: Math.floor((timeMs - seconds * 1000) * 1_000_000) };
  const params = { time, entropy: Buffer.from(entropy).toString("base64"), hostname, machineId };
  await session.request("system.configure", network === undefined ? params : { ...params, network }, options);
}

/** @throws AgentError `user-not-found`, `invalid-config`, `command-not-found`, `failed`, … */
export async function createContainer(
  session: AgentSession,
  request: ContainerRequest,
  options: CallOptions = {},
): Promise<ContainerStreams> {
  const stdin = request.stdin ? session.openOutgoing() : undefined;
  const stdout = session.openIncoming();
  const stderr = request.terminal ? undefined : session.openIncoming();
  const params = {
    id: request.id,
    rootfs: {
      base: { device: request.baseDevice, type: "erofs" },
      writable: { device: request.scratchDevice, type: "ext4" },
    },
    files: request.files.map(({ path, mode, text }) => ({
      path,
      mode,
      data: Buffer.from(text).toString("base64"),
    })),
    user: { user: request.user, groups: request.groups },
    config: request.config,
    stdio: { ...(stdin && { stdin: stdin.id }), stdout: stdout.id, ...(stderr && { stderr: stderr.id }) },
  };
  const result = await session.request("container.create", params, {
    ...options,
    deadlineMs: CREATE_DEADLINE_MS,
  });
  check("container.create", pidSchema, result);
  return { stdin: stdin?.stream ?? null, stdout: stdout.stream, stderr: stderr?.stream };
}

/** @throws AgentError `command-not-found`, `command-not-executable`, `failed` */
export async function startContainer(
  session: AgentSession,
  id: string,
  options: CallOptions = {},
): Promise<void> {
  await session.request("container.start", { id }, { ...options, deadlineMs: CREATE_DEADLINE_MS });
}

/** @throws AgentError `not-found` when the process has ended */
export async function signalContainer(session: AgentSession, id: string, signal: number): Promise<void> {
  await session.request("container.signal", { id, signal });
}

export async function resizeContainer(
  session: AgentSession,
  id: string,
  size: { readonly columns: number; readonly rows: number },
): Promise<void> {
  await session.request("container.resize", { id, columns: size.columns, rows: size.rows });
}
