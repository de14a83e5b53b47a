/** The caller's terminal: its size, its kind, and raw mode that is undone whatever happens. */
import type { CliContext } from "../context.ts";

export interface TerminalSize {
  readonly columns: number;
  readonly rows: number;
}

const FALLBACK: TerminalSize = { columns: 80, rows: 24 };

/** Of whichever of our streams is a terminal; without one, the size that everything assumes. */
export function terminalSize(context: CliContext): TerminalSize {
  for (const stream of [context.stdout, context.stderr]) {
    const { isTTY, columns = 0, rows = 0 } = stream;
    if (isTTY === true && columns > 0 && rows > 0) return { columns, rows };
  }
  return FALLBACK;
}

// Kinds that the images of the usual distributions know; any other would leave the programs inside without
// a terminal description.
const KNOWN_TERMS = new Set([
  "dumb",
  "linux",
  "screen",
  "screen-256color",
  "tmux",
  "tmux-256color",
  "vt100",
  "vt220",
  "xterm",
  "xterm-256color",
]);

export function terminalKind(context: CliContext): string | undefined {
  const term = context.env["TERM"];
  return context.stdout.isTTY === true && term !== undefined && KNOWN_TERMS.has(term) ? term : undefined;
}

/**
 * From here on every key goes to the container, Ctrl-C among them. The result restores the terminal, and so
 * does the end of this process.
 */
export function enterRawMode(context: CliContext): () => void {
  const { stdin } = context;
  if (stdin.isTTY !== true || stdin.setRawMode === undefined) return () => {};
  let raw = true;
  const restore = () => {
    if (!raw) return;
    raw = false;
    withdraw();
    stdin.setRawMode?.(false);
  };
  const withdraw = context.onExit(restore);
  stdin.setRawMode(true);
  // Node's raw mode still puts a carriage return before every line feed. The terminal inside has done that where
  // it is wanted; a full-screen program means its line feeds as they are. Node restores this with the rest.
  context.stty(["-opost"]);
  return restore;
}
