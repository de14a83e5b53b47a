import type { Command } from "commander";
import { firecrackerFrom, pathsFrom } from "../args/access.ts";
import { loadEnvFile, parseEnv } from "../args/environment.ts";
import type { CliContext } from "../context.ts";
import { UsageError } from "../failure.ts";
import { addCommonOptions, settingsOf } from "../settings.ts";
import { collect, teach } from "./describe.ts";

interface ExecFlags {
  readonly interactive?: boolean;
  readonly tty?: boolean;
  readonly detach?: boolean;
  readonly detachKeys?: string;
  readonly env?: readonly string[];
  readonly envFile?: readonly string[];
  readonly workdir?: string;
  readonly user?: string;
  readonly privileged?: boolean;
}

async function variablesOf({ env = [], envFile = [] }: ExecFlags, context: CliContext) {
  const entries = [];
  for (const path of envFile) entries.push(...(await loadEnvFile(path, context.env)));
  for (const argument of env) {
    const entry = parseEnv(argument, context.env);
    if (entry !== undefined) entries.push(entry);
  }
  // A null prototype, so that a variable named __proto__ is a variable.
  const variables = Object.create(null) as Record<string, string>;
  for (const [name, value] of entries) variables[name] = value;
  return variables;
}

async function exec(
  context: CliContext,
  name: string,
  words: readonly string[],
  command: Command,
): Promise<void> {
  const { checkTerminal, holdSession, terminalKind, terminalSize } = await import("../session/session.ts");
  const { parseDetachKeys } = await import("../session/detach-keys.ts");
  const { createReporter } = await import("../output/reporter.ts");
  const flags = command.opts<ExecFlags>();
  const settings = settingsOf(command);
  if (settings.format !== undefined)
    throw new UsageError("--format is of no use to exec: its output is the process's");
  const { interactive = false, tty = false, detach = false, workdir, user, privileged, detachKeys } = flags;
  if (!detach) checkTerminal(context, { interactive, tty });
  const term = terminalKind(context);
  const wanted = {
    env: await variablesOf(flags, context),
    workdir,
    user,
    privileged,
    interactive: interactive && !detach,
    ...(tty && { tty: terminalSize(context), term }),
  };
  const library = await context.loadLibrary();
  const reporter = createReporter(context, settings);
  const { onNotice } = reporter;
  const options = {
    ...wanted,
    paths: pathsFrom(context.env, library),
    ...firecrackerFrom(context.env),
    onNotice,
  };
  if (detach) return void (await library.execDetached(name, words, options));
  const manner = {
    interactive,
    tty,
    ...(detachKeys === undefined ? {} : { detachKeys: parseDetachKeys(detachKeys) }),
  };
  const open = async (signal: AbortSignal) => {
    const process = await library.execInContainer(name, words, { ...options, signal });
    return { ...process, farewell: `left the process, which goes on in ${name}` };
  };
  context.outcome.exitCode = await holdSession(context, open, manner, { reporter });
}

/** Defines `exec`. */
export function define(command: Command, context: CliContext): void {
  command
    .description("Run a further command in a container that runs.")
    .argument("<container>", "name or id")
    .argument("<command...>", "command and its arguments")
    .passThroughOptions()
    .option("-i, --interactive", "give standard input to the process")
    .option("-t, --tty", "give the process a terminal")
    .option("-d, --detach", "leave it to itself")
    .option("--detach-keys <keys>", "keys that leave a terminal; default ctrl-p,ctrl-q; '' for none")
    .option("-e, --env <variable>", "set KEY=VALUE, or take KEY from this environment (repeatable)", collect)
    .option("--env-file <file>", "read variables from a file, one a line (repeatable)", collect)
    .option("-w, --workdir <dir>", "working directory, an absolute path; default: the container's")
    .option("-u, --user <user>", "NAME or UID, with :GROUP or :GID; default: the container's")
    .option("--privileged", "all capabilities");
  addCommonOptions(command, { format: false, helpFlags: "-h, --help" });
  teach(command, {
    examples: [
      ["flamebox exec -it web sh", "a shell beside the server"],
      ["flamebox exec -u postgres db psql -c 'select 1'", "as another user"],
      ["tar c . | flamebox exec -i -w /src build tar x", "a pipe into a container"],
    ],
    notes: [
      "The exit code is the process's own; 126 when the command cannot be executed; 127 when it is not there. It has the container's variables, limits and filters, and ends with it at the latest.",
    ],
  });
  command.action(async (name: string, words: string[]) => exec(context, name, words, command));
}
