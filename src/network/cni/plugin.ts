/**
 * One plugin, run once: its configuration goes into it, a result or an error comes out, both JSON.
 * https://github.com/containernetworking/cni/blob/spec-v1.0.0/SPEC.md#section-2-execution-protocol
 */
import { spawn } from "node:child_process";
import { access, constants } from "node:fs/promises";
import { join } from "node:path";
import { messageOf } from "../../util/error.ts";
import { printable } from "../../util/printable.ts";
import { NetworkError } from "../network.ts";
import { isObject } from "./config.ts";

/** Where plugins are by custom, and where Debian and Fedora put them. */
export const PLUGIN_DIRS = ["/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"] as const;
/** Plugins run iptables and the like; nothing else of the caller's environment is their business. */
const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const MAX_OUTPUT_BYTES = 256 * 1024;
const MAX_MESSAGE_LENGTH = 600;
/** One that asks a DHCP server waits for it. */
const DEADLINE_MS = 120_000;

export interface PluginCall {
  readonly command: "ADD" | "DEL";
  readonly containerId: string;
  /** Path of the namespace; "" when there is none any more. */
  readonly netns: string;
  readonly interfaceName: string;
  /** `KEY=value;…` */
  readonly args: string;
  readonly pluginDirs: readonly string[];
  /** What it reads. */
  readonly config: object;
  readonly signal?: AbortSignal | undefined;
}

/** @throws NetworkError `cni-plugin-missing` */
export async function findPlugin(type: string, pluginDirs: readonly string[]): Promise<string> {
  for (const dir of pluginDirs) {
    const path = join(dir, type);
    try {
      await access(path, constants.X_OK);
      return path;
    } catch {
      // Not here; the next folder may have it.
    }
  }
  throw new NetworkError("cni-plugin-missing", `the CNI plugin ${type} is not in ${pluginDirs.join(", ")}`, {
    hint: "install Debian's package containernetworking-plugins, or set CNI_PATH to where it is",
  });
}

/** @returns what it printed @throws NetworkError `cni-plugin-missing`, `cni-failed`; the signal's reason */
export async function runPlugin(type: string, call: PluginCall): Promise<string> {
  const { signal, command } = call;
  const program = await findPlugin(type, call.pluginDirs);
  signal?.throwIfAborted();
  const { code, how, stdout, stderr } = await execute(program, call);
  signal?.throwIfAborted();
  if (code === 0 && how === undefined) return stdout;
  const said = errorIn(stdout) ?? stderr.trim().split("\n").at(-1) ?? "";
  const why = printable(said, MAX_MESSAGE_LENGTH);
  throw new NetworkError(
    "cni-failed",
    `the CNI plugin ${type} failed at ${command}${how === undefined ? "" : ` (it ${how})`}${why === "" ? "" : `: ${why}`}`,
  );
}

/** `{ "code": 11, "msg": "…", "details": "…" }` */
export function errorIn(text: string): string | undefined {
  try {
    const value: unknown = JSON.parse(text);
    if (!isObject(value)) return undefined;
    const { msg, details } = value;
    const words = [msg, details].filter((one): one is string => typeof one === "string" && one !== "");
    return words.length === 0 ? undefined : words.join(": ");
  } catch {
    return undefined;
  }
}

interface Ended {
  readonly code: number | null;
  /** Undefined: it ended by itself, with the code. */
  readonly how: string | undefined;
  readonly stdout: string;
  readonly stderr: string;
}

async function execute(program: string, call: PluginCall): Promise<Ended> {
  const child = spawn(program, [], {
    cwd: "/",
    env: {
      PATH,
      CNI_COMMAND: call.command,
      CNI_CONTAINERID: call.containerId,
      CNI_NETNS: call.netns,
      CNI_IFNAME: call.interfaceName,
      CNI_ARGS: call.args,
      CNI_PATH: call.pluginDirs.join(":"),
    },
    stdio: ["pipe", "pipe", "pipe"],
    // Ctrl-C in a terminal is for the container: a plugin that is cut short leaves half of its work.
    detached: true,
  });
  let how: string | undefined;
  const stop = (reason: string): void => {
    how ??= reason;
    // Whatever it has started as well, which would keep its outputs open.
    if (child.pid !== undefined && child.exitCode === null) process.kill(-child.pid, "SIGKILL");
  };
  const timer = setTimeout(() => stop(`took longer than ${DEADLINE_MS / 1_000} s`), DEADLINE_MS);
  const onAbort = (): void => stop("was stopped");
  call.signal?.addEventListener("abort", onAbort, { once: true });
  const output = { stdout: [] as Buffer[], stderr: [] as Buffer[] };
  let sizeBytes = 0;
  for (const name of ["stdout", "stderr"] as const)
    child[name].on("data", (chunk: Buffer) => {
      sizeBytes += chunk.length;
      if (sizeBytes > MAX_OUTPUT_BYTES) stop("printed too much");
      else output[name].push(chunk);
    });
  // One that does not read its configuration says why, or not, when it ends.
  child.stdin.on("error", () => {});
  child.stdin.end(JSON.stringify(call.config));
  try {
    const code = await new Promise<number | null>((resolve, reject) => {
      child.once("error", reject);
      child.once("close", (number, killedBy) => {
        if (killedBy !== null) how ??= `was ended by ${killedBy}`;
        resolve(number);
      });
    });
    const [stdout, stderr] = [output.stdout, output.stderr].map((all) => Buffer.concat(all).toString("utf8"));
    return { code, how, stdout: stdout ?? "", stderr: stderr ?? "" };
  } catch (error) {
    throw new NetworkError("cni-failed", `cannot start ${program}: ${messageOf(error)}`, { cause: error });
  } finally {
    clearTimeout(timer);
    call.signal?.removeEventListener("abort", onAbort);
  }
}
