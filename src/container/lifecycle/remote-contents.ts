/** What is in a container that another process runs, asked over its control socket. */
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { FileArchive } from "../../agent/files.ts";
import { breakOff, unlessAborted } from "../../util/abort.ts";
import { FlameBoxError } from "../../util/error.ts";
import type { Paths } from "../../util/paths.ts";
import type { ListableContents } from "../container-files.ts";
import type {
  ArchiveOptions,
  Change,
  ContainerProcess,
  ContentsOptions,
  ExtractOptions,
  FileStat,
  StatOptions,
} from "../contents.ts";
import { call, openProcess } from "../control/client.ts";
import type { RemoteProcess } from "../control/client.ts";
import type { ContainerRecord } from "./record.ts";

/** Of a container that another process runs. */
export class RemoteContents implements ListableContents {
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
    yield* this.#records<Change>("changes", {}, signal);
  }

  async *list(path: string, { signal }: ContentsOptions = {}): AsyncGenerator<FileStat, void, undefined> {
    yield* this.#records<FileStat>("list", { path }, signal);
  }

  async *#records<T>(
    method: string,
    params: object,
    signal?: AbortSignal,
  ): AsyncGenerator<T, void, undefined> {
    await using remote = await this.#open(method, params, signal);
    for await (const line of linesOf(remote.stdout)) yield JSON.parse(line) as T;
    signal?.throwIfAborted();
  }

  /** @throws FlameBoxError `container-not-running` */
  async processes({ signal }: ContentsOptions = {}): Promise<readonly ContainerProcess[]> {
    const { processes } = await call(this.#paths, this.#record, { method: "processes" }, { signal });
    if (!Array.isArray(processes)) throw new FlameBoxError("control-broken", "no list of processes came");
    return processes as ContainerProcess[];
  }

  async layer({ signal }: ContentsOptions = {}): Promise<Readable> {
    return (await this.#open("layer", {}, signal)).stdout;
  }
}

const LINE_FEED = 0x0a;

/** Not readline's, which takes a stream that breaks for one that ends. */
async function* linesOf(source: Readable): AsyncGenerator<string, void, undefined> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of source as AsyncIterable<Buffer>) {
    let bytes = Buffer.concat([rest, chunk]);
    for (let end = bytes.indexOf(LINE_FEED); end !== -1; end = bytes.indexOf(LINE_FEED)) {
      yield bytes.toString("utf8", 0, end);
      bytes = bytes.subarray(end + 1);
    }
    rest = bytes;
  }
}
