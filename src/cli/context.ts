/**
 * Everything of the process that the command line touches, in one value: streams, environment, signals, clock,
 * and the library. `main.ts` fills it from `process`; tests fill it with streams of their own.
 *
 *     argv ─► program (commander tree) ─► one command ─► Library ─► stdout: data
 *                                            │                      stderr: talk (reporter, failure)
 *                                            └─► outcome.exitCode
 */
import type { Readable, Writable } from "node:stream";
import type { Library } from "./library.ts";

export type Environment = Readonly<Record<string, string | undefined>>;

export type OutputStream = Writable & {
  readonly isTTY?: boolean;
  readonly columns?: number;
  readonly rows?: number;
};

export type InputStream = Readable & {
  readonly isTTY?: boolean;
  setRawMode?(on: boolean): unknown;
};

export type SignalName = "SIGINT" | "SIGTERM" | "SIGHUP" | "SIGQUIT" | "SIGUSR1" | "SIGUSR2" | "SIGWINCH";

export interface SignalSource {
  on(name: SignalName, listener: () => void): unknown;
  off(name: SignalName, listener: () => void): unknown;
}

export interface Clock {
  /** Milliseconds since the epoch. */
  now(): number;
  /** Calls `tick` again and again without keeping the process alive; the result stops it. */
  every(intervalMs: number, tick: () => void): () => void;
}

export interface CliContext {
  readonly version: string;
  readonly env: Environment;
  /** Opened at the first look: a command that reads no input must not touch it. */
  readonly stdin: InputStream;
  readonly stdout: OutputStream;
  readonly stderr: OutputStream;
  readonly signals: SignalSource;
  readonly clock: Clock;
  loadLibrary(): Promise<Library>;
  /** Runs stty(1) on the terminal that is standard input; without the program nothing happens. */
  stty(words: readonly string[]): void;
  /** Runs `job` when the process ends in whatever way it still notices; the result withdraws it. */
  onExit(job: () => void): () => void;
  /** Ends the process at once, for the second Ctrl-C of somebody who will not wait. */
  exitNow(code: number): void;
  /** What the commands leave for `main`. */
  readonly outcome: { exitCode: number };
}
