/**
 * A machine's way out: one passt at a time. One that ends by itself, or that keeps a core busy and carries nothing, is
 * followed by another; the connections that went through it are lost, and the machine's network is not.
 *
 * Debian 12's passt (2023-03) was seen to go round in circles over connections that had ended, until it was killed.
 */
import { readFileSync } from "node:fs";
import type { Socket } from "node:net";
import { messageOf } from "../util/error.ts";
import { NetworkError } from "./network.ts";
import type { Passt } from "./passt.ts";

/**
 * Busy for so much of the time that it was given a processor for, for so many looks in a row, and less than this carried
 * between two of them.
 */
const BUSY_SHARE = 0.8;
const LOOKS = 3;
const LITTLE_BYTES = 64 * 1024;

export interface Pace {
  /** One that ends sooner would do so again. */
  readonly settledMs: number;
  readonly lookMs: number;
}

const PACE: Pace = { settledMs: 10_000, lookMs: 5_000 };

export interface WayOutOptions {
  readonly start: () => Passt;
  readonly onNotice?: ((notice: string) => void) | undefined;
  readonly pace?: Pace | undefined;
}

/** Whom the frames come from and go to. */
export interface Traveller {
  /** So many bytes have gone to passt or come from it. */
  readonly carriedBytes: number;
  /** It takes nothing from passt just now. */
  readonly isHeldUp: boolean;
  /** The machine has ended. */
  readonly isOver: boolean;
  /** There is another passt. */
  reconnectUplink(): void;
  /** There is none any more. */
  destroy(): void;
}

export class WayOut implements AsyncDisposable {
  /** Resolves when a passt has ended that had hardly begun. */
  readonly failed: Promise<NetworkError>;
  readonly #options: WayOutOptions;
  readonly #pace: Pace;
  readonly #ending = new Set<Promise<void>>();
  #fail: (error: NetworkError) => void = () => {};
  #passt: Passt | undefined;
  #startedAtMs = 0;
  #traveller: Traveller | undefined;
  #timer: NodeJS.Timeout | undefined;
  #seen = { atMs: 0, ranMs: 0, waitedMs: 0, carriedBytes: 0, looks: 0 };
  #disposed = false;

  constructor(options: WayOutOptions) {
    this.#options = options;
    this.#pace = options.pace ?? PACE;
    this.failed = new Promise((resolve) => (this.#fail = resolve));
  }

  get isOpen(): boolean {
    return this.#passt !== undefined;
  }

  attach(traveller: Traveller): void {
    this.#traveller = traveller;
  }

  /** The frames of the passt that runs, started when there is none. */
  open(): Socket {
    return this.#started().frames;
  }

  /** @throws NetworkError `network-program-missing` */
  async begin(): Promise<void> {
    await this.#started().started;
  }

  #started(): Passt {
    if (this.#passt !== undefined) return this.#passt;
    const passt = this.#options.start();
    this.#passt = passt;
    this.#startedAtMs = performance.now();
    this.#seen = { atMs: this.#startedAtMs, ranMs: 0, waitedMs: 0, carriedBytes: 0, looks: 0 };
    this.#timer ??= setInterval(() => this.#look(), this.#pace.lookMs).unref();
    void passt.ended.then((error) => this.#lost(passt, error));
    return passt;
  }

  #lost(passt: Passt, error: NetworkError | undefined): void {
    if (this.#passt !== passt || this.#disposed) return;
    if (this.#traveller?.isOver === true) return;
    const problem = error ?? new NetworkError("network-failed", "the network program passt has ended");
    const isSettled = performance.now() - this.#startedAtMs >= this.#pace.settledMs;
    if (isSettled) void this.#replace(problem.message);
    else this.#giveUp(problem);
  }

  #giveUp(error: NetworkError): void {
    this.#fail(error);
    this.#traveller?.destroy();
  }

  #look(): void {
    const times = this.#passt?.pid === undefined ? undefined : timesOf(this.#passt.pid);
    if (times === undefined) return;
    const { carriedBytes = 0, isHeldUp = false } = this.#traveller ?? {};
    const [before, atMs] = [this.#seen, performance.now()];
    // Where processors are few, it waits for one most of the time, whatever it wants it for.
    const givenMs = atMs - before.atMs - (times.waitedMs - before.waitedMs);
    const isBusy = times.ranMs - before.ranMs > BUSY_SHARE * givenMs && givenMs > 0;
    const isLost = isBusy && !isHeldUp && carriedBytes - before.carriedBytes < LITTLE_BYTES;
    this.#seen = { atMs, ...times, carriedBytes, looks: isLost ? before.looks + 1 : 0 };
    if (this.#seen.looks >= LOOKS) void this.#replace("passt keeps a processor busy and carries nothing");
  }

  async #replace(why: string): Promise<void> {
    const old = this.#passt;
    this.#passt = undefined;
    try {
      // Two cannot listen at the published ports.
      if (old !== undefined) await this.#end(old);
      // Or somebody has wanted it meanwhile.
      if (this.#disposed || this.#traveller?.isOver === true || this.#passt !== undefined) return;
      if (this.#traveller === undefined) this.#started();
      else this.#traveller.reconnectUplink();
      this.#options.onNotice?.(
        `${why}; another passt has been started, and connections from before are lost`,
      );
    } catch (cause) {
      const message = `${why}, and another passt cannot be started: ${messageOf(cause)}`;
      this.#giveUp(new NetworkError("network-failed", message, { cause }));
    }
  }

  async #end(passt: Passt): Promise<void> {
    const ending = passt[Symbol.asyncDispose]().finally(() => this.#ending.delete(ending));
    this.#ending.add(ending);
    await ending;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed = true;
    clearInterval(this.#timer);
    if (this.#passt !== undefined) await this.#end(this.#passt);
    await Promise.all(this.#ending);
  }
}

interface Times {
  readonly ranMs: number;
  readonly waitedMs: number;
}

/**
 * For how long a process has run so far, and waited for a processor; undefined when it has ended, and where the kernel
 * does not tell. https://docs.kernel.org/scheduler/sched-stats.html
 */
function timesOf(pid: number): Times | undefined {
  try {
    const [ran = Number.NaN, waited = Number.NaN] = readFileSync(`/proc/${pid}/schedstat`, "latin1")
      .split(" ")
      .map(Number);
    return Number.isFinite(ran + waited) ? { ranMs: ran / 1e6, waitedMs: waited / 1e6 } : undefined;
  } catch {
    return undefined;
  }
}
