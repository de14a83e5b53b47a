/**
 * The contents of a container that is here. One that runs is asked by way of its control socket; for one that does not,
 * its machine is started without its process, for as long as it is looked at.
 */
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createInterface } from "node:readline";
import { breakOff, unlessAborted } from "../../util/abort.ts";
import { FlameBoxError } from "../../util/error.ts";
import type { Paths } from "../../util/paths.ts";
import { assemble } from "../assemble.ts";
import type {
  ArchiveOptions,
  Change,
  ContainerContents,
  ContainerProcess,
  ContentsOptions,
  ExtractOptions,
  FileStat,
  StatOptions,
} from "../contents.ts";
import { OwnContents } from "../contents.ts";
import { call, openProcess } from "../control/client.ts";
import type { RemoteProcess } from "../control/client.ts";
import type { FileArchive } from "../../agent/files.ts";
import { prepareHost } from "../host.ts";
import type { OperationOptions } from "../options.ts";
import { removeOwner } from "../workspace.ts";
import { diskRecord, keptBerth } from "./berth.ts";
import { claimContainer, isOwned } from "./heal.ts";
import type { ContainerRecord } from "./record.ts";
import { containerDir } from "./record.ts";
import { readState, writeState } from "./state.ts";
import { find } from "./verbs.ts";

/** Of a container that another process runs. */
class RemoteContents implements ContainerContents {
  readonly #paths: Paths;
  readonly #record: ContainerRecord;

  constructor(paths: Paths, record: ContainerRecord) {
    this.#paths = paths;
    this.#record = record;
  }

  async #open(method: string, params: object, signal: AbortSignal | undefined): Promise<RemoteProcess> {
    const remote = await unlessAborted(openProcess(this.#paths, this.#record, { method, params }), signal);
    breakOff(remote.stdout, signal);
    // What is not wanted of it is not to hold up the rest.
    remote.stderr.resume();
    return remote;
  }

  async stat(path: string, { signal, ...options }: StatOptions = {}): Promise<FileStat> {
    const request = { method: "stat", params: { path, ...options } };
    return (await call(this.#paths, this.#record, request, { signal }))["stat"] as FileStat;
  }

  async archive(path: string, { signal, ...options }: ArchiveOptions = {}): Promise<FileArchive> {
    const { result, stdout } = await this.#open("archive", { path, ...options }, signal);
    return { stat: result["stat"] as FileStat, stream: stdout };
  }

  async extract(path: string, archive: Readable, { signal, ...options }: ExtractOptions = {}): Promise<void> {
    await using remote = await this.#open("extract", { path, ...options }, signal);
    // Its error is the signal's reason, which is told below.
    remote.stdout.on("error", () => {}).resume();
    const ended = remote.wait();
    ended.catch(() => {});
    // The other side may refuse the archive in the middle, and says why.
    await unlessAborted(Promise.race([pipeline(archive, remote.stdin), ended]), signal);
    await unlessAborted(ended, signal);
  }

  async *changes({ signal }: ContentsOptions = {}): AsyncGenerator<Change> {
    const { stdout } = await this.#open("changes", {}, signal);
    for await (const line of createInterface({ input: stdout })) yield JSON.parse(line) as Change;
    signal?.throwIfAborted();
  }

  async layer({ signal }: ContentsOptions = {}): Promise<Readable> {
    return (await this.#open("layer", {}, signal)).stdout;
  }
}

/**
 * Does `job` with what is in the container, whether it runs or not.
 * @throws FlameBoxError `container-not-found`, as `start`
 */
export async function withContents<T>(
  name: string,
  options: OperationOptions,
  job: (contents: ContainerContents, record: ContainerRecord) => Promise<T>,
): Promise<T> {
  const { paths, record } = await find(name, options);
  if (await isOwned(paths, record.id)) return await job(new RemoteContents(paths, record), record);
  await claimContainer(paths, record);
  try {
    return await inOwnMachine(paths, record, options, job);
  } finally {
    await removeOwner(containerDir(paths, record.id));
  }
}

async function inOwnMachine<T>(
  paths: Paths,
  record: ContainerRecord,
  options: OperationOptions,
  job: (contents: ContainerContents, record: ContainerRecord) => Promise<T>,
): Promise<T> {
  const state = await readState(paths, record.id);
  // Its ports may be another's by now, and nobody is to be reached.
  const unheard = {
    network: "none",
    publish: undefined,
    publishAll: undefined,
    macAddress: undefined,
    networkAliases: undefined,
    ipAddress: undefined,
    egress: undefined,
    addHosts: undefined,
    healthcheck: undefined,
  } as const;
  const quiet = { ...record.options, ...unheard, ...options, paths };
  const placing = { berthOf: async () => await keptBerth(paths, record, state.disk) };
  const assembled = await assemble({ prepareHost }, record.imageName, quiet, placing);
  const { session, machine } = assembled.booted;
  try {
    await writeState(containerDir(paths, record.id), { ...state, disk: diskRecord(assembled.disk) });
    return await job(new OwnContents(session, record.id), record);
  } finally {
    await session.request("system.shutdown", {}).catch(() => {});
    await Promise.race([machine.exited, new Promise((resolve) => setTimeout(resolve, 10_000).unref())]);
    await assembled.owned[Symbol.asyncDispose]();
  }
}

/** @throws FlameBoxError `container-not-running` */
export async function containerProcessList(
  name: string,
  options: OperationOptions = {},
): Promise<readonly ContainerProcess[]> {
  const { paths, record } = await find(name, options);
  const request = { method: "processes" };
  const { processes } = await call(paths, record, request, { signal: options.signal });
  if (!Array.isArray(processes)) throw new FlameBoxError("control-broken", "no list of processes came");
  return processes as ContainerProcess[];
}
