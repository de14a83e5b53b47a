/**
 * A container's health: checks on a schedule, each one run by `probe`, and what they say together.
 *
 *     wait ─► probe, at most timeoutMs ─► status, streak, log ─► onChange ─► wait …
 *
 * One check runs at a time, and the next is counted from its end, so a slow check never piles up.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { messageOf } from "../util/error.ts";
import type { Healthcheck } from "./healthcheck.ts";
import type { Health, HealthResult } from "./options.ts";

export const MAX_OUTPUT_BYTES = 4_096;
const MAX_LOG = 5;
/** Of a check that could not be run, or was ended. */
const NO_EXIT_CODE = -1;

/** Runs one check. When `signal` aborts it ends what it has started, and returns what that wrote so far. */
export type Probe = (signal: AbortSignal) => Promise<{ readonly exitCode: number; readonly output: string }>;

export const STARTING: Health = { status: "starting", failingStreak: 0, log: [] };

/** What is known after one more check. `sinceStartMs` is from the container's start to the check's. */
export function judge(
  health: Health,
  result: HealthResult,
  check: Healthcheck,
  sinceStartMs: number,
): Health {
  const log = [...health.log, result].slice(-MAX_LOG);
  if (result.exitCode === 0) return { status: "healthy", failingStreak: 0, log };
  // Whoever was healthy once has started, whatever the start period says.
  const counts = health.status !== "starting" || sinceStartMs >= check.startPeriodMs;
  const failingStreak = health.failingStreak + (counts ? 1 : 0);
  const failed = counts && failingStreak >= check.retries;
  return { status: failed ? "unhealthy" : health.status, failingStreak, log };
}

/** Milliseconds to the next check. */
export function delayOf(health: Health, check: Healthcheck, sinceStartMs: number): number {
  const starts = health.status === "starting" && sinceStartMs < check.startPeriodMs;
  return starts ? Math.min(check.startIntervalMs, check.intervalMs) : check.intervalMs;
}

/** Cuts to `MAX_OUTPUT_BYTES` bytes, at a character's beginning. */
export function boundOutput(text: string): string {
  const bytes = Buffer.from(text);
  if (bytes.length <= MAX_OUTPUT_BYTES) return text;
  let end = MAX_OUTPUT_BYTES;
  while (((bytes[end] ?? 0) & 0xc0) === 0x80) end--;
  return bytes.toString("utf8", 0, end);
}

export class HealthMonitor implements AsyncDisposable {
  #health: Health = STARTING;
  readonly #check: Healthcheck;
  readonly #probe: Probe;
  readonly #onChange: (health: Health) => void;
  readonly #stop = new AbortController();
  readonly #startedMs = Date.now();
  readonly #loop: Promise<void>;
  #suspended = false;

  constructor(check: Healthcheck, probe: Probe, onChange: (health: Health) => void) {
    this.#check = check;
    this.#probe = probe;
    this.#onChange = onChange;
    this.#loop = this.#run();
  }

  get health(): Health {
    return this.#health;
  }

  /** No checks while the container is paused. */
  suspend(): void {
    this.#suspended = true;
  }

  resume(): void {
    this.#suspended = false;
  }

  /** No check runs any more when this resolves. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#loop;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      const delayMs = delayOf(this.#health, this.#check, Date.now() - this.#startedMs);
      // A container that is forgotten must not keep the process alive for its next check.
      await sleep(delayMs, undefined, { signal, ref: false }).catch(() => {});
      if (signal.aborted) return;
      if (this.#suspended) continue;
      const result = await this.#once(signal);
      // A check that the container's end, or its pause, broke off says nothing about its health.
      if (signal.aborted) return;
      if (this.#suspended) continue;
      this.#take(result);
    }
  }

  #take(result: HealthResult): void {
    const before = this.#health.status;
    this.#health = judge(this.#health, result, this.#check, result.startedAt.getTime() - this.#startedMs);
    if (this.#health.status !== before) this.#onChange(this.#health);
  }

  async #once(stop: AbortSignal): Promise<HealthResult> {
    const startedAt = new Date();
    const tooLate = new AbortController();
    const timer = setTimeout(() => tooLate.abort(), this.#check.timeoutMs);
    let exitCode = NO_EXIT_CODE;
    let output = "";
    try {
      ({ exitCode, output } = await this.#probe(AbortSignal.any([stop, tooLate.signal])));
    } catch (error) {
      output = messageOf(error);
    } finally {
      clearTimeout(timer);
    }
    if (tooLate.signal.aborted) {
      exitCode = NO_EXIT_CODE;
      output = `the health check took longer than ${this.#check.timeoutMs} ms: ${output}`;
    }
    return { startedAt, endedAt: new Date(), exitCode, output: boundOutput(output) };
  }
}
