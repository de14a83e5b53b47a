/**
 * Runs one container that stays: starts it, writes its log and its state, answers on its control socket, and starts it
 * again as its restart policy has it. In a monitor process of its own (monitor.ts), or in the command that waits for it.
 *
 *     claim ─► start ─► running ─► ended ──policy──► wait ─► start …
 *                │         │         └────────────► state written, disk in order, nobody's any more
 *              state    log, attached
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { Refusal } from "../../network/policy/refusals.ts";
import { describeRefusal } from "../../network/policy/refusals.ts";
import { Deferred } from "../../util/deferred.ts";
import { FlameBoxError, messageOf } from "../../util/error.ts";
import type { Paths } from "../../util/paths.ts";
import type { Assembled } from "../assemble.ts";
import { assemble } from "../assemble.ts";
import { Attachments } from "../control/attached.ts";
import type { EgressLog } from "../log/egress.ts";
import type { ContainerExit, Health, OperationOptions, RegistryAccess } from "../options.ts";
import type { Surroundings } from "../prepare.ts";
import type { Container } from "../running.ts";
import { begin } from "../start.ts";
import { stopSignalOf } from "../stop.ts";
import { removeOwner } from "../workspace.ts";
import { diskRecord, keptBerth } from "./berth.ts";
import type { Action } from "./events.ts";
import { noteEvent } from "./events.ts";
import type { ContainerChange } from "./limits.ts";
import type { ContainerRecord } from "./record.ts";
import { containerDir, optionsToStart } from "./record.ts";
import { KeptState } from "./kept-state.ts";
import { Backoff, codeOfFailure, isToRestart } from "./policy.ts";
import { openLog, takeOutput } from "./output.ts";
import { removeContainerFiles } from "./roster.ts";
import type { ContainerState } from "./state.ts";
import { healthOf, liveOf, LOST_EXIT_CODE, runningState } from "./state.ts";

const KILL = 9;
export interface KeeperRequest {
  readonly surroundings: Surroundings;
  readonly record: ContainerRecord;
  readonly state: ContainerState;
  /** For its first start, where that is made already. */
  readonly first?: Assembled | undefined;
  /** What its network refused. The keeper's from here on. */
  readonly egressLog: EgressLog;
  readonly options: OperationOptions & RegistryAccess & { readonly paths: Paths };
}

export interface StopOptions {
  readonly signal?: string | number | undefined;
  readonly timeoutMs?: number | undefined;
  /** The host ends, not the user's wish that it runs. */
  readonly byHost?: boolean | undefined;
}

export interface KeepOptions {
  /** Ends a start that has not come to its end; later it has no effect. */
  readonly signal?: AbortSignal | undefined;
  /** Waited for with everything ready, before the process is executed first. */
  readonly gate?: (() => Promise<void>) | undefined;
  readonly onStarted?: ((container: Container) => void) | undefined;
}

export class Keeper {
  readonly attachments = new Attachments();
  readonly #request: KeeperRequest;
  readonly #paths: Paths;
  readonly #dir: string;
  readonly #over = new Deferred<ContainerState>();
  #record: ContainerRecord;
  #state: KeptState;
  #container: Container | undefined;
  /** Somebody ends it, so no policy starts it again. */
  #stopping = false;
  /** And that was no host that shuts down: a later boot does not start it either, unless it is to run always. */
  #isUsersStop = false;
  /** Its machine is being made, with the limits of the record as it was. */
  #starting = false;
  /** The last change of the record; each waits for the one before it. */
  #changing: Promise<unknown> = Promise.resolve();
  #first: Assembled | undefined;
  #hasRun = false;
  #restarting = false;
  /** Wakes it from waiting for its next start. */
  #hurry = new AbortController();
  /** Ends a start that somebody does not want any more. */
  readonly #ending = new AbortController();
  #nextExit = new Deferred<ContainerExit>();
  #nextStart = new Deferred<Container>();

  constructor(request: KeeperRequest) {
    this.#request = request;
    this.#paths = request.options.paths;
    this.#record = request.record;
    this.#first = request.first;
    this.#dir = containerDir(this.#paths, request.record.id);
    this.#state = new KeptState(this.#dir, request.state, request.options.onNotice);
  }

  get record(): ContainerRecord {
    return this.#record;
  }

  get state(): ContainerState {
    return this.#state.value;
  }

  /** Resolves when it has ended for good, with what is known of it then. */
  get over(): Promise<ContainerState> {
    return this.#over.promise;
  }

  /** The container as soon as it runs. */
  get started(): Promise<Container> {
    return this.#container === undefined ? this.#nextStart.promise : Promise.resolve(this.#container);
  }

  /** Of the process that runs now, or is started next. */
  get exit(): Promise<ContainerExit> {
    return this.#nextExit.promise;
  }

