import type { Command } from "commander";
import type { CliContext } from "../context.ts";
import { addCommonOptions, settingsOf } from "../settings.ts";
import { teach } from "./describe.ts";

interface HistoryFlags {
  readonly trunc: boolean;
  readonly human: boolean;
}

async function history(context: CliContext, name: string, command: Command): Promise<void> {
  const { operate } = await import("./operation.ts");
  const { checkOneStyle, print, toJson } = await import("../output/print.ts");
  const { formatHistory, historyIds, historyTable, inspected } = await import("../output/image-details.ts");
  const settings = settingsOf(command);
  checkOneStyle(settings);
  const { trunc, human } = command.opts<HistoryFlags>();
  const style = { nowMs: context.clock.now(), full: !trunc, human };
  const format = settings.format === undefined ? undefined : formatHistory(settings.format, style);
  const image = await operate(context, settings, async ({ library, options }) =>
    library.inspectImage(name, options),
  );
  if (settings.json) await print(context, toJson(inspected(image)["History"]));
  else if (format !== undefined) await print(context, format(image));
  else await print(context, settings.quiet ? historyIds(image, style) : historyTable(image, style));
}

/** Defines `history`. */
export function define(command: Command, context: CliContext): void {
  command
    .description("Show how an image was made, the latest step first.")
    .argument("<image>", "image reference, or the beginning of its id")
    .option("--no-trunc", "whole ids and commands")
    .option("--no-human", "sizes in bytes, dates instead of ages");
  addCommonOptions(command, { format: true, helpFlags: "-h, --help" });
  teach(command, {
    examples: [
      ["flamebox history alpine", "a table"],
      ["flamebox history --no-trunc --format '{{.CreatedBy}}' alpine", "the whole commands"],
    ],
    notes: ["Fields for --format: .ID .CreatedAt .CreatedSince .CreatedBy .Size .Comment."],
  });
  command.action(async (name: string) => history(context, name, command));
}
