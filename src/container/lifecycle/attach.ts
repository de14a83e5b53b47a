/** Attached to a container that another process runs: its streams, and what can be told it, over its control socket. */
import { call, openProcess } from "../control/client.ts";
import type { RemoteProcess } from "../control/client.ts";
import type { ExecOptions, ExecProcess } from "../exec.ts";
import { Deferred } from "../../util/deferred.ts";
import { FlameBoxError } from "../../util/error.ts";
import type { Paths } from "../../util/paths.ts";
import { quote } from "../../util/printable.ts";
import type { OperationOptions } from "../options.ts";
import { create } from "./create.ts";
import type { CreateOptions } from "./create.ts";
import { noteEvent } from "./events.ts";
import type { AttachedContainer } from "./foreground.ts";
import { isOwned } from "./heal.ts";
import { spawnMonitor } from "./monitor.ts";
import type { ContainerRecord } from "./record.ts";
import { readState } from "./state.ts";
import { find } from "./verbs.ts";

export interface AttachOptions extends OperationOptions {
  /** Default true: what is written to `stdin` is the container's, if it takes input. */
  readonly stdin?: boolean | undefined;
}

async function attachTo(
  paths: Paths,
  record: ContainerRecord,
  { stdin = true }: AttachOptions,
): Promise<AttachedContainer & { readonly remote: RemoteProcess }> {
  const remote = await openProcess(paths, record, { method: "attach", params: { stdin } });
  const { live } = await readState(paths, record.id);
  await noteEvent(paths, "attach", record);
  return {
    remote,
    id: record.id,
    name: record.name,
    machine: live?.machine ?? "",
    kernelRelease: live?.kernelRelease ?? "",
    bootRetries: 0,
    memoryLimitBytes: live?.memoryLimitBytes ?? 0,
    ports: live?.ports ?? [],
    stdin: stdin && remote.result["stdin"] === true ? remote.stdin : null,
    stdout: remote.stdout,
    stderr: remote.stderr,
    survives: true,
    wait: async () => await remote.wait(),
    kill: async (signal) => void (await call(paths, record, { method: "signal", params: { signal } })),
    resize: async (size) => void (await call(paths, record, { method: "resize", params: size })),
    [Symbol.asyncDispose]: async () => await remote[Symbol.asyncDispose](),
  };
}

/**
 * Attaches to a container that runs. When the result is disposed the container goes on.
 * @throws FlameBoxError `container-not-running`
 */
export async function attachContainer(name: string, options: AttachOptions = {}): Promise<AttachedContainer> {
  const { paths, record } = await find(name, options);
  return await attachTo(paths, record, options);
}

/** Starts a container in a process of its own, with somebody attached from its first byte on. */
async function startAttached(
  paths: Paths,
  record: ContainerRecord,
  options: AttachOptions,
): Promise<AttachedContainer> {
  const listening = new Deferred<void>();
  const starting = spawnMonitor(record, {
    ...options,
    paths,
    attachFirst: true,
    onListening: () => listening.resolve(),
  });
  starting.catch((error: unknown) => listening.reject(error));
  await listening.promise;
  const container = await attachTo(paths, record, options);
  try {
    await starting;
    const { live } = await readState(paths, record.id);
    if (live === undefined) return container;
    const { machine, kernelRelease, memoryLimitBytes, ports } = live;
    return { ...container, machine, kernelRelease, memoryLimitBytes, ports };
  } catch (error) {
    await container[Symbol.asyncDispose]();
    throw error;
  }
}

/**
 * Starts a container that is here, attached. It outlives whoever is attached.
 * @throws FlameBoxError as `start`; `container-running`
 */
export async function startAndAttach(name: string, options: AttachOptions = {}): Promise<AttachedContainer> {
  const { paths, record } = await find(name, options);
  if (await isOwned(paths, record.id))
    throw new FlameBoxError("container-running", `the container ${quote(record.name)} is running already`, {
      hint: `attach to it: flamebox attach ${record.name}`,
    });
  return await startAttached(paths, record, options);
}

/** Makes a container, and starts it attached. It outlives whoever is attached. */
export async function createAndAttach(image: string, options: CreateOptions): Promise<AttachedContainer> {
  const record = await create(image, options);
  const { paths } = await find(record.id, options);
  return await startAttached(paths, record, options);
}

export interface ExecInOptions extends OperationOptions, Omit<ExecOptions, "signal"> {}

export interface AttachedExec extends ExecProcess, AsyncDisposable {}

/**
 * Executes a process in a container that runs. When the result is disposed the process goes on.
 * @throws FlameBoxError `container-not-running`, `command-not-found`, `command-not-executable`, `user-not-found`, …
 */
export async function execInRunning(
  name: string,
  command: readonly string[],
  options: ExecInOptions = {},
): Promise<AttachedExec> {
  const { paths, record } = await find(name, options);
  return await execOn(paths, record, command, options);
}

/** As `execInRunning`. */
export async function execOn(
  paths: Paths,
  record: ContainerRecord,
  command: readonly string[],
  options: ExecOptions,
): Promise<AttachedExec> {
  const remote = await openProcess(paths, record, execRequest(command, options, false));
  const id = String(remote.result["id"]);
  const tell = async (method: string, params: object) =>
    void (await call(paths, record, { method, params: { exec: id, ...params } }));
  return {
    id,
    stdin: options.interactive === true ? remote.stdin : null,
    stdout: remote.stdout,
    stderr: remote.stderr,
    wait: async () => await remote.wait(),
    kill: async (signal) => await tell("signal", { signal }),
    resize: async (size) => await tell("resize", size),
    [Symbol.asyncDispose]: async () => await remote[Symbol.asyncDispose](),
  };
}

/** As `execInRunning`, and nobody hears of it again. @returns the process's id */
export async function execDetached(
  name: string,
  command: readonly string[],
  options: ExecInOptions = {},
): Promise<string> {
  const { paths, record } = await find(name, options);
  const { id } = await call(paths, record, execRequest(command, options, true), { signal: options.signal });
  return String(id);
}

function execRequest(
  command: readonly string[],
  { env, workdir, user, tty, term, interactive, privileged }: ExecOptions,
  detach: boolean,
): { readonly method: string; readonly params: object } {
  return {
    method: "exec",
    params: { command, detach, env, workdir, user, tty, term, interactive, privileged },
  };
}