  /** @throws FlameBoxError `container-not-running` */
  get container(): Container {
    if (this.#container !== undefined) return this.#container;
    throw new FlameBoxError("container-not-running", `the container ${this.#record.name} is not running`);
  }

  /**
   * Runs the container to its end. The caller has claimed it; when this resolves, or rejects, it is nobody's.
   * @throws FlameBoxError of the first start, as `start`
   */
  async run(options: KeepOptions = {}): Promise<ContainerState> {
    try {
      await this.#cycle(options);
    } catch (error) {
      this.#nextStart.reject(error);
      this.#nextExit.reject(error);
      await this.#startFailed(error);
      throw error;
    } finally {
      await this.#release();
      this.#over.resolve(this.#state.value);
    }
    return this.#state.value;
  }

  async #cycle(options: KeepOptions): Promise<void> {
    const backoff = new Backoff();
    for (let isFirst = true; ; isFirst = false) {
      const startedMs = performance.now();
      const exit = await this.#live(isFirst ? options : {}, isFirst);
      if (this.#restarting) {
        this.#restarting = false;
        await this.note("restart");
        continue;
      }
      if (this.#stopping || !isToRestart(this.#record.restart, exit, this.state.restartCount)) return;
      const restartCount = this.state.restartCount + 1;
      await this.#update({ status: "restarting", restartCount });
      const signal = this.#hurry.signal;
      await sleep(backoff.nextMs(performance.now() - startedMs), undefined, { signal }).catch(() => {});
      if (this.#stopping) return await this.#update({ status: "exited", stopped: this.#isUsersStop });
      this.#restarting = false;
    }
  }

  /** From one start to its end. A later start that fails is an end, too, and the policy's business. */
  async #live(options: KeepOptions, isFirst: boolean): Promise<ContainerExit> {
    this.#starting = true;
    try {
      const container = await this.#start(options).finally(() => (this.#starting = false));
      options.onStarted?.(container);
      return await this.#attend(container);
    } catch (error) {
      if (isFirst && this.#container === undefined) throw error;
      this.#nextStart.reject(error);
      // It had ended before, and is only not started again.
      if (this.#ending.signal.aborted) {
        await this.#update({ status: "exited", stopped: this.#isUsersStop, live: undefined });
        return { code: this.state.exitCode ?? 0, oomKilled: false };
      }
      const exit = { code: codeOfFailure(error), oomKilled: false };
      await this.#ended(exit, messageOf(error));
      return exit;
    }
  }

  async #start({ signal, gate }: KeepOptions): Promise<Container> {
    const { surroundings, egressLog: refusals, options: given } = this.#request;
    const { disk } = this.state;
    const options = {
      ...optionsToStart(this.#record),
      ...given,
      onNotice: (notice: string) => this.#notice(notice),
      // What is refused has a log of its own.
      onRefused: (refusal: Refusal) => given.onNotice?.(describeRefusal(refusal)),
      name: this.#record.name,
      signal: signal ?? this.#ending.signal,
      onHealth: (health: Health) => void this.#healthChanged(health),
    };
    const first = this.#first;
    this.#first = undefined;
    const placing = { berthOf: async () => await keptBerth(this.#paths, this.#record, disk), refusals };
    const assembled = first ?? (await assemble(surroundings, this.#record.imageName, options, placing));
    return await this.#begin(assembled, options, gate);
  }

  async #begin(
    assembled: Assembled,
    options: Pick<OperationOptions, "signal" | "onNotice">,
    gate: KeepOptions["gate"],
  ): Promise<Container> {
    const { surroundings } = this.#request;
    try {
      await this.#update({ disk: diskRecord(assembled.disk) });
      await gate?.();
      options.signal?.throwIfAborted();
      this.#ending.signal.throwIfAborted();
    } catch (error) {
      await assembled.owned[Symbol.asyncDispose]();
      throw error;
    }
    const container = await begin(surroundings, assembled, options);
    this.#container = container;
    this.#hasRun = true;
    await this.#update(runningState(container));
    await this.note("start");
    this.#nextStart.resolve(container);
    return container;
  }

  async #attend(container: Container): Promise<ContainerExit> {
    await using writer = openLog(this.#dir, this.#record.log, (message) => this.warn(message));
    let exit: ContainerExit;
    let lost: unknown;
    try {
      await takeOutput(container, this.attachments, writer);
      exit = await container.wait();
    } catch (error) {
      lost = error;
      exit = { code: LOST_EXIT_CODE, oomKilled: false };
    }
    if (lost === undefined && !this.#record.autoRemove) await container.shutDown();
    await container[Symbol.asyncDispose]();
    await this.#ended(exit, lost === undefined ? undefined : messageOf(lost));
    this.attachments.end(lost instanceof Error ? lost : exit);
    return exit;
  }

  async #ended(exit: ContainerExit, error: string | undefined): Promise<void> {
    this.#container = undefined;
    const finishedAt = new Date().toISOString();
    const { code: exitCode, oomKilled } = exit;
    const stopped = this.#isUsersStop || undefined;
    await this.#update({
      status: "exited",
      exitCode,
      oomKilled,
      finishedAt,
      error,
      stopped,
      live: undefined,
    });
    if (oomKilled) await this.note("oom");
    await this.note("die", { exitCode: String(exitCode) });
    const told = this.#nextExit;
    this.#nextExit = new Deferred();
    this.#nextStart = new Deferred();
    told.resolve(exit);
  }

  async #startFailed(error: unknown): Promise<void> {
    this.attachments.end(error instanceof Error ? error : new Error(messageOf(error)));
    const message = messageOf(error).split("\n")[0] ?? "";
    await this.#update({ exitCode: codeOfFailure(error), error: message, live: undefined });
  }

  async #release(): Promise<void> {
    await this.#request.egressLog[Symbol.asyncDispose]();
    await this.#state.written;
    if (this.#record.autoRemove) {
      await removeContainerFiles(this.#paths, this.#record);
      await this.note("destroy");
    } else {
      await removeOwner(this.#dir);
    }
  }

  /** Asks it to end as `stop` does, and waits until it is nobody's. */
  async stop({ byHost = false, ...options }: StopOptions = {}): Promise<ContainerState> {
    this.#stopping = true;
    this.#isUsersStop ||= !byHost;
    this.#restarting = false;
    this.#hurry.abort();
    this.#ending.abort(new FlameBoxError("interrupted", "the container's start was ended"));
    const container = this.#container;
    if (container !== undefined) {
      if (container.isPaused) await container.unpause();
      await container.stop(options).catch(() => {});
      await this.note("stop");
    }
    return await this.over;
  }

  /** Ends it and starts it again, whatever its policy. Resolves when it runs again. */
  async restart(options: StopOptions = {}): Promise<void> {
    const container = this.#container;
    this.#restarting = true;
    this.#hurry.abort();
    this.#hurry = new AbortController();
    const exit = this.exit;
    if (container !== undefined) {
      if (container.isPaused) await container.unpause();
      await container.stop(options).catch(() => {});
      await exit;
    }
    await this.#nextStart.promise;
  }

  /** As Docker has it: one who ends it by hand does not want it started again. */
  async kill(signal: number): Promise<void> {
    const { container } = this;
    const stopSignal = stopSignalOf(this.#record.options.stopSignal ?? "SIGTERM");
    if (signal === KILL || signal === stopSignal) this.#stopping = this.#isUsersStop = true;
    if (container.isPaused) {
      if (signal !== KILL)
        throw new FlameBoxError("container-paused", `the container ${this.#record.name} is paused`, {
          hint: `let it go on first: flamebox unpause ${this.#record.name}`,
        });
      await container.unpause();
    }
    await container.kill(signal);
    await this.note("kill", { signal: String(signal) });
  }

  async pause(): Promise<void> {
    await this.container.pause();
    await this.#update({ status: "paused" });
    await this.note("pause");
  }

  async unpause(): Promise<void> {
    await this.container.unpause();
    await this.#update({ status: "running" });
    await this.note("unpause");
  }

  /**
   * Changes what it was asked to be: its limits at once, where it runs, and the record when its guest has agreed.
   * @returns what people should know: of what has to wait for the next start
   * @throws FlameBoxError `invalid-option`, `memory-in-use`, `container-paused`
   */
  async change(change: ContainerChange): Promise<readonly string[]> {
    const job = this.#changing.then(async () => {
      const { changeContainer } = await import("./limits.ts");
      if (this.#starting) await this.#nextStart.promise.catch(() => {});
      const container = this.#container;
      const { record, notices } = await changeContainer(this.#paths, container, this.#record, change);
      this.#record = record;
      if (container !== undefined && this.#container === container)
        await this.#update({ live: liveOf(container) });
      await this.note("update");
      return notices;
    });
    this.#changing = job.catch(() => {});
    return await job;
  }

  /** The record has been written by somebody who was told to ask us about it: another name, another policy. */
  async take(record: ContainerRecord): Promise<void> {
    this.#record = record;
  }

  async note(action: Action, attributes: Readonly<Record<string, string>> = {}): Promise<void> {
    await noteEvent(this.#paths, action, this.#record, attributes);
  }

  /** For whoever looks at the container, and who waits for it if there is somebody. */
  warn(message: string): void {
    void this.#state.warn(message);
  }

  /** What its first start has to say, somebody hears who has asked for it. */
  #notice(notice: string): void {
    if (this.#hasRun) this.warn(notice);
    else this.#request.options.onNotice?.(notice);
  }

  async #healthChanged(health: Health): Promise<void> {
    if (this.#container !== undefined) await this.#update({ health: healthOf(health) });
    await this.note("health_status", { status: health.status });
  }

  async #update(change: Partial<ContainerState>): Promise<void> {
    await this.#state.update(change);
  }
}
