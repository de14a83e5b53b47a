import type { Command } from "commander";
import type { CliContext } from "../context.ts";
import { AlreadyReported, describeFailure, Interrupted, renderFailure, UsageError } from "../failure.ts";
import type { RemovedImage } from "../library.ts";
import { addCommonOptions, settingsOf } from "../settings.ts";
import { teach } from "./describe.ts";

function describe(removed: readonly RemovedImage[], humanSize: (sizeBytes: number) => string): string {
  const lines = removed.flatMap(({ untagged, deleted }) => [
    ...untagged.map((reference) => `Untagged: ${reference}`),
    ...deleted.map((digest) => `Deleted: ${digest}`),
  ]);
  const reclaimed = removed.reduce((sum, { reclaimedBytes }) => sum + reclaimedBytes, 0);
  if (reclaimed > 0) lines.push(`Reclaimed: ${humanSize(reclaimed)}`);
  return lines.map((line) => `${line}\n`).join("");
}

/** Each image by itself: one that cannot be removed does not keep the others. */
async function rmi(context: CliContext, references: readonly string[], command: Command): Promise<void> {
  const { operate } = await import("./operation.ts");
  const { print, toJson } = await import("../output/print.ts");
  const { humanSize } = await import("../output/units.ts");
  const settings = settingsOf(command);
  if (settings.format !== undefined) throw new UsageError("--format is of no use to rmi");
  const { force = false } = command.opts<{ force?: boolean }>();
  const removed: RemovedImage[] = [];
  let failed = false;
  await operate(context, settings, async ({ library, options }) => {
    for (const reference of references) {
      try {
        removed.push(await library.removeImage(reference, { ...options, force }));
      } catch (error) {
        if (error instanceof Interrupted || options.signal?.aborted === true) throw error;
        const failure = describeFailure(error, "rmi");
        if (force && failure.code === "image-not-found") continue;
        failed = true;
        context.stderr.write(
          renderFailure(failure, error, { json: settings.json, debug: settings.logLevel === "debug" }),
        );
      }
    }
  });
  if (settings.json) await print(context, toJson(removed));
  else if (!settings.quiet) await print(context, describe(removed, humanSize));
  if (failed) throw new AlreadyReported();
}

/** Defines `rmi`. */
export function define(command: Command, context: CliContext): void {
  command
    .description("Remove images, and the layers that no other image needs.")
    .argument("<image...>", "image references, or ids")
    .option(
      "-f, --force",
      "also one that a container was made of, and all names of one that has several; one that is not here is no error",
    );
  addCommonOptions(command, { format: false, helpFlags: "-h, --help" });
  teach(command, {
    examples: [
      ["flamebox rmi alpine debian:12", "two images"],
      ["flamebox rmi -f alpine", "in a script that may run twice"],
    ],
    notes: [
      "A name removes that name, an id all names of the image; where it has several, only with --force.",
    ],
  });
  command.action(async (references: string[]) => rmi(context, references, command));
}
