/**
 * A monitor: a process of its own that runs one container, so that the container outlives the command that started it.
 * The two talk over an inherited socket until the container runs; then the command goes, and the monitor stays.
 *
 *     command ── {id, paths, options} ──► monitor
 *             ◄── {progress}, {notice}, {listening} ──
 *             ◄── {started} or {error} ──
 */
import { spawn } from "node:child_process";
import { open } from "node:fs/promises";
import { Socket } from "node:net";
import { join } from "node:path";
import { FlameBoxError, messageOf } from "../../util/error.ts";
import { linesOf } from "../../util/lines.ts";
import type { Paths } from "../../util/paths.ts";
import type { ProgressEvent } from "../../util/progress.ts";
import { unpackError } from "../control/wire.ts";
import type { OperationOptions } from "../options.ts";
import { PACKAGE_ROOT } from "../package-root.ts";
import type { ContainerRecord } from "./record.ts";
import { containerDir } from "./record.ts";

const LINK_FD = 3;
/** Its young generation does not need to be large; what it holds is small and old. */
const NODE_FLAGS = ["--max-semi-space-size=1"];

export interface MonitorOrder {
  readonly id: string;
  readonly paths: Paths;
  readonly firecracker?: string | undefined;
  readonly jailer?: string | undefined;
  /** The process is not executed before somebody has attached. */
  readonly attachFirst: boolean;
}

export interface SpawnMonitorOptions extends OperationOptions {
  readonly paths: Paths;
  readonly attachFirst?: boolean | undefined;
  /** Told when it can be attached to. With `attachFirst`, the start goes on behind it. */
  readonly onListening?: (() => void) | undefined;
}

type Message = Record<string, unknown>;

/**
 * Starts a monitor for the container and returns when the container runs.
 * @throws FlameBoxError as `start`; the signal's reason, with the start undone
 */
export async function spawnMonitor(
  { id, name }: ContainerRecord,
  options: SpawnMonitorOptions,
): Promise<void> {
  const { paths, signal, firecracker, jailer, attachFirst = false } = options;
  signal?.throwIfAborted();
  await using log = await open(join(containerDir(paths, id), "monitor.log"), "a", 0o600);
  const child = spawn(process.execPath, [...NODE_FLAGS, join(PACKAGE_ROOT, "dist", "monitor", "main.js")], {
    stdio: ["ignore", log.fd, log.fd, "pipe"],
    detached: true,
    cwd: "/",
  });
  const failed = new Promise<never>((_resolve, reject) => {
    child.once("error", (error) => reject(monitorFailed(name, messageOf(error))));
  });
  failed.catch(() => {});
  const link = child.stdio[LINK_FD];
  if (!(link instanceof Socket)) throw monitorFailed(name, "it has no connection");
  link.on("error", () => {});
  const abort = () => child.kill("SIGTERM");
  signal?.addEventListener("abort", abort, { once: true });
  try {
    const order: MonitorOrder = { id, paths, firecracker, jailer, attachFirst };
    link.write(`${JSON.stringify(order)}\n`);
    await Promise.race([failed, untilStarted(link, name, options)]);
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  } finally {
    signal?.removeEventListener("abort", abort);
    link.destroy();
    child.unref();
  }
}

async function untilStarted(link: Socket, name: string, options: SpawnMonitorOptions): Promise<void> {
  const { onProgress, onNotice, onListening } = options;
  for await (const line of linesOf(link)) {
    const message = JSON.parse(line) as Message;
    if ("progress" in message) onProgress?.(message["progress"] as ProgressEvent);
    else if ("notice" in message) onNotice?.(String(message["notice"]));
    else if ("listening" in message) onListening?.();
    else if ("error" in message) throw unpackError(message["error"]);
    else if ("started" in message) return;
  }
  throw monitorFailed(name, "it ended before the container was started");
}

function monitorFailed(name: string, why: string): FlameBoxError {
  return new FlameBoxError("monitor-failed", `the process that runs the container ${name} failed: ${why}`, {
    hint: "its own words are in monitor.log, in the container's folder",
  });
}
