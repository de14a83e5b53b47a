import type { Command } from "commander";
import type { CliContext } from "../context.ts";
import { addCommonOptions, settingsOf } from "../settings.ts";
import { teach } from "./describe.ts";

async function images(context: CliContext, command: Command): Promise<void> {
  const { operate } = await import("./operation.ts");
  const { checkOneStyle, print, toJson } = await import("../output/print.ts");
  const { formatImages, imageTable, newestFirst } = await import("../output/images.ts");
  const settings = settingsOf(command);
  checkOneStyle(settings);
  const now = context.clock.now();
  const format = settings.format === undefined ? undefined : formatImages(settings.format, now);
  const list = newestFirst(
    await operate(context, settings, async ({ library, options }) => library.listImages(options)),
  );
  if (settings.json) await print(context, toJson(list));
  else if (format !== undefined) await print(context, format(list));
  else if (settings.quiet) await print(context, list.map(({ reference }) => `${reference}\n`).join(""));
  else
    await print(
      context,
      imageTable(list, now, { digests: command.opts<{ digests?: boolean }>().digests ?? false }),
    );
}

/** Defines `images`. */
export function define(command: Command, context: CliContext): void {
  command.description("List the images that are here.").option("--digests", "show digests in full");
  addCommonOptions(command, { format: true, helpFlags: "-h, --help" });
  teach(command, {
    examples: [
      ["flamebox images", "a table, newest first"],
      ["flamebox images --format '{{.Repository}}:{{.Tag}} {{.Size}}'", "what you choose"],
      ["flamebox rmi $(flamebox images -q)", "-q prints references, one a line"],
    ],
    notes: [
      "Fields for --format: .Repository .Tag .Reference .ID .Digest .Platform .Size .CreatedAt .CreatedSince .PulledAt.",
    ],
  });
  command.action(async () => images(context, command));
}
