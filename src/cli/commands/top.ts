import type { Command } from "commander";
import type { CliContext } from "../context.ts";
import { UsageError } from "../failure.ts";
import { addCommonOptions, settingsOf } from "../settings.ts";
import { teach } from "./describe.ts";

async function processes(
  context: CliContext,
  name: string,
  words: readonly string[],
  command: Command,
): Promise<void> {
  const { operate } = await import("./operation.ts");
  const { print, toJson } = await import("../output/print.ts");
  const { parsePsOptions } = await import("../args/ps-options.ts");
  const { processTable } = await import("../output/processes.ts");
  const settings = settingsOf(command);
  // What is not known of the program's options is ps's, also before the name.
  if (name.startsWith("-")) throw new UsageError(`unknown option '${name}'`, "see 'flamebox top --help'");
  const columns = parsePsOptions(words);
  const list = await operate(context, settings, async ({ library, options }) =>
    library.containerProcesses(name, options),
  );
  await print(context, settings.json ? toJson(list) : processTable(list, columns));
}

async function dashboard(context: CliContext, command: Command): Promise<void> {
  const { operate } = await import("./operation.ts");
  const { showDashboard } = await import("../session/dashboard.ts");
  const settings = settingsOf(command);
  if (context.stdout.isTTY !== true)
    throw new UsageError("the dashboard needs a terminal", "flamebox stats --no-stream prints the same once");
  await operate(context, settings, async (operation) => showDashboard(context, operation));
}

/** Defines `top`. */
export function define(command: Command, context: CliContext): void {
  command
    .description("Watch all containers on one screen; with a container, list its processes.")
    .argument("[container]", "name or id: its processes, once")
    .argument("[ps-options...]", "options of ps, as in aux or -o pid,args")
    .allowUnknownOption();
  addCommonOptions(command, { format: false, helpFlags: "-h, --help" });
  teach(command, {
    examples: [
      ["flamebox top", "a dashboard; q ends it"],
      ["flamebox top web", "what runs in web"],
      ["flamebox top web -eo pid,user,args", "with columns of ps"],
    ],
    notes: [
      "Of ps's options, -o COLUMNS chooses among user, uid, pid, ppid, state, time, rss, comm and args; those that choose among processes, as aux and -ef, change nothing, because all are shown. Process numbers are the container's own.",
      "Keys of the dashboard: c, m, n, u sort by CPU, memory, network, uptime; a shows all; q leaves.",
    ],
  });
  command.action(async (name: string | undefined, words: readonly string[]) =>
    name === undefined ? dashboard(context, command) : processes(context, name, words, command),
  );
}
