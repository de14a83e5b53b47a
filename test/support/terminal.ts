/** A program on a terminal of its own, with somebody who types and looks. */
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { setTimeout as sleep } from "node:timers/promises";

const SCRIPT = fileURLToPath(new URL("on-a-terminal.py", import.meta.url));

export interface TerminalOptions {
  readonly rows?: number;
  readonly columns?: number;
  readonly env?: Readonly<Record<string, string | undefined>>;
}

export interface Terminal {
  /** All that it has shown. */
  readonly shown: string;
  type(keys: string): void;
  resize(rows: number, columns: number): void;
  /** The terminal goes away, as when its window is closed. */
  hangUp(): void;
  /** Resolves when it has shown `text`, counting from the last such call's end. */
  shows(text: string | RegExp): Promise<void>;
  /** The program's exit code. */
  readonly ended: Promise<number>;
}

export function openTerminal(command: readonly string[], options: TerminalOptions = {}): Terminal {
  const { rows = 24, columns = 80, env = {} } = options;
  const child = spawn("python3", [SCRIPT, String(rows), String(columns), ...command], {
    stdio: ["pipe", "pipe", "inherit"],
    env: { ...process.env, ...env },
  });
  let shown = "";
  let seen = 0;
  child.stdout.setEncoding("utf8").on("data", (text: string) => (shown += text));
  child.stdin.on("error", () => {});
  const ended = new Promise<number>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => resolve(code ?? -1));
  });
  let over = false;
  void ended.then(() => (over = true));
  const order = (line: string): void => void child.stdin.write(`${line}\n`);
  return {
    get shown() {
      return shown;
    },
    type: (keys) => order(`keys ${Buffer.from(keys).toString("hex")}`),
    resize: (newRows, newColumns) => order(`size ${newRows} ${newColumns}`),
    hangUp: () => order("hangup"),
    shows: async (text) => {
      const pattern = typeof text === "string" ? new RegExp(escaped(text)) : text;
      for (;;) {
        const found = pattern.exec(shown.slice(seen));
        if (found !== null) {
          seen += found.index + found[0].length;
          return;
        }
        if (over) throw new Error(`it ended before it showed ${String(text)}:\n${shown}`);
        await sleep(20);
      }
    },
    ended,
  };
}

function escaped(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&");
}
