import type { Command } from "commander";
import type { CliContext } from "../context.ts";
import { addCommonOptions, settingsOf } from "../settings.ts";
import { teach } from "./describe.ts";

interface StatsFlags {
  readonly all?: boolean;
  /** False with --no-stream. */
  readonly stream: boolean;
  readonly trunc: boolean;
}

const EVERY_MS = 1_000;
/** Clears the screen from its first line on. https://vt100.net/docs/vt510-rm/chapter4.html */
const HOME_AND_CLEAR = "\u001b[H\u001b[J";

async function stats(context: CliContext, names: readonly string[], command: Command): Promise<void> {
  const { operate } = await import("./operation.ts");
  const { checkOneStyle, print } = await import("../output/print.ts");
  const { formatUsage } = await import("../output/usage.ts");
  const { watchUsage } = await import("../session/watch.ts");
  const settings = settingsOf(command);
  checkOneStyle(settings);
  const { all = false, stream, trunc } = command.opts<StatsFlags>();
  const format = formatUsage(settings.format, !trunc);
  const redraws = stream && context.stdout.isTTY === true && settings.format === undefined && !settings.json;
  await operate(context, settings, async (operation) => {
    let looks = 0;
    const watch = { names, all, everyMs: EVERY_MS };
    for await (const usages of watchUsage(operation, watch, () => context.clock.now())) {
      operation.reporter.stop();
      // A rate takes two looks.
      if (!stream && looks++ === 0) continue;
      if (settings.json) for (const usage of usages) await print(context, `${JSON.stringify(usage)}\n`);
      else await print(context, `${redraws ? HOME_AND_CLEAR : ""}${format(usages)}`);
      if (!stream) return;
    }
  });
}

/** Defines `stats`. */
export function define(command: Command, context: CliContext): void {
  command
    .description("Show what containers use, again and again, from their own side and from the host's.")
    .argument("[container...]", "names or ids; default: all that run")
    .option("-a, --all", "those that do not run as well")
    .option("--no-stream", "once")
    .option("--no-trunc", "whole ids");
  addCommonOptions(command, { format: true, helpFlags: "-h, --help" });
  teach(command, {
    examples: [
      ["flamebox stats", "a table that is kept up to date, until Ctrl-C"],
      [
        "flamebox stats --no-stream --format '{{.Name}} {{.CPUPerc}} {{.MemUsage}}' web",
        "once, what you choose",
      ],
    ],
    notes: [
      "CPU is of one processor. HOST MEM is what the container's machine takes of this host, memory that it shares with other machines included. Fields for --format: .Container .ID .Name .CPUPerc .MemUsage .MemPerc .NetIO .BlockIO .PIDs .HostMem .HostCPUPerc.",
    ],
  });
  command.action(async (names: string[]) => stats(context, names, command));
}
