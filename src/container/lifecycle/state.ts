/**
 * What a container is doing: `containers/ID/state.json`, written by the process that runs it, and by nobody else while
 * that lives. `running` in the file of a dead process is not true; heal.ts puts it right.
 *
 *     created ─► running ⇄ paused          restarting ─► running
 *                  └────────────► exited ◄────┘
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import * as v from "valibot";
import { systemCode } from "../../util/error.ts";
import type { Paths } from "../../util/paths.ts";
import type { Health, PortMapping } from "../options.ts";
import type { Container } from "../running.ts";
import { containerDir, writeWhole } from "./record.ts";

export const STATUSES = ["created", "running", "paused", "restarting", "exited"] as const;
/**
 * What a container does now.
 * @useDeclaredType
 */
export type Status = (typeof STATUSES)[number];

const portSchema = v.object({
  hostAddress: v.string(),
  hostPort: v.number(),
  containerPort: v.number(),
  protocol: v.picklist(["tcp", "udp"]),
});

const stateSchema = v.object({
  version: v.literal(1),
  status: v.picklist(STATUSES),
  startedAt: v.optional(v.string()),
  finishedAt: v.optional(v.string()),
  exitCode: v.optional(v.number()),
  oomKilled: v.optional(v.boolean()),
  error: v.optional(v.string()),
  restartCount: v.number(),
  stopped: v.optional(v.boolean()),
  warnings: v.optional(v.array(v.object({ time: v.string(), message: v.string() }))),
  health: v.optional(
    v.object({
      status: v.picklist(["starting", "healthy", "unhealthy"]),
      failingStreak: v.number(),
      log: v.array(
        v.object({ startedAt: v.string(), endedAt: v.string(), exitCode: v.number(), output: v.string() }),
      ),
    }),
  ),
  live: v.optional(
    v.object({
      monitorPid: v.number(),
      vmmPid: v.number(),
      machine: v.string(),
      kernelRelease: v.string(),
      memoryLimitBytes: v.number(),
      addresses: v.array(v.string()),
      gateways: v.optional(v.array(v.string())),
      mac: v.optional(v.string()),
      ports: v.array(portSchema),
    }),
  ),
  disk: v.optional(v.object({ format: v.picklist(["raw", "qcow2"]), hasBacking: v.boolean() })),
});

/** All that is written down of what a container does. */
export interface ContainerState {
  readonly version: 1;
  readonly status: Status;
  /** RFC 3339; of the last start and the last end. */
  readonly startedAt?: string | undefined;
  readonly finishedAt?: string | undefined;
  /** 0 … 255; of the last end. */
  readonly exitCode?: number | undefined;
  readonly oomKilled?: boolean | undefined;
  /** Why it did not start, or was lost. */
  readonly error?: string | undefined;
  /** By its restart policy, since it was started by somebody. */
  readonly restartCount: number;
  /** A user has ended it, so no policy starts it again; after a boot, `always` does. */
  readonly stopped?: boolean | undefined;
  /** What its owner had to say since it was started by somebody, oldest first; the last eight. */
  readonly warnings?: readonly { readonly time: string; readonly message: string }[] | undefined;
  readonly health?: HealthState | undefined;
  /** While it runs. */
  readonly live?: LiveState | undefined;
  /** The writable one, once it has been made. */
  readonly disk?: { readonly format: "raw" | "qcow2"; readonly hasBacking: boolean } | undefined;
}

/** As `Health`, with times in RFC 3339. */
export interface HealthState {
  readonly status: Health["status"];
  readonly failingStreak: number;
  readonly log: readonly {
    readonly startedAt: string;
    readonly endedAt: string;
    readonly exitCode: number;
    readonly output: string;
  }[];
}

/** What is known of a container as long as it runs. */
export interface LiveState {
  /** The process that runs it, and its machine's. */
  readonly monitorPid: number;
  readonly vmmPid: number;
  /** `qemu (kvm)`, `qemu (software emulation)`. */
  readonly machine: string;
  readonly kernelRelease: string;
  /** Its limit now. */
  readonly memoryLimitBytes: number;
  /** With the length of their prefix: `10.0.2.15/24`. */
  readonly addresses: readonly string[];
  /** One of each family, as far as there are. */
  readonly gateways?: readonly string[] | undefined;
  readonly mac?: string | undefined;
  readonly ports: readonly Required<PortMapping>[];
}

export const CREATED: ContainerState = { version: 1, status: "created", restartCount: 0 };
/** Of a container whose process or machine was lost: nobody knows how its own process ended. */
export const LOST_EXIT_CODE = 137;

const STATE_FILE = "state.json";

/** A state that cannot be read is that of a container that has ended, nobody knows how. */
export async function readState(paths: Paths, id: string): Promise<ContainerState> {
  try {
    return parseState(await readFile(join(containerDir(paths, id), STATE_FILE), "utf8"));
  } catch (error) {
    if (systemCode(error) === "ENOENT") return CREATED;
    throw error;
  }
}

export function parseState(text: string): ContainerState {
  try {
    const parsed = v.safeParse(stateSchema, JSON.parse(text));
    if (parsed.success) return parsed.output;
  } catch {
    // Below.
  }
  const error = "its state could not be read";
  return { version: 1, status: "exited", exitCode: LOST_EXIT_CODE, restartCount: 0, error };
}

export async function writeState(dir: string, state: ContainerState): Promise<void> {
  await writeWhole(dir, STATE_FILE, state);
}

export function isUp({ status }: Pick<ContainerState, "status">): boolean {
  return status === "running" || status === "paused" || status === "restarting";
}

export function healthOf({ status, failingStreak, log }: Health): HealthState {
  const results = log.map(({ startedAt, endedAt, exitCode, output }) => ({
    startedAt: startedAt.toISOString(),
    endedAt: endedAt.toISOString(),
    exitCode,
    output,
  }));
  return { status, failingStreak, log: results };
}

/** What is told of a container while it runs. */
export function liveOf(container: Container): LiveState {
  const { vmmPid, machine, kernelRelease, memoryLimitBytes, addresses, gateways, macAddress, ports } =
    container;
  return {
    monitorPid: process.pid,
    vmmPid,
    machine,
    kernelRelease,
    memoryLimitBytes,
    addresses: [...addresses],
    gateways: [...gateways],
    ...(macAddress !== undefined && { mac: macAddress }),
    ports: ports.map((port) => ({ ...port, hostAddress: port.hostAddress ?? "127.0.0.1" })),
  };
}

/** Of a process that has just been executed: nothing of the one before it is left. */
export function runningState(container: Container): Partial<ContainerState> {
  return {
    status: "running",
    startedAt: new Date().toISOString(),
    finishedAt: undefined,
    exitCode: undefined,
    oomKilled: undefined,
    error: undefined,
    stopped: undefined,
    health: undefined,
    live: liveOf(container),
  };
}
