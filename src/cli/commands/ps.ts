import type { Command } from "commander";
import { parseCount } from "../args/size.ts";
import type { CliContext } from "../context.ts";
import { addCommonOptions, settingsOf } from "../settings.ts";
import { collect, teach } from "./describe.ts";

interface PsFlags {
  readonly all?: boolean;
  readonly last?: string;
  readonly latest?: boolean;
  readonly filter?: readonly string[];
  readonly size?: boolean;
  /** False with --no-trunc. */
  readonly trunc: boolean;
}

async function ps(context: CliContext, command: Command): Promise<void> {
  const { operate } = await import("./operation.ts");
  const { checkOneStyle, print, toJson } = await import("../output/print.ts");
  const { formatContainers, wantedBy } = await import("../output/containers.ts");
  const settings = settingsOf(command);
  checkOneStyle(settings);
  const { all = false, last, latest = false, filter, size = false, trunc } = command.opts<PsFlags>();
  const count = latest ? 1 : last === undefined ? undefined : parseCount(last, "--last", 1);
  const format = formatContainers(settings.format, {
    nowMs: context.clock.now(),
    whole: !trunc,
    sizes: size,
  });
  const wants = wantedBy(settings.format);
  const sizes = size || wants.sizes;
  const surroundings = settings.json || wants.surroundings;
  const asked = { all: all || count !== undefined, filters: filter, sizes, surroundings };
  const found = await operate(context, settings, async ({ library, options }) =>
    library.listContainers({ ...options, ...asked }),
  );
  const wanted = found.slice(0, count);
  if (settings.json) await print(context, toJson(wanted));
  else if (settings.quiet && settings.format === undefined)
    await print(context, wanted.map(({ id }) => `${trunc ? id.slice(0, 12) : id}\n`).join(""));
  else await print(context, format(wanted));
}

/** Defines `ps`. */
export function define(command: Command, context: CliContext): void {
  command
    .description("List containers: those that run, newest first.")
    .option("-a, --all", "those that do not run as well")
    .option("-n, --last <count>", "the last ones that were made, whether they run or not")
    .option("-l, --latest", "the last one that was made")
    .option("-f, --filter <filter>", "KEY=VALUE, as in status=exited or label=app (repeatable)", collect)
    .option("-s, --size", "what each takes on disk, and with its image")
    .option("--no-trunc", "whole ids, commands and mounts");
  addCommonOptions(command, { format: true, helpFlags: "-h, --help" });
  teach(command, {
    examples: [
      ["flamebox ps", "a table"],
      ["flamebox ps -a --filter status=exited", "those that have ended"],
      ["flamebox ps --format '{{.Names}} {{.Status}}'", "what you choose"],
      ["flamebox ps -as --filter volume=/srv/data", "what takes how much, of those that have a folder"],
      ["flamebox rm $(flamebox ps -aq --filter exited=0)", "-q prints ids, one a line"],
    ],
    notes: [
      'Filters: id, name, status, health, exited, ancestor, label, network, publish, expose, volume, before, since. Fields for --format: .ID .Image .Command .CreatedAt .RunningFor .Status .State .Ports .Names .Labels .Networks .ExitCode .Health .Size .Mounts .LocalVolumes, and .Label "KEY".',
    ],
  });
  command.action(async () => ps(context, command));
}
