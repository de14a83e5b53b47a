/** A container whose process has been started: its streams, its end, its health, and the ways to end it. */
import type { Readable, Writable } from "node:stream";
import { Readable as NodeReadable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import type { ContainerStreams } from "../agent/client.ts";
import { resizeContainer, setTime, signalContainer } from "../agent/client.ts";
import { containerStats, updateContainer } from "../agent/usage.ts";
import type { ResourceUpdate } from "../agent/usage.ts";
import type { ExitEvent } from "../agent/protocol/messages.ts";
import { FlameBoxError } from "../util/error.ts";
import type { CleanupStack } from "../util/cleanup.ts";
import type { BootedMachine } from "./boot.ts";
import { OwnContents } from "./contents.ts";
import type { ExecOptions, ExecProcess } from "./exec.ts";
import { execute, exitOf } from "./exec.ts";
import { HealthMonitor } from "./health.ts";
import type { Healthcheck } from "./healthcheck.ts";
import type { ContainerExit, ContainerStatistics, Health, PortMapping, RunningContainer } from "./options.ts";
import { containerProbe } from "./probe.ts";
import type { ProbeTarget } from "./probe.ts";
import type { StopPlan } from "./stop.ts";
import { machineUse } from "./machine-use.ts";
import { stopSignalOf, stopTimeoutOf } from "./stop.ts";
import type { Vigil } from "./vigil.ts";
import { unlessAborted } from "../util/abort.ts";

export interface Launched extends ContainerStreams {
  readonly exit: Promise<ExitEvent>;
  readonly vigil: Vigil;
}

export interface ContainerFacts {
  readonly id: string;
  readonly name: string | undefined;
  readonly labels: Readonly<Record<string, string>>;
  readonly vcpus: number;
  readonly memoryLimitBytes: number;
  readonly stop: StopPlan;
  readonly healthcheck: Healthcheck | undefined;
  readonly onHealth: ((health: Health) => void) | undefined;
  readonly probe: Omit<ProbeTarget, "session" | "containerId">;
}

const KILL = 9;
/** How long a killed process, or the agent's word of it, may take before the machine is ended. */
const KILL_GRACE_MS = 10_000;
const SHUTDOWN_GRACE_MS = 15_000;

export class Container implements RunningContainer {
  readonly id: string;
  readonly name: string | undefined;
  readonly labels: Readonly<Record<string, string>>;
  readonly machine: string;
  readonly kernelRelease: string;
  readonly bootRetries: number;
  readonly ports: readonly Required<PortMapping>[];
  /** The most that its machine has for it. */
  readonly bounds: { readonly vcpus: number; readonly memoryBytes: number };
  readonly stdin: Writable | null;
  readonly stdout: Readable;
  readonly stderr: Readable;
  readonly #booted: BootedMachine;
  readonly #owned: CleanupStack;
  readonly #stopPlan: StopPlan;
  readonly #monitor: HealthMonitor | undefined;
  readonly #exit: Promise<ContainerExit>;
  readonly #vigil: Vigil;
  readonly #target: ProbeTarget;
  #memoryLimitBytes: number;
  #execs = 0;
  #paused = false;
  #force: (exit: ContainerExit) => void = () => {};
  #disposed: Promise<void> | undefined;

  constructor(facts: ContainerFacts, booted: BootedMachine, launched: Launched, owned: CleanupStack) {
    this.id = facts.id;
    this.name = facts.name;
    this.labels = facts.labels;
    this.machine = booted.machine.description;
    this.kernelRelease = booted.hello.kernel;
    this.bootRetries = booted.retries;
    this.ports = booted.network?.ports ?? [];
    this.bounds = { vcpus: facts.vcpus, memoryBytes: facts.memoryLimitBytes };
    this.#memoryLimitBytes = facts.memoryLimitBytes;
    this.stdin = launched.stdin;
    this.stdout = launched.stdout;
    this.stderr = launched.stderr ?? NodeReadable.from([]);
    this.#booted = booted;
    this.#owned = owned;
    this.#stopPlan = facts.stop;
    this.#vigil = launched.vigil;
    this.#target = { ...facts.probe, session: booted.session, containerId: this.id };
    const forced = new Promise<ContainerExit>((resolve) => {
      this.#force = resolve;
    });
    this.#exit = Promise.race([launched.exit.then(exitOf), forced]);
    this.#monitor = this.#watchHealth(facts);
    // Whoever waits is told; nobody has to.
    this.#exit.then(
      () => this.#endChecks(),
      () => this.#endChecks(),
    );
  }

  get health(): Health | undefined {
    return this.#monitor?.health;
  }

  get memoryLimitBytes(): number {
    return this.#memoryLimitBytes;
  }

  /** Other limits, at once. @returns what of it this machine cannot carry out, for people */
  async limit(resources: ResourceUpdate): Promise<readonly string[]> {
    const { warnings } = await updateContainer(this.#booted.session, this.id, resources);
    this.#memoryLimitBytes = resources.memory?.limit ?? this.#memoryLimitBytes;
    return warnings;
  }

  async wait(options: { readonly signal?: AbortSignal | undefined } = {}): Promise<ContainerExit> {
    return await unlessAborted(this.#exit, options.signal);
  }

  async kill(signal: number): Promise<void> {
    await signalContainer(this.#booted.session, this.id, signal);
  }

  async stop(
    options: { readonly signal?: string | number | undefined; readonly timeoutMs?: number | undefined } = {},
  ): Promise<ContainerExit> {
    const signal = options.signal === undefined ? this.#stopPlan.signal : stopSignalOf(options.signal);
    const timeoutMs =
      options.timeoutMs === undefined ? this.#stopPlan.timeoutMs : stopTimeoutOf(options.timeoutMs);
    const asked = await this.#endsAfter(signal, timeoutMs);
    if (asked !== undefined) return asked;
    const killed = await this.#endsAfter(KILL, KILL_GRACE_MS);
    if (killed !== undefined) return killed;
    // The guest says nothing any more: with its machine the process ends for certain.
    this.#force({ code: 128 + KILL, signal: KILL, oomKilled: false });
    await this.#booted.machine.kill();
    return await this.#exit;
  }

  get isPaused(): boolean {
    return this.#paused;
  }

  async exec(command: readonly string[], options: ExecOptions = {}): Promise<ExecProcess> {
    if (this.#paused)
      throw new FlameBoxError("container-paused", "nothing can be executed in a container that is paused", {
        hint: "let it go on first: flamebox unpause",
      });
    return await execute({ ...this.#target, execId: `exec-${++this.#execs}` }, command, options);
  }

  async pause(): Promise<void> {
    if (this.#paused) throw new FlameBoxError("container-paused", "the container is paused already");
    await this.#pausing().pause();
    this.#paused = true;
    this.#vigil.suspend();
    this.#monitor?.suspend();
  }

  async unpause(): Promise<void> {
    if (!this.#paused) throw new FlameBoxError("container-not-paused", "the container is not paused");
    await this.#pausing().resume();
    this.#paused = false;
    this.#vigil.resume();
    this.#monitor?.resume();
    // Its clock has stood still.
    await setTime(this.#booted.session);
  }

  #pausing() {
    const { pausing, description } = this.#booted.machine;
    if (pausing === undefined)
      throw new FlameBoxError("pause-unsupported", `${description} cannot halt a machine`);
    return pausing;
  }

  /** Its files, its changes, its processes. */
  get contents(): OwnContents {
    return new OwnContents(this.#booted.session, this.id);
  }

  get vmmPid(): number {
    return this.#booted.machine.pid;
  }

  get addresses(): readonly string[] {
    return this.#booted.network?.guest.addresses ?? [];
  }

  get gateways(): readonly string[] {
    return this.#booted.network?.guest.gateways ?? [];
  }

  get macAddress(): string | undefined {
    return this.#booted.network?.guest.mac;
  }

  async stats(): Promise<ContainerStatistics> {
    const stats = await containerStats(this.#booted.session, this.id);
    return { ...stats, memoryLimitBytes: this.memoryLimitBytes, machine: await machineUse(this.vmmPid) };
  }

  async resize(size: { readonly columns: number; readonly rows: number }): Promise<void> {
    await resizeContainer(this.#booted.session, this.id, size);
  }

  /** Has the guest put its disk in order and end the machine. After the process's end; never rejects. */
  async shutDown(): Promise<void> {
    const { session, machine } = this.#booted;
    this.#vigil.suspend();
    try {
      await session.request("system.shutdown", {}, { deadlineMs: SHUTDOWN_GRACE_MS });
      await Promise.race([machine.exited, sleep(SHUTDOWN_GRACE_MS, undefined, { ref: false })]);
    } catch {
      // It is ended anyhow, and its disk has a journal.
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Whoever comes second waits as well: it is over when nothing is left.
    this.#disposed ??= this.#dispose();
    await this.#disposed;
  }

  async #dispose(): Promise<void> {
    const checks = this.#monitor?.[Symbol.asyncDispose]();
    await this.#owned[Symbol.asyncDispose]();
    await checks;
  }

  /** Undefined when `timeoutMs` have passed. A signal that cannot be delivered is no reason to stop waiting. */
  async #endsAfter(signal: number, timeoutMs: number): Promise<ContainerExit | undefined> {
    this.kill(signal).catch(() => {});
    if (timeoutMs === Number.POSITIVE_INFINITY) return await this.#exit;
    const timer = new AbortController();
    try {
      return await Promise.race([this.#exit, sleep(timeoutMs, undefined, { signal: timer.signal })]);
    } finally {
      timer.abort();
    }
  }

  #watchHealth({ healthcheck, onHealth }: ContainerFacts): HealthMonitor | undefined {
    if (healthcheck === undefined) return undefined;
    const run = containerProbe(this.#target, healthcheck.args);
    return new HealthMonitor(healthcheck, run, (health) => onHealth?.(health));
  }

  #endChecks(): void {
    void this.#monitor?.[Symbol.asyncDispose]();
  }
}
