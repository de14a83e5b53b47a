/** The live screen of `flamebox top`: drawn over itself, keys read, the terminal given back whatever happens. */
import type { Operation } from "../commands/operation.ts";
import type { CliContext } from "../context.ts";
import { dashboardLines, type Sort } from "../output/dashboard.ts";
import { wantsColours } from "../output/reporter.ts";
import type { Usage } from "../output/usage.ts";
import { terminalSize } from "./terminal.ts";
import { watchUsage } from "./watch.ts";

const EVERY_MS = 1_000;
/** Another screen, no cursor; and back. https://invisible-island.net/xterm/ctlseqs/ctlseqs.html */
const ENTER = "\u001b[?1049h\u001b[?25l";
const LEAVE = "\u001b[?25h\u001b[?1049l";
const HOME = "\u001b[H";
const CLEAR_LINE = "\u001b[K";
const CLEAR_BELOW = "\u001b[J";
const BOLD = "\u001b[1m";
const REVERSE = "\u001b[7m";
const PLAIN = "\u001b[0m";
const CTRL_C = "\u0003";

const SORT_KEYS: Readonly<Record<string, Sort>> = { c: "cpu", m: "memory", n: "network", u: "uptime" };

export async function showDashboard(context: CliContext, operation: Operation): Promise<void> {
  const { stdin, stdout } = context;
  const ended = new AbortController();
  let sort: Sort = "cpu";
  let all = false;
  let last: readonly Usage[] = [];
  const draw = () => {
    const size = terminalSize(context);
    const lines = dashboardLines(last, { ...size, nowMs: context.clock.now(), sort });
    const dressed = lines.map((line, index) => dress(line, index, wantsColours(context)));
    stdout.write(`${HOME}${dressed.map((line) => `${line}${CLEAR_LINE}\r\n`).join("")}${CLEAR_BELOW}`);
  };
  const onKey = (bytes: Buffer) => {
    for (const key of bytes.toString("latin1")) {
      if (key === "q" || key === CTRL_C) ended.abort();
      else if (key === "a") all = !all;
      else sort = SORT_KEYS[key] ?? sort;
    }
    draw();
  };
  const isKeyboard = stdin.isTTY === true && stdin.setRawMode !== undefined;
  const restore = () => {
    stdout.write(LEAVE);
    if (isKeyboard) stdin.setRawMode?.(false);
  };
  const withdraw = context.onExit(restore);
  stdout.write(ENTER);
  if (isKeyboard) {
    stdin.setRawMode?.(true);
    stdin.on("data", onKey);
  }
  context.signals.on("SIGWINCH", draw);
  const { signal } = operation.options;
  const either = signal === undefined ? ended.signal : AbortSignal.any([signal, ended.signal]);
  try {
    const watched = { ...operation, options: { ...operation.options, signal: either } };
    const options = {
      names: [],
      everyMs: EVERY_MS,
      get all() {
        return all;
      },
    };
    for await (last of watchUsage(watched, options, () => context.clock.now())) draw();
  } catch (error) {
    if (!ended.signal.aborted) throw error;
  } finally {
    context.signals.off("SIGWINCH", draw);
    if (isKeyboard) {
      stdin.off("data", onKey);
      stdin.pause();
    }
    withdraw();
    restore();
  }
}

function dress(line: string, index: number, colours: boolean): string {
  if (!colours) return line;
  if (index === 0) return `${BOLD}${line}${PLAIN}`;
  return index === 1 ? `${REVERSE}${line}${PLAIN}` : line;
}
