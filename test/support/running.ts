/** A program that a test has started, what it has printed so far, and its end. */
import { spawn } from "node:child_process";
import type { ChildProcessWithoutNullStreams } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** latin1, byte for byte. */
  readonly stdout: string;
  readonly stderr: string;
}

export interface Running {
  readonly child: ChildProcessWithoutNullStreams;
  /** Resolves when stdout has shown `text`; rejects when the process ends before. */
  shows(text: string): Promise<void>;
  readonly ended: Promise<Ended>;
}

export function spawnWatched(
  file: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  cwd?: string,
): Running {
  const child = spawn(file, args, { env, stdio: "pipe", cwd });
  let stdout = "";
  let stderr = "";
  child.stdin.on("error", () => {});
  child.stdout.setEncoding("latin1").on("data", (text: string) => (stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  const ended = new Promise<Ended>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
  const shows = async (text: string): Promise<void> => {
    while (!stdout.includes(text)) {
      if (child.exitCode !== null || child.signalCode !== null)
        throw new Error(`it ended before it showed "${text}": ${stderr}`);
      await sleep(20);
    }
  };
  return { child, shows, ended };
}
