/** A container's processes as a table: the usual one, or with the columns of ps(1) that somebody has chosen. */
import type { ChosenColumn, PsColumn } from "../args/ps-options.ts";
import type { ContainerProcess } from "../library.ts";
import { renderTable } from "./table.ts";
import { humanSize, humanSpan } from "./units.ts";

function commandOf({ args, name }: ContainerProcess): string {
  return args.length === 0 ? `[${name}]` : args.join(" ");
}

const DAY_SECONDS = 86_400;

/** `[DD-]HH:MM:SS`, as ps(1) has it. */
function cpuTime(microseconds: number): string {
  const seconds = Math.floor(microseconds / 1e6);
  const pad = (value: number) => String(value).padStart(2, "0");
  const parts = [(seconds % DAY_SECONDS) / 3600, (seconds % 3600) / 60, seconds % 60];
  const clock = parts.map((part) => pad(Math.floor(part))).join(":");
  return seconds < DAY_SECONDS ? clock : `${pad(Math.floor(seconds / DAY_SECONDS))}-${clock}`;
}

const CELLS: Readonly<Record<PsColumn, (process: ContainerProcess) => string>> = {
  user: ({ user, uid }) => user ?? String(uid),
  uid: ({ uid }) => String(uid),
  pid: ({ pid }) => String(pid),
  ppid: ({ parent }) => String(parent),
  state: ({ state }) => state,
  time: ({ cpuMicroseconds }) => cpuTime(cpuMicroseconds),
  rss: ({ rssBytes }) => String(Math.floor(rssBytes / 1024)),
  comm: ({ name }) => name,
  args: commandOf,
};

/** @param columns undefined is the usual table */
export function processTable(
  processes: readonly ContainerProcess[],
  columns: readonly ChosenColumn[] | undefined,
): string {
  if (columns !== undefined) {
    const headings = columns.map(({ heading }) => heading);
    const rows = processes.map((process) => columns.map(({ column }) => CELLS[column](process)));
    return renderTable(headings.every((heading) => heading === "") ? rows : [headings, ...rows]);
  }
  const rows = processes.map((one) => [
    CELLS.user(one),
    String(one.pid),
    String(one.parent),
    one.state,
    humanSpan(one.cpuMicroseconds / 1_000),
    humanSize(one.rssBytes),
    commandOf(one),
  ]);
  return renderTable([["USER", "PID", "PPID", "STATE", "CPU", "MEM", "COMMAND"], ...rows]);
}
