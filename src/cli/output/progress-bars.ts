/**
 * Items to lines, pure: as much as the width allows, in the order of worth: label, amount, bar, speed, time left.
 *
 *     layer 3f2a9c   [#########---------]   12.3MB/45.6MB   8.21MB/s   4.1s
 *     kernel 6.12    |  0.9s
 */
import { isRunning, lastedMs, type ProgressItem, remainingMs, speedOf } from "./progress-board.ts";
import { columnsOf, padEnd, plural, truncate } from "./text.ts";
import { humanSize, humanSpan } from "./units.ts";

const SPINNER = ["|", "/", "-", "\\"] as const;
const SPINNER_MS = 120;
const MAX_LABEL = 28;
const MIN_BAR = 10;
const MAX_BAR = 40;
/** Two blanks on each side, two brackets. */
const BESIDE_BAR = 6;

export interface DrawingStyle {
  /** Columns that may be used. */
  readonly columns: number;
  /** Lines that may be used. */
  readonly rows: number;
  readonly colours: boolean;
}

const COLOURS = { green: "\u001b[32m", red: "\u001b[31m", dim: "\u001b[2m" } as const;

function paint(text: string, colour: keyof typeof COLOURS | undefined, style: DrawingStyle): string {
  return style.colours && colour !== undefined ? `${COLOURS[colour]}${text}\u001b[0m` : text;
}

function amountOf(item: ProgressItem): string {
  if (item.current === undefined) return "";
  const show = (amount: number) => (item.unit === "bytes" ? humanSize(amount) : String(Math.round(amount)));
  return item.total === undefined ? show(item.current) : `${show(item.current)}/${show(item.total)}`;
}

function bar(item: ProgressItem, width: number): string {
  const { current = 0, total = 0 } = item;
  const share = total > 0 ? Math.min(1, Math.max(0, current / total)) : 0;
  const filled = Math.floor(share * width);
  return `[${"#".repeat(filled)}${"-".repeat(width - filled)}]`;
}

interface RunningParts {
  readonly item: ProgressItem;
  readonly tail: string;
  /** Columns left for a bar; undefined when there is to be none. */
  readonly room: number | undefined;
}

/** As much of the item's facts as fits beside a bar that can be read; what is worth least goes first. */
function runningParts(item: ProgressItem, nowMs: number, columns: number): RunningParts {
  const amount = amountOf(item);
  const speed = item.unit === "bytes" ? speedOf(item, nowMs) : undefined;
  const left = remainingMs(item, nowMs);
  const facts = [
    amount === "" ? humanSpan(lastedMs(item, nowMs)) : amount,
    ...(speed === undefined ? [] : [`${humanSize(speed)}/s`]),
    ...(left === undefined ? [] : [`${humanSpan(left)} left`]),
    ...(item.note === undefined ? [] : [item.note]),
  ];
  const hasBar = item.total !== undefined && item.total > 0;
  for (let keep = facts.length; keep > 0; keep--) {
    const tail = facts.slice(0, keep).join("  ");
    const room = columns - columnsOf(tail) - BESIDE_BAR;
    if (room >= (hasBar ? MIN_BAR : 0)) return { item, tail, room: hasBar ? room : undefined };
  }
  return { item, tail: facts[0] ?? "", room: undefined };
}

function runningLine(
  { item, tail, room }: RunningParts,
  label: string,
  barWidth: number,
  nowMs: number,
): string {
  if (room !== undefined) return `${label}  ${bar(item, barWidth)}  ${tail}`;
  const turn = SPINNER[Math.floor((nowMs - item.startedMs) / SPINNER_MS) % SPINNER.length] ?? "|";
  return `${label}  ${turn}  ${tail}`;
}

function endedLine(item: ProgressItem, label: string, nowMs: number, style: DrawingStyle): string {
  const words = [item.state === "cached" ? "already here" : item.state];
  if (item.state !== "cached") {
    const size = item.unit === "bytes" ? (item.total ?? item.current) : undefined;
    if (size !== undefined && item.state === "done") words.push(humanSize(size));
    words.push(humanSpan(lastedMs(item, nowMs)));
  }
  if (item.note !== undefined) words.push(item.note);
  const text = truncate(words.join("  "), style.columns - columnsOf(label) - 2);
  const colour = item.state === "failed" ? "red" : item.state === "cached" ? "dim" : "green";
  return `${label}  ${paint(text, colour, style)}`;
}

/** Running items first to keep their line when there are more than rows; order of appearance otherwise. */
function choose(items: readonly ProgressItem[], rows: number): { shown: ProgressItem[]; hidden: number } {
  if (items.length <= rows) return { shown: [...items], hidden: 0 };
  const room = Math.max(0, rows - 1);
  const kept = new Set(items.filter(isRunning).slice(0, room));
  for (const item of items) if (kept.size < room) kept.add(item);
  return { shown: items.filter((item) => kept.has(item)), hidden: items.length - kept.size };
}

export function drawItems(items: readonly ProgressItem[], nowMs: number, style: DrawingStyle): string[] {
  const { shown, hidden } = choose(items, style.rows);
  const longest = shown.reduce((width, item) => Math.max(width, columnsOf(item.label)), 0);
  const labelWidth = Math.max(1, Math.min(longest, MAX_LABEL, Math.floor(style.columns / 2)));
  const running = new Map(
    shown.filter(isRunning).map((item) => [item, runningParts(item, nowMs, style.columns - labelWidth)]),
  );
  // One width for all bars of a frame, so that they can be compared.
  const rooms = [...running.values()].flatMap(({ room }) => (room === undefined ? [] : [room]));
  const barWidth = Math.min(MAX_BAR, ...rooms);
  const lines = shown.map((item) => {
    const label = padEnd(truncate(item.label, labelWidth), labelWidth);
    const parts = running.get(item);
    if (parts === undefined) return endedLine(item, label, nowMs, style);
    return truncate(runningLine(parts, label, barWidth, nowMs), style.columns);
  });
  if (hidden > 0) lines.push(truncate(`… and ${plural(hidden, "more step")}`, style.columns));
  return lines;
}

/**
 * One line for all that was done: items whose ids share a prefix are counted (`layer:…` is `6 layers`), the
 * others are named.
 */
export function summarise(items: readonly ProgressItem[], spanMs: number): string {
  const groups = new Map<string, { count: number; cached: number }>();
  const names: string[] = [];
  let sizeBytes = 0;
  for (const item of items) {
    const noun = /^([a-z]+):/.exec(item.id)?.[1];
    if (noun === undefined) {
      names.push(item.label);
      continue;
    }
    if (item.unit === "bytes" && item.state === "done") sizeBytes += item.total ?? item.current ?? 0;
    const group = groups.get(noun) ?? { count: 0, cached: 0 };
    group.count++;
    if (item.state === "cached") group.cached++;
    groups.set(noun, group);
  }
  const counted = [...groups].map(
    ([noun, { count, cached }]) => plural(count, noun) + (cached === 0 ? "" : ` (${cached} already here)`),
  );
  const size = sizeBytes === 0 ? [] : [humanSize(sizeBytes)];
  return `${[...counted, ...size, ...names].join(", ")} in ${humanSpan(spanMs)}`;
}
