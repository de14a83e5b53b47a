/**
 * Progress where nothing can be redrawn (a log, a pipe, a dumb terminal): one line when a step has turned out
 * to take its time, one when it ends.
 */
import type { CliContext, Clock, OutputStream } from "../context.ts";
import type { OnProgress } from "../library.ts";
import { isRunning, lastedMs, ProgressBoard, type ProgressItem, WORTH_SHOWING_MS } from "./progress-board.ts";
import type { ProgressView } from "./progress-terminal.ts";
import { humanSize, humanSpan } from "./units.ts";

const LOOK_MS = 250;

function endOf(item: ProgressItem, nowMs: number): string {
  const size = item.unit === "bytes" ? (item.total ?? item.current) : undefined;
  const words = [
    item.state === "cached" ? "already here" : item.state,
    ...(size !== undefined && item.state === "done" ? [humanSize(size)] : []),
    ...(item.state === "cached" ? [] : [`in ${humanSpan(lastedMs(item, nowMs))}`]),
  ];
  return `${item.label}: ${words.join(" ")}${item.note === undefined ? "" : ` (${item.note})`}\n`;
}

export class LineProgress implements ProgressView {
  readonly #stream: OutputStream;
  readonly #clock: Clock;
  readonly #board: ProgressBoard;
  readonly #begun = new Set<ProgressItem>();
  readonly #ended = new Set<ProgressItem>();
  #stopTimer: (() => void) | undefined;
  #stopped = false;

  constructor(context: Pick<CliContext, "stderr" | "clock">) {
    this.#stream = context.stderr;
    this.#clock = context.clock;
    this.#board = new ProgressBoard(context.clock.now());
  }

  readonly onProgress: OnProgress = (event) => {
    if (this.#stopped) return;
    const now = this.#clock.now();
    const item = this.#board.update(event, now);
    if (item === undefined || this.#ended.has(item)) return;
    this.#stopTimer ??= this.#clock.every(LOOK_MS, () => this.#look());
    // A short step is mentioned only if it failed, or if bytes were moved for it.
    if (isRunning(item)) this.#look();
    else {
      this.#ended.add(item);
      const moved = item.state === "done" && item.unit === "bytes" && (item.current ?? 0) > 0;
      if (this.#begun.has(item) || item.state === "failed" || moved) this.#stream.write(endOf(item, now));
    }
  };

  write(lines: string): void {
    this.#stream.write(lines);
  }

  stop(): void {
    this.#stopped = true;
    this.#stopTimer?.();
  }

  #look(): void {
    const now = this.#clock.now();
    for (const item of this.#board.items.values()) {
      if (!isRunning(item) || this.#begun.has(item) || lastedMs(item, now) < WORTH_SHOWING_MS) continue;
      this.#begun.add(item);
      const size = item.unit === "bytes" && item.total !== undefined ? ` ${humanSize(item.total)}` : "";
      this.#stream.write(`${item.label}:${size} …\n`);
    }
  }
}
