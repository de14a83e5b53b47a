/** A further process in a running container: what `docker exec` is to `docker run`. */
import type { Readable, Writable } from "node:stream";
import { Readable as NodeReadable } from "node:stream";
import type { CallOptions } from "../agent/call.ts";
import { execInContainer, resizeContainer, signalContainer } from "../agent/client.ts";
import type { Process } from "../runtime-spec/config.ts";
import { capabilitiesOf } from "../runtime-spec/capabilities.ts";
import { FlameBoxError } from "../util/error.ts";
import { quote } from "../util/printable.ts";
import type { ContainerExit } from "./options.ts";
import type { ProbeTarget } from "./probe.ts";

/** Over what the container's own process has. */
export interface ExecOptions {
  /** Over the container's variables. */
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** Absolute; default: the container's. */
  readonly workdir?: string | undefined;
  /** `name`, `uid`, `name:group`, `uid:gid`; default: the container's. */
  readonly user?: string | undefined;
  /** A terminal: its first size. stdout and stderr are one then. */
  readonly tty?: { readonly columns: number; readonly rows: number } | undefined;
  readonly term?: string | undefined;
  /** Keep stdin open; otherwise the process reads /dev/null. */
  readonly interactive?: boolean | undefined;
  /** All capabilities. */
  readonly privileged?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A process that was executed into a container. It ends with the container at the latest. */
export interface ExecProcess {
  readonly id: string;
  readonly stdin: Writable | null;
  readonly stdout: Readable;
  /** Ends at once with a tty. */
  readonly stderr: Readable;
  /** Resolves once the process has ended and all its output can be read. Rejects if the machine is lost. */
  wait(): Promise<ContainerExit>;
  /** Sends a signal (1 … 64) to the process. */
  kill(signal: number): Promise<void>;
  /** Tells its terminal its size. */
  resize(size: { readonly columns: number; readonly rows: number }): Promise<void>;
}

/** Whatever a program can be told; the container's first process has the same bounds. */
const MAX_ARGUMENTS_BYTES = 2 << 20;

function processOf(own: Process, command: readonly string[], options: ExecOptions): Process {
  const { env = {}, workdir, tty, term, privileged } = options;
  if (command.length === 0 || command[0] === "")
    throw new FlameBoxError("invalid-option", "there is no command to execute");
  if (workdir !== undefined && !workdir.startsWith("/"))
    throw new FlameBoxError("invalid-option", `the working directory ${quote(workdir)} is no absolute path`);
  const added = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  const words = [...command, ...added];
  if (words.some((word) => word.includes("\0")))
    throw new FlameBoxError("invalid-option", "an argument or a variable has a NUL in it");
  if (words.reduce((sum, word) => sum + word.length + 1, 0) > MAX_ARGUMENTS_BYTES)
    throw new FlameBoxError("invalid-option", "arguments and environment are more than a program takes");
  const names = new Set(Object.keys(env));
  const kept = own.env.filter((variable) => !names.has(variable.split("=", 1)[0] ?? ""));
  const variables = [...kept, ...added];
  if (tty !== undefined && !variables.some((variable) => variable.startsWith("TERM=")))
    variables.push(`TERM=${term ?? "xterm"}`);
  const { consoleSize: _size, ...rest } = own;
  return {
    ...rest,
    args: command,
    env: variables,
    cwd: workdir ?? own.cwd,
    terminal: tty !== undefined,
    ...(tty && { consoleSize: { height: tty.rows, width: tty.columns } }),
    ...(privileged === true && { capabilities: capabilitiesOf({ privileged }) }),
  };
}

export interface ExecTarget extends ProbeTarget {
  /** Of the process, unique in the container. */
  readonly execId: string;
}

/** @throws AgentError `command-not-found`, `command-not-executable`, `user-not-found`, …; FlameBoxError `invalid-option` */
export async function execute(
  target: ExecTarget,
  command: readonly string[],
  options: ExecOptions,
): Promise<ExecProcess> {
  const { session, containerId, execId, groups } = target;
  const call: CallOptions = options.signal === undefined ? {} : { signal: options.signal };
  const { streams, wait } = await execInContainer(
    session,
    {
      id: containerId,
      exec: execId,
      process: processOf(target.process, command, options),
      user: options.user ?? target.user,
      // Somebody else's groups are none of the given user's.
      groups: options.user === undefined ? groups : [],
      stdin: options.interactive === true,
      terminal: options.tty !== undefined,
    },
    call,
  );
  return {
    id: execId,
    stdin: streams.stdin,
    stdout: streams.stdout,
    stderr: streams.stderr ?? NodeReadable.from([]),
    wait: async () => exitOf(await wait()),
    kill: async (signal) => await signalContainer(session, containerId, signal, execId),
    resize: async (size) => await resizeContainer(session, containerId, size, execId),
  };
}

/** The agent's word for an end, as Docker's number. */
export function exitOf(event: {
  readonly exitCode?: number | undefined;
  readonly signal?: number | undefined;
  readonly oomKilled?: boolean | undefined;
}): ContainerExit {
  const oomKilled = event.oomKilled ?? false;
  if (event.signal !== undefined) return { code: 128 + event.signal, signal: event.signal, oomKilled };
  return { code: event.exitCode ?? 0, oomKilled };
}
