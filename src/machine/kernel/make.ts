/**
 * make(1) with all that it starts: in a process group of its own, so that the whole of it can be ended, and it ends
 * with this process. What it prints is counted, and its last lines are kept.
 */
import { spawn } from "node:child_process";
import { messageOf } from "../../util/error.ts";
import { findProgram } from "../../util/find-program.ts";
import { printable } from "../../util/printable.ts";
import { MachineError } from "../machine.ts";
import { TailBuffer } from "../tail-buffer.ts";

export interface MakeOptions {
  readonly cwd: string;
  readonly signal?: AbortSignal | undefined;
  /** Told for each line of standard output: how many there have been. */
  readonly onLine?: ((count: number) => void) | undefined;
}

const TAIL_BYTES = 8 * 1024;
const TAIL_LINES = 12;
const MAX_LINE = 300;
/**
 * Should this process be killed, a shell is told by the kernel and ends its whole group. A parent that died before
 * the signal was set would never be missed: so it is looked for once more behind that.
 */
const WITH_PARENT = `test "$PPID" = "$0" || exit 1; trap 'kill -KILL 0' TERM; "$@" & wait $!`;

/** @throws MachineError `kernel-build-failed` with the last lines; the signal's reason */
export async function make(args: readonly string[], options: MakeOptions): Promise<void> {
  const { cwd, signal, onLine } = options;
  signal?.throwIfAborted();
  const [file = "make", ...words] = await boundToParent(["make", ...args]);
  const child = spawn(file, words, { cwd, stdio: ["ignore", "pipe", "pipe"], detached: true });
  const tails = { stdout: new TailBuffer(TAIL_BYTES), stderr: new TailBuffer(TAIL_BYTES) };
  let lines = 0;
  child.stdout.on("data", (chunk: Buffer) => {
    tails.stdout.write(chunk);
    const before = lines;
    for (const byte of chunk) if (byte === 0x0a) lines++;
    if (lines !== before) onLine?.(lines);
  });
  child.stderr.on("data", (chunk: Buffer) => tails.stderr.write(chunk));
  const endAll = (): void => {
    if (child.pid === undefined) return;
    try {
      process.kill(-child.pid, "SIGKILL");
    } catch {
      // All of it has ended by itself.
    }
  };
  signal?.addEventListener("abort", endAll, { once: true });
  try {
    const [code, killedBy] = await new Promise<[number | null, string | null]>((done, failed) => {
      child.once("error", failed);
      child.once("close", (code, killedBy) => done([code, killedBy]));
    });
    signal?.throwIfAborted();
    if (code !== 0) throw failure(killedBy ?? `exit code ${code}`, tails);
  } catch (error) {
    signal?.throwIfAborted();
    if (error instanceof MachineError) throw error;
    throw new MachineError("kernel-build-failed", `make could not be started: ${messageOf(error)}`, {
      cause: error,
    });
  } finally {
    signal?.removeEventListener("abort", endAll);
  }
}

async function boundToParent(command: readonly string[]): Promise<readonly string[]> {
  const setpriv = await findProgram("setpriv");
  if (setpriv === undefined) return command;
  return [
    setpriv,
    "--pdeathsig",
    "TERM",
    "--",
    "/bin/sh",
    "-c",
    WITH_PARENT,
    String(process.pid),
    ...command,
  ];
}

function failure(
  how: string,
  tails: { readonly stdout: TailBuffer; readonly stderr: TailBuffer },
): MachineError {
  const said = tails.stderr.toString().trim() || tails.stdout.toString().trim();
  const last = said.split("\n").slice(-TAIL_LINES);
  const text = last.map((line) => `\n  ${printable(line, MAX_LINE)}`).join("");
  return new MachineError("kernel-build-failed", `the kernel was not built: make ended with ${how}${text}`);
}
