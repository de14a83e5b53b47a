/** The executable: the process's streams, environment and signals to a `CliContext`, its outcome to an exit code. */
import { readFileSync } from "node:fs";
import { crash, execute } from "./execute.ts";
import type { CliContext, OutputStream } from "./context.ts";

/** package.json stands two levels above this file, in the source tree and in the package alike. */
function packageVersion(): string {
  const text = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}

const context: CliContext = {
  version: packageVersion(),
  env: process.env,
  get stdin() {
    return process.stdin;
  },
  stdout: process.stdout,
  stderr: process.stderr,
  signals: process,
  clock: {
    now: () => Date.now(),
    every: (intervalMs, tick) => {
      const timer = setInterval(tick, intervalMs);
      timer.unref();
      return () => clearInterval(timer);
    },
  },
  stty: (words) => {
    // Not imported above: it costs every command 5 ms, and only a terminal session needs it.
    process
      .getBuiltinModule("node:child_process")
      .spawnSync("stty", words, { stdio: ["inherit", "ignore", "ignore"] });
  },
  loadLibrary: () => import("../index.ts"),
  onExit: (job) => {
    process.on("exit", job);
    return () => process.off("exit", job);
  },
  exitNow: (code) => process.exit(code),
  outcome: { exitCode: 0 },
};

/** Errors of our own outputs are met by whoever writes; an unheard one must not become a stack trace. */
function mute(stream: OutputStream): void {
  stream.on("error", () => {});
}

mute(context.stdout);
mute(context.stderr);
const words = process.argv.slice(2);
// The exit listeners give the terminal back before this ends.
process.on("uncaughtException", (error) => process.exit(crash(error, words, context)));
// Nothing that is still open (a kept-alive connection, a terminal's stdin) may hold the process.
void execute(words, context).then((exitCode) => process.exit(exitCode));
