/** `image prune`, and what `system prune` has in common with it. */
import type { Command } from "commander";
import type { CliContext } from "../context.ts";
import { addCommonOptions, settingsOf } from "../settings.ts";
import { collect, teach } from "./describe.ts";

export interface PruneFlags {
  readonly all?: boolean;
  readonly force?: boolean;
  readonly filter?: readonly string[];
}

export interface Removed {
  readonly lines: readonly string[];
  readonly reclaimedBytes: number;
}

export async function printRemoved(context: CliContext, removed: Removed, json: unknown, command: Command) {
  const { print, toJson } = await import("../output/print.ts");
  const { humanSize } = await import("../output/units.ts");
  const settings = settingsOf(command);
  if (settings.json) return await print(context, toJson(json));
  const { lines, reclaimedBytes } = removed;
  const total = settings.quiet ? [] : [`Total reclaimed space: ${humanSize(reclaimedBytes)}`];
  await print(context, [...lines, ...total].map((line) => `${line}\n`).join(""));
}

export async function askFirst(
  context: CliContext,
  { force = false }: PruneFlags,
  what: string,
): Promise<void> {
  if (force) return;
  const { confirm } = await import("../session/ask.ts");
  await confirm(context, `WARNING! This removes ${what}.`);
}

/** Docker's way to list what went. */
export function removedLines(heading: string, names: readonly string[], quiet: boolean): readonly string[] {
  if (quiet || names.length === 0) return names;
  return [`${heading}:`, ...names, ""];
}

async function pruneImages(context: CliContext, command: Command): Promise<void> {
  const { operate } = await import("./operation.ts");
  const { refuseFormat } = await import("../output/images.ts");
  const settings = settingsOf(command);
  refuseFormat(settings, "image prune");
  const flags = command.opts<PruneFlags>();
  const all = flags.all ?? false;
  await askFirst(context, flags, all ? "every image that nothing uses" : "images without a name");
  const removed = await operate(context, settings, async ({ library, options }) =>
    library.pruneImages({ ...options, all, filters: flags.filter }),
  );
  const { untagged, deleted, reclaimedBytes } = removed;
  const lines = [
    ...untagged.map((name) => `Untagged: ${name}`),
    ...deleted.map((name) => `Deleted: ${name}`),
  ];
  await printRemoved(context, { lines, reclaimedBytes }, removed, command);
}

/** Defines `image prune`. */
export function define(command: Command, context: CliContext): void {
  command
    .summary("remove images without a name")
    .description("Remove images without a name, and whatever no image needs.")
    .option("-a, --all", "also images with a name that nothing uses")
    .option("-f, --force", "do not ask")
    .option("--filter <filter>", "only those: until=24h, label=KEY[=VALUE] (repeatable)", collect);
  addCommonOptions(command, { format: false, helpFlags: "-h, --help" });
  teach(command, {
    examples: [
      ["flamebox image prune -f", "what loads and runs of files have left"],
      ["flamebox image prune -a --filter until=240h", "what has not been made in the last ten days"],
    ],
  });
  command.action(async () => pruneImages(context, command));
}
