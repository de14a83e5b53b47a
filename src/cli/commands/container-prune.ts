import type { Command } from "commander";
import type { CliContext } from "../context.ts";
import { addCommonOptions, settingsOf } from "../settings.ts";
import { collect, teach } from "./describe.ts";
import { askFirst, printRemoved, removedLines, type PruneFlags } from "./prune.ts";

async function prune(context: CliContext, command: Command): Promise<void> {
  const { operate } = await import("./operation.ts");
  const { refuseFormat } = await import("../output/images.ts");
  const settings = settingsOf(command);
  refuseFormat(settings, "container prune");
  const flags = command.opts<PruneFlags>();
  const some = flags.filter === undefined ? "" : `, of those that fit ${flags.filter.join(", ")}`;
  await askFirst(context, flags, `every container that does not run, with its files and its log${some}`);
  const removed = await operate(context, settings, async ({ library, options }) =>
    library.pruneContainers({ ...options, filters: flags.filter }),
  );
  const { deleted, reclaimedBytes } = removed;
  const lines = removedLines("Deleted Containers", deleted, settings.quiet);
  await printRemoved(context, { lines, reclaimedBytes }, removed, command);
}

/** Defines `container prune`. */
export function define(command: Command, context: CliContext): void {
  command
    .description("Remove every container that does not run, with its files, its volumes and its log.")
    .option("-f, --force", "do not ask")
    .option(
      "--filter <filter>",
      "only those: until=24h, label=KEY[=VALUE], label!=KEY[=VALUE] (repeatable)",
      collect,
    );
  addCommonOptions(command, { format: false, helpFlags: "-h, --help" });
  teach(command, {
    examples: [
      ["flamebox container prune", "those that have ended, and those that were never started"],
      ["flamebox container prune -f --filter until=240h", "what was made ten days ago or earlier"],
    ],
    notes: ["A container that somebody looks into just now, as cp and export do, stays."],
  });
  command.action(async () => prune(context, command));
}
