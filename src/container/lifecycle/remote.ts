/** A container that another process runs, with what a box wants of it: all of it over its control socket and its log. */
import { unlessAborted } from "../../util/abort.ts";
import type { Paths } from "../../util/paths.ts";
import { call } from "../control/client.ts";
import type { ExecOptions, ExecProcess } from "../exec.ts";
import type { Boxed, BoxedOutput } from "../flamebox.ts";
import type { LogEntry } from "../log/format.ts";
import type { ContainerExit, ContainerStatistics, Health, PortMapping } from "../options.ts";
import type { OutputEvent, OutputLogOptions } from "../output-log.ts";
import { execOn } from "./attach.ts";
import type { AttachedExec } from "./attach.ts";
import { detailsOf } from "./info.ts";
import type { ContainerDetails } from "./info.ts";
import type { ContainerRecord } from "./record.ts";
import { RemoteContents } from "./remote-contents.ts";
import { readState } from "./state.ts";
import type { ContainerState, HealthState } from "./state.ts";
import { containerLogs, endFound, find, waitContainer } from "./verbs.ts";

const KILL = 9;

/** Made by `RemoteContainer.find`. */
export class RemoteContainer implements Boxed {
  readonly contents: RemoteContents;
  readonly #paths: Paths;
  /** Whose streams are open. */
  readonly #execs = new Set<AttachedExec>();
  #record: ContainerRecord;
  #state: ContainerState;

  private constructor(paths: Paths, record: ContainerRecord, state: ContainerState) {
    this.#paths = paths;
    this.#record = record;
    this.#state = state;
    this.contents = new RemoteContents(paths, record);
  }

  /** @throws FlameBoxError `container-not-found`, `ambiguous-container-id` */
  static async find(name: string, options: Parameters<typeof find>[1]): Promise<RemoteContainer> {
    const { paths, record } = await find(name, options);
    return new RemoteContainer(paths, record, await readState(paths, record.id));
  }

  get id(): string {
    return this.#record.id;
  }

  get name(): string {
    return this.#record.name;
  }

  get machine(): string {
    return this.#state.live?.machine ?? "";
  }

  get ports(): readonly Required<PortMapping>[] {
    return this.#state.live?.ports ?? [];
  }

  get health(): Health | undefined {
    const { live, health } = this.#state;
    return live === undefined || health === undefined ? undefined : healthFrom(health);
  }

  /** From the container's log. */
  get output(): BoxedOutput {
    return new RemoteOutput(this.#paths, this.id);
  }

  /** Reads again what is told of it. @throws FlameBoxError `container-not-found` */
  async inspect(signal?: AbortSignal): Promise<ContainerDetails> {
    const { record } = await find(this.id, { paths: this.#paths, signal });
    this.#record = record;
    const details = await detailsOf(this.#paths, record);
    this.#state = details.state;
    return details;
  }

  async exec(command: readonly string[], { signal, ...options }: ExecOptions = {}): Promise<ExecProcess> {
    const executed = await this.#executed(command, options, signal);
    this.#execs.add(executed);
    const leave = async (): Promise<void> => {
      this.#execs.delete(executed);
      await executed[Symbol.asyncDispose]();
    };
    void executed.wait().then(leave, leave);
    return executed;
  }

  async #executed(
    command: readonly string[],
    options: ExecOptions,
    signal: AbortSignal | undefined,
  ): Promise<AttachedExec> {
    signal?.throwIfAborted();
    const opening = execOn(this.#paths, this.#record, command, options);
    try {
      return await unlessAborted(opening, signal);
    } catch (error) {
      // It may begin all the same, and nobody wants it.
      const drop = async (late: AttachedExec): Promise<void> => {
        await late.kill(KILL).catch(() => {});
        await late[Symbol.asyncDispose]();
      };
      opening.then(drop).catch(() => {});
      throw error;
    }
  }

  async #ask(method: string, params: object = {}): Promise<Record<string, unknown>> {
    return await call(this.#paths, this.#record, { method, params });
  }

  async stats(): Promise<ContainerStatistics> {
    return (await this.#ask("stats"))["stats"] as ContainerStatistics;
  }

  async pause(): Promise<void> {
    await this.#ask("pause");
  }

  async unpause(): Promise<void> {
    await this.#ask("unpause");
  }

  async wait({ signal }: { readonly signal?: AbortSignal | undefined } = {}): Promise<ContainerExit> {
    return await waitContainer(this.id, { paths: this.#paths, signal });
  }

  async kill(signal: number): Promise<void> {
    await this.#ask("signal", { signal });
  }

  async stop({
    signal: stopSignal,
    timeoutMs,
  }: {
    readonly signal?: string | number | undefined;
    readonly timeoutMs?: number | undefined;
  } = {}): Promise<ContainerExit> {
    const found = { paths: this.#paths, record: this.#record };
    this.#state = await endFound(found, { paths: this.#paths, stopSignal, timeoutMs });
    return { code: this.#state.exitCode ?? 0, oomKilled: this.#state.oomKilled ?? false };
  }

  /** The container goes on, and so does what was executed in it. */
  async [Symbol.asyncDispose](): Promise<void> {
    const execs = [...this.#execs];
    this.#execs.clear();
    await Promise.all(execs.map(async (executed) => await executed[Symbol.asyncDispose]()));
  }
}

class RemoteOutput implements BoxedOutput {
  readonly #paths: Paths;
  readonly #id: string;

  constructor(paths: Paths, id: string) {
    this.#paths = paths;
    this.#id = id;
  }

  async *read(options: OutputLogOptions = {}): AsyncGenerator<OutputEvent, void, undefined> {
    const { follow, tail, since, signal } = options;
    const reading = { paths: this.#paths, follow, tail, sinceMs: since?.getTime(), signal };
    for await (const entry of containerLogs(this.#id, reading)) yield eventOf(entry);
    signal?.throwIfAborted();
  }

  async *exactly(signal?: AbortSignal): AsyncGenerator<OutputEvent, void, undefined> {
    yield* this.read({ follow: true, signal });
  }
}

const LINE_FEED = Buffer.from("\n");

function eventOf({ stream, text, isWhole, time }: LogEntry): OutputEvent {
  return { stream, bytes: isWhole ? Buffer.concat([text, LINE_FEED]) : text, at: new Date(time) };
}

function healthFrom({ status, failingStreak, log }: HealthState): Health {
  const results = log.map(({ startedAt, endedAt, ...rest }) => ({
    ...rest,
    startedAt: new Date(startedAt),
    endedAt: new Date(endedAt),
  }));
  return { status, failingStreak, log: results };
}
