/** Runs a helper program to its end, with bounded output and a deadline. Never through a shell. */
import { spawn } from "node:child_process";
import type { Writable } from "node:stream";
import { FlameBoxError, systemCode } from "./error.ts";

export interface CommandOptions {
  readonly cwd?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  /** For its standard input, each piece valid until the next is asked for. Without it there is none. */
  readonly input?: AsyncIterable<Uint8Array> | undefined;
  /** Default 60,000; Infinity for a program that takes as long as its input. */
  readonly timeoutMs?: number;
  /** Of stdout and of stderr; more ends the program with an error. Default 1 MiB. */
  readonly maxOutputBytes?: number;
}

export interface CommandOutput {
  readonly stdout: Buffer;
  readonly stderr: Buffer;
}

/**
 * @throws FlameBoxError `program-missing` when there is no such program, `command-failed` when it ends with
 *   anything but 0, takes too long or prints too much; the message ends with its last line on stderr.
 */
export async function runCommand(
  program: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<CommandOutput> {
  const { cwd, signal, input, timeoutMs = 60_000, maxOutputBytes = 1 << 20 } = options;
  signal?.throwIfAborted();
  const child = spawn(program, [...args], {
    cwd,
    stdio: [input === undefined ? "ignore" : "pipe", "pipe", "pipe"],
  });
  const output = { stdout: [] as Buffer[], stderr: [] as Buffer[] };
  let sizeBytes = 0;
  let why: string | undefined;
  const stop = (reason: string): void => {
    why ??= reason;
    child.kill("SIGKILL");
  };
  const timer = Number.isFinite(timeoutMs)
    ? setTimeout(() => stop(`took longer than ${timeoutMs} ms`), timeoutMs)
    : undefined;
  const onAbort = (): void => stop("was stopped");
  signal?.addEventListener("abort", onAbort, { once: true });
  for (const name of ["stdout", "stderr"] as const) {
    child[name]?.on("data", (chunk: Buffer) => {
      sizeBytes += chunk.length;
      if (sizeBytes > 2 * maxOutputBytes) stop("printed too much");
      else output[name].push(chunk);
    });
  }
  let failure: { readonly error: unknown } | undefined;
  if (input !== undefined && child.stdin !== null) {
    void feed(child.stdin, input).catch((error: unknown) => {
      failure = { error };
      child.kill("SIGKILL");
    });
  }
  try {
    const [code, killedBy] = await new Promise<[number | null, string | null]>((resolve, reject) => {
      child.once("error", reject);
      child.once("close", (code, killedBy) => resolve([code, killedBy]));
    });
    signal?.throwIfAborted();
    if (failure !== undefined) throw failure.error;
    const stderr = Buffer.concat(output.stderr);
    if (code === 0 && why === undefined) return { stdout: Buffer.concat(output.stdout), stderr };
    const reason = why ?? (killedBy === null ? `ended with exit code ${code}` : `was killed by ${killedBy}`);
    const last = stderr.toString("utf8").trim().split("\n").at(-1) ?? "";
    throw new FlameBoxError(
      "command-failed",
      `${program} ${args[0] ?? ""} ${reason}${last === "" ? "" : `: ${last}`}`,
    );
  } catch (error) {
    if (systemCode(error) === "ENOENT" && cwd === undefined)
      throw new FlameBoxError("program-missing", `the program ${program} is not installed`, { cause: error });
    throw error;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", onAbort);
  }
}

/** Rejects with what the input throws. A program that stops reading tells why when it ends. */
async function feed(stdin: Writable, input: AsyncIterable<Uint8Array>): Promise<void> {
  let isBroken = false;
  stdin.on("error", () => (isBroken = true));
  for await (const piece of input) {
    await new Promise<void>((resolve) => stdin.write(piece, () => resolve()));
    if (isBroken) return;
  }
  stdin.end();
}
