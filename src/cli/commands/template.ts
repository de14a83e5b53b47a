/** `template ls|build|rm|prune`: the saved machines that containers start from. */
import { type Command, Option } from "commander";
import type { CliContext } from "../context.ts";
import { UsageError } from "../failure.ts";
import type { TemplateInfo } from "../library.ts";
import { addCommonOptions, settingsOf } from "../settings.ts";
import { teach } from "./describe.ts";

interface BuildFlags {
  readonly cpus?: string;
  readonly memory?: string;
  readonly network?: "user" | "none";
  readonly vmm?: "firecracker" | "qemu";
}

async function list(context: CliContext, command: Command): Promise<void> {
  const { operate } = await import("./operation.ts");
  const { checkOneStyle, print, toJson } = await import("../output/print.ts");
  const { formatTemplates } = await import("../output/templates.ts");
  const settings = settingsOf(command);
  checkOneStyle(settings);
  const format = formatTemplates(settings.format, context.clock.now());
  const templates = await operate(context, settings, async ({ library, options }) =>
    library.listTemplates(options),
  );
  if (settings.json) await print(context, toJson(templates));
  else if (settings.quiet && settings.format === undefined)
    await print(context, templates.map(({ key }) => `${key}\n`).join(""));
  else await print(context, format(templates));
}

async function build(context: CliContext, command: Command): Promise<void> {
  const { operate } = await import("./operation.ts");
  const { print, toJson } = await import("../output/print.ts");
  const { parseCpus, parseMemoryMib } = await import("../args/size.ts");
  const settings = settingsOf(command);
  refuseFormat(settings.format);
  const { cpus, memory, network, vmm } = command.opts<BuildFlags>();
  const shape = {
    cpus: cpus === undefined ? undefined : parseCpus(cpus),
    memoryMib: memory === undefined ? undefined : parseMemoryMib(memory),
    network,
    vmm,
  };
  const template = await operate(context, settings, async ({ library, options }) =>
    library.buildTemplate({ ...options, ...shape }),
  );
  await print(context, settings.json ? toJson(template) : `${template.key}\n`);
}

async function remove(context: CliContext, keys: readonly string[], command: Command): Promise<void> {
  const { operate } = await import("./operation.ts");
  const settings = settingsOf(command);
  refuseFormat(settings.format);
  const removed = await operate(context, settings, async ({ library, options }) =>
    library.removeTemplates(keys, options),
  );
  await printRemoved(context, command, removed);
}

async function prune(context: CliContext, command: Command): Promise<void> {
  const { operate } = await import("./operation.ts");
  const settings = settingsOf(command);
  refuseFormat(settings.format);
  const removed = await operate(context, settings, async ({ library, options }) =>
    library.pruneTemplates(options),
  );
  await printRemoved(context, command, removed);
}

async function printRemoved(
  context: CliContext,
  command: Command,
  removed: readonly TemplateInfo[],
): Promise<void> {
  const { print, toJson } = await import("../output/print.ts");
  const { humanSize } = await import("../output/units.ts");
  const settings = settingsOf(command);
  if (settings.json) return await print(context, toJson(removed));
  const lines = removed.map(({ key }) => (settings.quiet ? key : `Deleted: ${key}`));
  const reclaimed = removed.reduce((sum, { diskBytes }) => sum + diskBytes, 0);
  if (!settings.quiet && reclaimed > 0) lines.push(`Reclaimed: ${humanSize(reclaimed)}`);
  await print(context, lines.map((line) => `${line}\n`).join(""));
}

function refuseFormat(format: string | undefined): void {
  if (format !== undefined) throw new UsageError("--format is only for template ls", "use --json");
}

/** Defines `template` and the commands below it. */
export function define(command: Command, context: CliContext): void {
  command.description(
    "Manage templates: machines that were saved when they had booted, which containers start from.",
  );
  addCommonOptions(command, { format: false, helpFlags: "-h, --help" });
  command.helpCommand(false);
  teach(command, {
    examples: [["flamebox template ls", "which are here, and what they take"]],
    notes: [
      "A template belongs to a size of machine, a kernel, an agent and a VMM. The first container of a size makes one; at most eight are kept, those that were used last. Nothing of an image or a container is in it.",
    ],
  });
  defineList(command.command("ls"), context);
  defineBuild(command.command("build"), context);
  defineRemove(command.command("rm"), context);
  definePrune(command.command("prune"), context);
}

function defineList(command: Command, context: CliContext): void {
  command.summary("list templates").description("List the templates that are here, used last first.");
  addCommonOptions(command, { format: true, helpFlags: "-h, --help" });
  teach(command, {
    examples: [
      ["flamebox template ls", "a table"],
      ["flamebox template ls --format '{{.Key}} {{.Memory}} {{.Size}}'", "what you choose"],
      ["flamebox template rm $(flamebox template ls -q)", "-q prints keys, one a line"],
    ],
    notes: [
      "Fields for --format: .Key .CPUs .Memory .Network .Size .Description .CreatedAt .CreatedSince .LastUsedAt .LastUsedSince.",
      "Memory is the machine's, which is more than its container's. Size is what the files take on disk; they have holes.",
    ],
  });
  command.action(async () => list(context, command));
}

function defineBuild(command: Command, context: CliContext): void {
  command
    .summary("make a template ahead of its first use")
    .description("Make the template for containers of a size, unless it is here, and print its key.")
    .option("--cpus <count>", "as run's: CPUs, as in 2 or 0.5; default 1")
    .option("-m, --memory <size>", "as run's: memory of the container, as in 512m or 2g")
    .addOption(
      new Option("--network <mode>", "as run's: none is a machine without a network interface").choices([
        "user",
        "none",
      ]),
    )
    .addOption(
      new Option("--vmm <name>", "as run's: what runs the machine").choices(["firecracker", "qemu"]),
    );
  addCommonOptions(command, { format: false, helpFlags: "-h, --help" });
  teach(command, {
    examples: [
      ["flamebox template build", "the default size; setup does this, too"],
      ["flamebox template build --cpus 2 -m 1g", "for flamebox run --cpus 2 -m 1g"],
    ],
  });
  command.action(async () => build(context, command));
}

function defineRemove(command: Command, context: CliContext): void {
  command
    .summary("remove templates")
    .description("Remove templates. Containers that were started from them go on.")
    .argument("<key...>", "keys, or beginnings that no other key has");
  addCommonOptions(command, { format: false, helpFlags: "-h, --help" });
  teach(command, { examples: [["flamebox template rm 4884", "the one whose key begins so"]] });
  command.action(async (keys: string[]) => remove(context, keys, command));
}

function definePrune(command: Command, context: CliContext): void {
  command
    .summary("remove templates that no start would use")
    .description(
      "Remove templates that were made from another kernel, agent or VMM than is installed now, and what killed processes left.",
    );
  addCommonOptions(command, { format: false, helpFlags: "-h, --help" });
  teach(command, {
    examples: [["flamebox template prune", "after an update"]],
    notes: ["Templates for run --kernel are removed as well; its next start makes another."],
  });
  command.action(async () => prune(context, command));
}
