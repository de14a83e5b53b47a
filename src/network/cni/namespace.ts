/**
 * The network namespace of one machine, by the agent's program (guest/src/netns.rs), which runs on the host as well.
 * It has a name where `ip netns` looks for them, so that plugins find it, and find it again when this process is gone.
 */
import type { ChildProcess } from "node:child_process";
import { spawn } from "node:child_process";
import { access, mkdir } from "node:fs/promises";
import { Socket } from "node:net";
import { join } from "node:path";
import { runCommand } from "../../util/command.ts";
import { messageOf } from "../../util/error.ts";
import { printable } from "../../util/printable.ts";
import { NetworkError } from "../network.ts";

export const NETNS_DIR = "/run/netns";
const FRAME_FD = 3;
const MAX_SAID_BYTES = 4_096;
const START_DEADLINE_MS = 30_000;

/** @param name a file's */
export function netnsPath(name: string): string {
  return join(NETNS_DIR, name);
}

async function run(helper: string, words: readonly string[]): Promise<void> {
  try {
    await runCommand(helper, ["netns", ...words]);
  } catch (error) {
    const [job = ""] = words;
    throw new NetworkError("cni-namespace", `a network namespace: cannot ${job} it: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

/** @throws NetworkError `cni-namespace` */
export async function makeNamespace(helper: string, path: string): Promise<void> {
  await mkdir(NETNS_DIR, { recursive: true, mode: 0o755 });
  await run(helper, ["make", path]);
}

/** Without error when it is gone already. @throws NetworkError `cni-namespace` */
export async function dropNamespace(helper: string, path: string): Promise<void> {
  await run(helper, ["drop", path]);
}

/** Gives the interface its addresses back: by them plugins know what they have made. @throws NetworkError `cni-namespace` */
export async function restoreAddresses(
  helper: string,
  path: string,
  addresses: readonly string[],
): Promise<void> {
  if (addresses.length > 0) await run(helper, ["restore", path, ...addresses]);
}

export async function isThere(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}

/** Carries frames between the namespace's interface and a stream. */
export class Carrier implements AsyncDisposable {
  /** Frames, each behind its length. */
  readonly frames: Socket;
  readonly mac: string;
  readonly mtu: number;
  /** Resolves when it ended before it was disposed, and not because the machine did. */
  readonly failed: Promise<NetworkError>;
  readonly #child: ChildProcess;
  readonly #exited: Promise<void>;
  #disposed = false;

  private constructor(child: ChildProcess, frames: Socket, { mac, mtu }: { mac: string; mtu: number }) {
    this.#child = child;
    this.frames = frames;
    this.mac = mac;
    this.mtu = mtu;
    this.#exited = whenClosed(child);
    this.failed = new Promise((resolve) => {
      child.once("close", (code, signal) => {
        if (this.#disposed || code === 0) return;
        const how = signal ?? `exit code ${code}`;
        resolve(
          new NetworkError("network-failed", `what carries frames to the CNI network ended with ${how}`),
        );
      });
    });
  }

  /** @throws NetworkError `cni-namespace`; the signal's reason */
  static async start(helper: string, path: string, signal?: AbortSignal): Promise<Carrier> {
    const child = spawn(helper, ["netns", "carry", path], {
      cwd: "/",
      env: {},
      stdio: ["ignore", "pipe", "pipe", "pipe"],
      // Its own process group: Ctrl-C in a terminal is for the container, not for its network.
      detached: true,
    });
    try {
      const said = await firstLine(child, signal);
      const [, mac, mtu] = /^([0-9a-f]{2}(?::[0-9a-f]{2}){5}) (\d{1,6})$/.exec(said) ?? [];
      const frames = child.stdio[FRAME_FD];
      if (mac === undefined || !(frames instanceof Socket))
        throw new NetworkError("cni-namespace", `the network's interface cannot be used: ${printable(said)}`);
      frames.on("error", () => {});
      return new Carrier(child, frames, { mac, mtu: Number(mtu) });
    } catch (error) {
      child.kill("SIGKILL");
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed = true;
    this.frames.destroy();
    this.#child.kill("SIGKILL");
    await this.#exited;
  }
}

async function whenClosed(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  await new Promise<void>((resolve) => child.once("close", () => resolve()));
}

/** Of its output; or, when it ends without one, what it had to say. */
async function firstLine(child: ChildProcess, signal: AbortSignal | undefined): Promise<string> {
  let [stdout, stderr] = ["", ""];
  const deadline = AbortSignal.timeout(START_DEADLINE_MS);
  const either = signal === undefined ? deadline : AbortSignal.any([signal, deadline]);
  return await new Promise<string>((resolve, reject) => {
    const onAbort = (): void => reject(either.reason);
    either.addEventListener("abort", onAbort, { once: true });
    const done = (line: string): void => {
      either.removeEventListener("abort", onAbort);
      resolve(line);
    };
    child.stdout?.on("data", (chunk: Buffer) => {
      if (stdout.length < MAX_SAID_BYTES) stdout += chunk.toString("latin1");
      if (stdout.includes("\n")) done(stdout.split("\n")[0] ?? "");
    });
    child.stderr?.on("data", (chunk: Buffer) => {
      if (stderr.length < MAX_SAID_BYTES) stderr += chunk.toString("utf8");
    });
    child.once("error", (error) => done(messageOf(error)));
    child.once("close", () => done(stderr.trim()));
  });
}
