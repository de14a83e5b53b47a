import type { Command } from "commander";
import type { CliContext } from "../context.ts";
import { addCommonOptions, settingsOf } from "../settings.ts";
import { collect, teach } from "./describe.ts";

interface ImagesFlags {
  readonly all?: boolean;
  readonly digests?: boolean;
  /** False with --no-trunc. */
  readonly trunc: boolean;
  readonly filter?: readonly string[];
}

async function images(context: CliContext, repository: string | undefined, command: Command): Promise<void> {
  const { operate } = await import("./operation.ts");
  const { checkOneStyle, print, toJson } = await import("../output/print.ts");
  const { formatImages, imageTable, newestFirst } = await import("../output/images.ts");
  const settings = settingsOf(command);
  checkOneStyle(settings);
  const flags = command.opts<ImagesFlags>();
  const now = context.clock.now();
  const { trunc, digests = !trunc, filter = [] } = flags;
  const filters = repository === undefined ? filter : [...filter, `reference=${repository}`];
  const format = settings.format === undefined ? undefined : formatImages(settings.format, now, { trunc });
  const list = newestFirst(
    await operate(context, settings, async ({ library, options }) =>
      library.listImages({ ...options, filters }),
    ),
  );
  if (settings.json) await print(context, toJson(list));
  else if (format !== undefined) await print(context, format(list));
  else if (settings.quiet) await print(context, list.map(({ reference }) => `${reference}\n`).join(""));
  else await print(context, imageTable(list, now, { digests }));
}

/** Defines `images`. */
export function define(command: Command, context: CliContext): void {
  command
    .description("List the images that are here.")
    .argument("[repository]", "REPOSITORY[:TAG], or a pattern: only those")
    .option("-a, --all", "taken as Docker takes it; all are shown anyway")
    .option("--digests", "show digests in full")
    .option("-f, --filter <filter>", "NAME=VALUE: only those (repeatable)", collect)
    .option("--no-trunc", "whole digests and ids");
  addCommonOptions(command, { format: true, helpFlags: "-h, --help" });
  teach(command, {
    examples: [
      ["flamebox images", "a table, newest first"],
      ["flamebox images alpine", "all tags of one repository"],
      ["flamebox images --format '{{.Repository}}:{{.Tag}} {{.Size}}'", "what you choose"],
      ["flamebox images --filter reference='*/team/*' --filter label=tier=web", "some of them"],
      ["flamebox rmi $(flamebox images -q)", "-q prints references, one a line"],
    ],
    notes: [
      "Fields for --format: .Repository .Tag .Reference .ID .Digest .Platform .Size .CreatedAt .CreatedSince .PulledAt.",
      "In patterns, * and ? stay within a component, and [a-z] is one of these characters. A repository that is given is one more reference=PATTERN.",
      "Filters: reference=PATTERN, label=KEY[=VALUE], dangling=true (without a name), before=IMAGE, since=IMAGE, until=TIME. Filters of one name are alternatives, labels all count; different names must all be met.",
    ],
  });
  command.action(async (repository: string | undefined) => images(context, repository, command));
}
