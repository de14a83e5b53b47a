import type { Command } from "commander";
import type { CliContext } from "../context.ts";
import { UsageError } from "../failure.ts";
import { addCommonOptions, settingsOf } from "../settings.ts";
import { teach } from "./describe.ts";

async function processes(context: CliContext, name: string, command: Command): Promise<void> {
  const { operate } = await import("./operation.ts");
  const { print, toJson } = await import("../output/print.ts");
  const { renderTable } = await import("../output/table.ts");
  const { humanSize, humanSpan } = await import("../output/units.ts");
  const settings = settingsOf(command);
  const list = await operate(context, settings, async ({ library, options }) =>
    library.containerProcesses(name, options),
  );
  if (settings.json) return await print(context, toJson(list));
  const rows = list.map((one) => [
    one.user ?? String(one.uid),
    String(one.pid),
    String(one.parent),
    one.state,
    humanSpan(one.cpuMicroseconds / 1_000),
    humanSize(one.rssBytes),
    one.args.length === 0 ? `[${one.name}]` : one.args.join(" "),
  ]);
  await print(context, renderTable([["USER", "PID", "PPID", "STATE", "CPU", "MEM", "COMMAND"], ...rows]));
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
    .argument("[container]", "name or id: its processes, once");
  addCommonOptions(command, { format: false, helpFlags: "-h, --help" });
  teach(command, {
    examples: [
      ["flamebox top", "a dashboard; q ends it"],
      ["flamebox top web", "what runs in web"],
    ],
    notes: ["Keys of the dashboard: c, m, n, u sort by CPU, memory, network, uptime; a shows all; q leaves."],
  });
  command.action(async (name: string | undefined) =>
    name === undefined ? dashboard(context, command) : processes(context, name, command),
  );
}
