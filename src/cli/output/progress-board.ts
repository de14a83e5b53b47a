/**
 * What is known of the steps under way: events in, items with speed and age out. Draws nothing.
 */
import type { ProgressEvent } from "../library.ts";
import { printable } from "./text.ts";

/** A step that ends sooner than this is not worth a line. */
export const WORTH_SHOWING_MS = 500;

/** Speed is that of the last few seconds, so that it follows a connection that slows down. */
const SPEED_WINDOW_MS = 5000;
const SPEED_SAMPLES = 64;

/** A source that invents ever new ids must not grow this process. */
const MAX_ITEMS = 4096;

export interface ProgressItem {
  readonly id: string;
  label: string;
  note: string | undefined;
  state: ProgressEvent["state"];
  current: number | undefined;
  total: number | undefined;
  unit: "bytes" | "steps";
  readonly startedMs: number;
  endedMs: number | undefined;
  readonly samples: { atMs: number; current: number }[];
}

export class ProgressBoard {
  readonly items = new Map<string, ProgressItem>();
  readonly startedMs: number;

  constructor(nowMs: number) {
    this.startedMs = nowMs;
  }

  /** Takes an event in; undefined when there are too many items to follow one more. */
  update(event: ProgressEvent, nowMs: number): ProgressItem | undefined {
    let item = this.items.get(event.id);
    if (item === undefined) {
      if (this.items.size >= MAX_ITEMS) return undefined;
      item = {
        id: event.id,
        label: "",
        note: undefined,
        state: "running",
        current: undefined,
        total: undefined,
        unit: "steps",
        startedMs: nowMs,
        endedMs: undefined,
        samples: [],
      };
      this.items.set(event.id, item);
    }
    item.label = printable(event.label);
    item.note = event.note === undefined ? undefined : printable(event.note);
    item.state = event.state;
    item.unit = event.unit ?? item.unit;
    item.total = event.total ?? item.total;
    item.endedMs = event.state === "running" ? undefined : (item.endedMs ?? nowMs);
    if (event.current !== undefined) this.#advance(item, event.current, nowMs);
    return item;
  }

  #advance(item: ProgressItem, current: number, nowMs: number): void {
    // A retry may start again from less; speed is then measured anew.
    if (item.current !== undefined && current < item.current) item.samples.length = 0;
    item.current = current;
    const last = item.samples.at(-1);
    if (last !== undefined && nowMs - last.atMs < SPEED_WINDOW_MS / SPEED_SAMPLES) return;
    item.samples.push({ atMs: nowMs, current });
    while (item.samples.length > 2 && nowMs - (item.samples[1]?.atMs ?? nowMs) > SPEED_WINDOW_MS)
      item.samples.shift();
  }
}

export function isRunning(item: ProgressItem): boolean {
  return item.state === "running";
}

export function lastedMs(item: ProgressItem, nowMs: number): number {
  return (item.endedMs ?? nowMs) - item.startedMs;
}

/** Bytes (or steps) a second, undefined before there is anything to measure. */
export function speedOf(item: ProgressItem, nowMs: number): number | undefined {
  const first = item.samples[0];
  if (first === undefined || item.current === undefined) return undefined;
  const spanMs = (item.endedMs ?? nowMs) - first.atMs;
  if (spanMs < WORTH_SHOWING_MS) return undefined;
  return ((item.current - first.current) / spanMs) * 1000;
}

/** Time left at the present speed; undefined where it would be a guess. */
export function remainingMs(item: ProgressItem, nowMs: number): number | undefined {
  const speed = speedOf(item, nowMs);
  if (item.total === undefined || item.current === undefined || speed === undefined || speed <= 0)
    return undefined;
  return item.current >= item.total ? undefined : ((item.total - item.current) / speed) * 1000;
}
