/** `system df|prune|check`: all that FlameBox has on this host. */
import type { Command } from "commander";
import type { CliContext } from "../context.ts";
import { AlreadyReported } from "../failure.ts";
import { addCommonOptions, settingsOf } from "../settings.ts";
import { teach } from "./describe.ts";
import { askFirst, printRemoved, removedLines, type PruneFlags } from "./prune.ts";

async function usage(context: CliContext, command: Command): Promise<void> {
  const { operate } = await import("./operation.ts");
  const { checkOneStyle, print, toJson } = await import("../output/print.ts");
  const { formatUsage, usageRows } = await import("../output/disk-usage.ts");
  const settings = settingsOf(command);
  checkOneStyle(settings);
  const format = formatUsage(settings.format);
  const rows = await operate(context, settings, async ({ library, options }) =>
    usageRows({
      images: await library.imageUsage(options),
      containers: await library.containerUsage(options),
      templates: await library.listTemplates(options),
    }),
  );
  await print(context, settings.json ? toJson(rows) : format(rows));
}

async function prune(context: CliContext, command: Command): Promise<void> {
  const { operate } = await import("./operation.ts");
  const { refuseFormat } = await import("../output/images.ts");
  const settings = settingsOf(command);
  refuseFormat(settings, "system prune");
  const flags = command.opts<PruneFlags>();
  const all = flags.all ?? false;
  const images = all ? "every image that nothing uses" : "images without a name";
  const what = `containers that do not run, networks that nobody is in, ${images}, and templates that no start would use`;
  await askFirst(context, flags, what);
  // Containers first: networks and images are theirs.
  const removed = await operate(context, settings, async ({ library, options }) => ({
    containers: await library.pruneContainers(options),
    networks: await library.pruneNetworks(options),
    images: await library.pruneImages({ ...options, all }),
    templates: await library.pruneTemplates(options),
  }));
  const { untagged, deleted } = removed.images;
  const networks = removed.networks.map(({ name }) => name);
  const lines = [
    ...removedLines("Deleted Containers", removed.containers.deleted, settings.quiet),
    ...removedLines("Deleted Networks", networks, settings.quiet),
    ...untagged.map((name) => `Untagged: ${name}`),
    ...deleted.map((name) => `Deleted: ${name}`),
    ...removed.templates.map(({ key }) => `Deleted: template ${key}`),
  ];
  const templateBytes = removed.templates.reduce((sum, { diskBytes }) => sum + diskBytes, 0);
  const reclaimedBytes = removed.containers.reclaimedBytes + removed.images.reclaimedBytes + templateBytes;
  await printRemoved(context, { lines, reclaimedBytes }, removed, command);
}

async function check(context: CliContext, command: Command): Promise<void> {
  const { operate } = await import("./operation.ts");
  const { refuseFormat } = await import("../output/images.ts");
  const { print, toJson } = await import("../output/print.ts");
  const { printable } = await import("../output/text.ts");
  const settings = settingsOf(command);
  refuseFormat(settings, "system check");
  const { quick = false, repair = false } = command.opts<{ quick?: boolean; repair?: boolean }>();
  const problems = await operate(context, settings, async ({ library, options }) =>
    library.checkImages({ ...options, quick, repair }),
  );
  if (settings.json) await print(context, toJson(problems));
  else if (problems.length === 0) await print(context, settings.quiet ? "" : "Everything is sound.\n");
  else
    await print(
      context,
      problems
        .map(({ kind, path, message }) => {
          const said = repair && kind === "damaged" ? "damaged, removed" : kind;
          return `${said}: ${printable(`${path}: ${message}`)}\n`;
        })
        .join(""),
    );
  if (problems.some(({ kind }) => kind === "damaged" || kind === "missing")) throw new AlreadyReported();
}

/** Defines `system` and the commands below it. */
export function define(command: Command, context: CliContext): void {
  command.description("Look after all that FlameBox has on this host.");
  addCommonOptions(command, { format: false, helpFlags: "-h, --help" });
  command.helpCommand(false);
  teach(command, { examples: [["flamebox system df", "what it takes on disk"]] });
  defineUsage(command.command("df"), context);
  definePrune(command.command("prune"), context);
  defineCheck(command.command("check"), context);
}

function defineUsage(command: Command, context: CliContext): void {
  command
    .summary("show what is taken on disk")
    .description("Show what images, containers and templates take on disk.");
  addCommonOptions(command, { format: true, helpFlags: "-h, --help" });
  teach(command, {
    examples: [
      ["flamebox system df", "a table"],
      ["flamebox system df --format '{{.Type}} {{.Size}}'", "what you choose"],
    ],
    notes: [
      "Fields for --format: .Type .TotalCount .Active .Size .Reclaimable. Active images are used by a running machine, active containers run. The size of containers is that of their writable disks and logs, as far as they take room on the disk. Reclaimable is what system prune --all would free.",
    ],
  });
  command.action(async () => usage(context, command));
}

function definePrune(command: Command, context: CliContext): void {
  command
    .summary("remove what nothing uses")
    .description(
      "Remove containers that do not run, networks that nobody is in, images without a name, templates that no start would use, and what killed processes left.",
    )
    .option("-a, --all", "also images with a name that nothing uses")
    .option("-f, --force", "do not ask");
  addCommonOptions(command, { format: false, helpFlags: "-h, --help" });
  teach(command, { examples: [["flamebox system prune -f", "from time to time"]] });
  command.action(async () => prune(context, command));
}

function defineCheck(command: Command, context: CliContext): void {
  command
    .summary("look for damage")
    .description(
      "Read all that is here of images and say what is wrong: documents against their digests, layers against their diff IDs. Nothing is changed without --repair.",
    )
    .option("--quick", "do not read the layers' data")
    .option("--repair", "remove what is damaged, so that the next pull fetches it again");
  addCommonOptions(command, { format: false, helpFlags: "-h, --help" });
  teach(command, {
    examples: [["flamebox system check", "after a disk has failed"]],
    notes: [
      "The exit code is 1 when something is damaged or missing; with --repair, pulling the image again then fetches that and nothing else. A leftover is no damage: the next prune takes it.",
    ],
  });
  command.action(async () => check(context, command));
}
