/** The screen of `flamebox top`: text for a terminal of any width from 60 columns on, without its control sequences. */
import { statusText } from "./containers.ts";
import { padEnd, padStart, printable, truncate } from "./text.ts";
import { humanSize } from "./units.ts";
import type { Usage } from "./usage.ts";

export const SORTS = ["cpu", "memory", "network", "uptime"] as const;
export type Sort = (typeof SORTS)[number];

export interface Screen {
  readonly columns: number;
  readonly rows: number;
  readonly nowMs: number;
  readonly sort: Sort;
}

const BAR_COLUMNS = 8;
const PARTS = " ▏▎▍▌▋▊▉█";

/** A bar in eighths of a column. */
export function bar(share: number, columns: number = BAR_COLUMNS): string {
  const eighths = Math.round(Math.min(1, Math.max(0, share)) * columns * 8);
  const whole = Math.floor(eighths / 8);
  const rest = eighths % 8 === 0 ? "" : (PARTS[eighths % 8] ?? "");
  return padEnd("█".repeat(whole) + rest, columns);
}

function orderOf(sort: Sort): (usage: Usage) => number {
  if (sort === "cpu") return ({ cpuPercent = 0 }) => cpuPercent;
  if (sort === "memory") return ({ memoryBytes }) => memoryBytes;
  if (sort === "network") return ({ networkRate = 0 }) => networkRate;
  // Longest first.
  return ({ info }) => -Date.parse(info.startedAt ?? "9999-01-01");
}

interface Column {
  readonly heading: string;
  readonly columns: number;
  readonly right: boolean;
  readonly text: (usage: Usage, nowMs: number) => string;
}

const STATUS_COLUMNS = 16;

const FIXED: readonly Column[] = [
  {
    heading: "CPU",
    columns: 6,
    right: true,
    text: ({ cpuPercent }) => (cpuPercent === undefined ? "--" : `${cpuPercent.toFixed(0)}%`),
  },
  { heading: "", columns: BAR_COLUMNS, right: false, text: ({ cpuPercent = 0 }) => bar(cpuPercent / 100) },
  { heading: "MEM", columns: 7, right: true, text: ({ memoryBytes }) => humanSize(memoryBytes) },
  {
    heading: "",
    columns: BAR_COLUMNS,
    right: false,
    text: ({ memoryBytes, memoryLimitBytes }) =>
      bar(memoryLimitBytes === 0 ? 0 : memoryBytes / memoryLimitBytes),
  },
  {
    heading: "NET/s",
    columns: 7,
    right: true,
    text: ({ networkRate }) => (networkRate === undefined ? "--" : humanSize(networkRate)),
  },
  {
    heading: "STATUS",
    columns: STATUS_COLUMNS,
    right: false,
    text: ({ info }, nowMs) => statusText(info, nowMs),
  },
];
const GAP = 1;
const FIXED_COLUMNS = FIXED.reduce((sum, { columns }) => sum + columns + GAP, 0);
const MIN_NAME_COLUMNS = 8;

/** Lines that fit the screen: no longer, and no more of them. The first two are a summary and the headings. */
export function dashboardLines(usages: readonly Usage[], { columns, rows, nowMs, sort }: Screen): string[] {
  const order = orderOf(sort);
  const sorted = usages.toSorted((a, b) => order(b) - order(a));
  const nameColumns = Math.max(MIN_NAME_COLUMNS, columns - FIXED_COLUMNS);
  const running = usages.filter(({ info }) => info.status === "running").length;
  const sum = (of: (usage: Usage) => number) => usages.reduce((total, usage) => total + of(usage), 0);
  const summary = `flamebox: ${running} running, ${usages.length} shown   cpu ${sum(({ cpuPercent = 0 }) => cpuPercent).toFixed(0)}%   mem ${humanSize(sum(({ memoryBytes }) => memoryBytes))}, of the host ${humanSize(sum(({ hostBytes }) => hostBytes))}   by ${sort}`;
  const line = (name: string, cells: readonly string[]) => {
    const parts = FIXED.map(({ columns: width, right }, index) => {
      const cell = truncate(cells[index] ?? "", width);
      return right ? padStart(cell, width) : padEnd(cell, width);
    });
    return truncate(
      [padEnd(truncate(name, nameColumns), nameColumns), ...parts].join(" "),
      columns,
    ).trimEnd();
  };
  const body = sorted.map((usage) =>
    line(
      printable(usage.info.name),
      FIXED.map(({ text }) => text(usage, nowMs)),
    ),
  );
  const heading = line(
    "NAME",
    FIXED.map(({ heading: text }) => text),
  );
  const room = Math.max(0, rows - 3);
  const hidden = body.length - room;
  const shown = hidden > 0 ? [...body.slice(0, Math.max(0, room - 1)), `… ${hidden + 1} more`] : body;
  return [truncate(summary, columns), heading, ...shown].slice(0, Math.max(2, rows - 1));
}
