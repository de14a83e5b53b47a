/** A `CliContext` over streams in memory, with a clock that is moved by hand. */
import { EventEmitter } from "node:events";
import { PassThrough, Writable } from "node:stream";
import type { CliContext, Clock, Environment } from "../../src/cli/context.ts";

export class FakeOutput extends Writable {
  text = "";
  readonly isTTY: boolean;
  columns = 80;
  rows = 24;

  constructor(isTTY = false) {
    super({ decodeStrings: false });
    this.isTTY = isTTY;
  }

  override _write(chunk: string | Buffer, _encoding: string, done: () => void): void {
    this.text += chunk.toString();
    done();
  }
}

export class FakeClock implements Clock {
  #nowMs = Date.UTC(2025, 0, 1);
  readonly #timers = new Set<{ intervalMs: number; dueMs: number; tick: () => void }>();

  now(): number {
    return this.#nowMs;
  }

  every(intervalMs: number, tick: () => void): () => void {
    const timer = { intervalMs, dueMs: this.#nowMs + intervalMs, tick };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  get timers(): number {
    return this.#timers.size;
  }

  advance(spanMs: number): void {
    const endMs = this.#nowMs + spanMs;
    for (;;) {
      const due = [...this.#timers]
        .filter(({ dueMs }) => dueMs <= endMs)
        .sort((a, b) => a.dueMs - b.dueMs)[0];
      if (due === undefined) break;
      this.#nowMs = due.dueMs;
      due.dueMs += due.intervalMs;
      due.tick();
    }
    this.#nowMs = endMs;
  }
}

export interface FakeContext extends CliContext {
  readonly stdout: FakeOutput;
  readonly stderr: FakeOutput;
  readonly clock: FakeClock;
  /** What was registered to run at the end of the process. */
  readonly exitJobs: Set<() => void>;
}

export function fakeContext(
  options: { readonly terminal?: boolean; readonly env?: Environment } = {},
): FakeContext {
  const exitJobs = new Set<() => void>();
  return {
    version: "1.2.3",
    env: options.env ?? {},
    stdin: new PassThrough(),
    stdout: new FakeOutput(),
    stderr: new FakeOutput(options.terminal ?? false),
    signals: new EventEmitter(),
    clock: new FakeClock(),
    loadLibrary: async () => Promise.reject(new Error("the library is not wanted here")),
    exitJobs,
    onExit: (job) => {
      exitJobs.add(job);
      return () => exitJobs.delete(job);
    },
    stty: () => {},
    exitNow: () => {},
    outcome: { exitCode: 0 },
  };
}

/**
 * What a terminal shows after these bytes: enough of one for our progress (cursor up, erase, hide and show the
 * cursor, colours). Anything else fails the test.
 */
export function screenOf(bytes: string): { readonly lines: string[]; readonly cursorVisible: boolean } {
  const lines: string[] = [""];
  let row = 0;
  let column = 0;
  let cursorVisible = true;
  // oxlint-disable-next-line no-control-regex -- control sequences are what is parsed here
  const pattern = /\u001b\[(\??\d*)([A-Za-z])|([\r\n])|([^\u001b\r\n]+)/y;
  while (pattern.lastIndex < bytes.length) {
    const at = pattern.lastIndex;
    const match = pattern.exec(bytes);
    if (match === null)
      throw new Error(`unknown terminal sequence at ${JSON.stringify(bytes.slice(at, at + 20))}`);
    const [, parameter = "", final, control, text] = match;
    if (text !== undefined) {
      const line = (lines[row] ?? "").padEnd(column);
      lines[row] = line.slice(0, column) + text + line.slice(column + text.length);
      column += text.length;
    } else if (control === "\r") column = 0;
    else if (control === "\n") {
      row++;
      column = 0;
      while (lines.length <= row) lines.push("");
    } else if (final === "A") row = Math.max(0, row - Number(parameter));
    else if (final === "K") lines[row] = "";
    else if (final === "J") {
      lines[row] = (lines[row] ?? "").slice(0, column);
      lines.length = row + 1;
    } else if (parameter === "?25") cursorVisible = final === "h";
    else if (final !== "m") throw new Error(`unknown terminal sequence ${match[0]}`);
  }
  return { lines, cursorVisible };
}
