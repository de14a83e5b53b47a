/** A container whose process has been started: its streams, its end, its health, and the ways to end it. */
import type { Readable, Writable } from "node:stream";
import { Readable as NodeReadable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import type { ContainerStreams } from "../agent/client.ts";
import { resizeContainer, signalContainer } from "../agent/client.ts";
import type { ExitEvent } from "../agent/protocol/messages.ts";
import type { CleanupStack } from "../util/cleanup.ts";
import type { BootedMachine } from "./boot.ts";
import { HealthMonitor } from "./health.ts";
import type { Healthcheck } from "./healthcheck.ts";
import type { ContainerExit, Health, PortMapping, RunningContainer } from "./options.ts";
import { containerProbe } from "./probe.ts";
import type { ProbeTarget } from "./probe.ts";
import type { StopPlan } from "./stop.ts";
import { stopSignalOf, stopTimeoutOf } from "./stop.ts";

export interface Launched extends ContainerStreams {
  readonly exit: Promise<ExitEvent>;
}

export interface ContainerFacts {
  readonly id: string;
  readonly name: string | undefined;
  readonly labels: Readonly<Record<string, string>>;
  readonly memoryLimitBytes: number;
  readonly stop: StopPlan;
  readonly healthcheck: Healthcheck | undefined;
  readonly onHealth: ((health: Health) => void) | undefined;
  readonly probe: Omit<ProbeTarget, "session" | "containerId">;
}

const KILL = 9;
/** How long a killed process, or the agent's word of it, may take before the machine is ended. */
const KILL_GRACE_MS = 10_000;

export class Container implements RunningContainer {
  readonly id: string;
  readonly name: string | undefined;
  readonly labels: Readonly<Record<string, string>>;
  readonly machine: string;
  readonly kernelRelease: string;
  readonly bootRetries: number;
  readonly ports: readonly Required<PortMapping>[];
  readonly memoryLimitBytes: number;
  readonly stdin: Writable | null;
  readonly stdout: Readable;
  readonly stderr: Readable;
  readonly #booted: BootedMachine;
  readonly #owned: CleanupStack;
  readonly #stopPlan: StopPlan;
  readonly #monitor: HealthMonitor | undefined;
  readonly #exit: Promise<ContainerExit>;
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
    this.memoryLimitBytes = facts.memoryLimitBytes;
    this.stdin = launched.stdin;
    this.stdout = launched.stdout;
    this.stderr = launched.stderr ?? NodeReadable.from([]);
    this.#booted = booted;
    this.#owned = owned;
    this.#stopPlan = facts.stop;
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

  async wait(options: { readonly signal?: AbortSignal | undefined } = {}): Promise<ContainerExit> {
    const { signal } = options;
    if (signal === undefined) return await this.#exit;
    signal.throwIfAborted();
    let onAbort = (): void => {};
    const aborted = new Promise<never>((_resolve, reject) => {
      onAbort = () => reject(signal.reason as Error);
      signal.addEventListener("abort", onAbort, { once: true });
    });
    try {
      return await Promise.race([this.#exit, aborted]);
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
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

  async resize(size: { readonly columns: number; readonly rows: number }): Promise<void> {
    await resizeContainer(this.#booted.session, this.id, size);
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

  #watchHealth({ healthcheck, onHealth, probe }: ContainerFacts): HealthMonitor | undefined {
    if (healthcheck === undefined) return undefined;
    const target = { ...probe, session: this.#booted.session, containerId: this.id };
    const run = containerProbe(target, healthcheck.args);
    return new HealthMonitor(healthcheck, run, (health) => onHealth?.(health));
  }

  #endChecks(): void {
    void this.#monitor?.[Symbol.asyncDispose]();
  }
}

function exitOf(event: ExitEvent): ContainerExit {
  const oomKilled = event.oomKilled ?? false;
  if (event.signal !== undefined) return { code: 128 + event.signal, signal: event.signal, oomKilled };
  return { code: event.exitCode ?? 0, oomKilled };
}
