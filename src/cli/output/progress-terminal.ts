/**
 * Progress on a terminal: a block of lines at the bottom, redrawn in place ten times a second, taken away
 * before anything else is written.
 */
import type { CliContext, Clock, OutputStream } from "../context.ts";
import type { OnProgress } from "../library.ts";
import { drawItems, summarise } from "./progress-bars.ts";
import { isRunning, lastedMs, ProgressBoard, type ProgressItem, WORTH_SHOWING_MS } from "./progress-board.ts";
import { truncate } from "./text.ts";

const REDRAW_MS = 100;
const HIDE_CURSOR = "\u001b[?25l";
const SHOW_CURSOR = "\u001b[?25h";
const CLEAR_LINE = "\u001b[2K";
const CLEAR_BELOW = "\u001b[J";

/** Something that shows progress and shares its stream with other lines. */
export interface ProgressView {
  readonly onProgress: OnProgress;
  /** Writes whole lines (ending in a newline) without spoiling what is drawn. */
  write(lines: string): void;
  /** Takes down what is drawn, for good; `summary` leaves one line instead when anything had been shown. */
  stop(options?: { readonly summary?: boolean }): void;
}

export interface TerminalStyle {
  readonly colours: boolean;
}

export class TerminalProgress implements ProgressView {
  readonly #stream: OutputStream;
  readonly #clock: Clock;
  readonly #colours: boolean;
  readonly #board: ProgressBoard;
  readonly #seen = new Set<ProgressItem>();
  #drawnLines = 0;
  #cursorHidden = false;
  #stopped = false;
  #stopTimer: (() => void) | undefined;
  readonly #withdrawExit: () => void;

  constructor(context: Pick<CliContext, "stderr" | "clock" | "onExit">, style: TerminalStyle) {
    this.#stream = context.stderr;
    this.#clock = context.clock;
    this.#colours = style.colours;
    this.#board = new ProgressBoard(context.clock.now());
    this.#withdrawExit = context.onExit(() => this.stop());
  }

  readonly onProgress: OnProgress = (event) => {
    if (this.#stopped) return;
    this.#board.update(event, this.#clock.now());
    this.#stopTimer ??= this.#clock.every(REDRAW_MS, () => this.#redraw());
  };

  write(lines: string): void {
    this.#erase();
    this.#stream.write(lines);
    if (!this.#stopped && this.#seen.size > 0) this.#redraw();
  }

  stop(options: { readonly summary?: boolean } = {}): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#stopTimer?.();
    this.#withdrawExit();
    this.#erase();
    if (this.#cursorHidden) this.#stream.write(SHOW_CURSOR);
    if (options.summary === true && this.#seen.size > 0) {
      const spanMs = this.#clock.now() - this.#board.startedMs;
      const items = [...this.#board.items.values()].filter(
        (item) => this.#seen.has(item) || item.id.includes(":"),
      );
      this.#stream.write(`${truncate(summarise(items, spanMs), this.#columns())}\n`);
    }
  }

  /** One column is left free: a line that fills the last one wraps on some terminals. */
  #columns(): number {
    return Math.max(20, (this.#stream.columns ?? 80) - 1);
  }

  #redraw(): void {
    const now = this.#clock.now();
    for (const item of this.#board.items.values()) {
      if (isRunning(item) && lastedMs(item, now) >= WORTH_SHOWING_MS) this.#seen.add(item);
    }
    const items = [...this.#board.items.values()].filter((item) => this.#seen.has(item));
    if (items.length === 0) return;
    const rows = Math.max(1, Math.min(32, (this.#stream.rows ?? 24) - 1));
    const lines = drawItems(items, now, { columns: this.#columns(), rows, colours: this.#colours });
    const start = this.#cursorHidden ? "" : HIDE_CURSOR;
    const body = lines.map((line) => `${CLEAR_LINE}${line}\n`).join("");
    this.#cursorHidden = true;
    // One write a frame, so that nothing is seen half drawn.
    this.#stream.write(`${start}${this.#upwards()}${body}${CLEAR_BELOW}`);
    this.#drawnLines = lines.length;
  }

  #upwards(): string {
    return this.#drawnLines === 0 ? "" : `\u001b[${this.#drawnLines}A\r`;
  }

  #erase(): void {
    if (this.#drawnLines === 0) return;
    this.#stream.write(`${this.#upwards()}${CLEAR_BELOW}`);
    this.#drawnLines = 0;
  }
}
