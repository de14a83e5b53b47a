/** `kernel ls|build|use|rm`: what machines boot. */
import type { Command } from "commander";
import type { CliContext } from "../context.ts";
import { UsageError } from "../failure.ts";
import type { KernelInfo } from "../library.ts";
import { addCommonOptions, settingsOf } from "../settings.ts";
import { teach } from "./describe.ts";

interface BuildFlags {
  readonly jobs?: string;
  readonly fragment?: string;
  readonly use?: boolean;
}

async function list(context: CliContext, command: Command): Promise<void> {
  const { operate } = await import("./operation.ts");
  const { checkOneStyle, print, toJson } = await import("../output/print.ts");
  const { formatKernels } = await import("../output/kernels.ts");
  const settings = settingsOf(command);
  checkOneStyle(settings);
  const format = formatKernels(settings.format, context.clock.now());
  const kernels = await operate(context, settings, async ({ library, options }) =>
    library.listKernels(options),
  );
  if (settings.json) await print(context, toJson(kernels));
  else if (settings.quiet && settings.format === undefined)
    await print(context, kernels.map(({ name }) => `${name}\n`).join(""));
  else await print(context, format(kernels));
}

async function build(context: CliContext, command: Command): Promise<void> {
  const { operate } = await import("./operation.ts");
  const { print, toJson } = await import("../output/print.ts");
  const settings = settingsOf(command);
  refuseFormat(settings.format);
  const flags = command.opts<BuildFlags>();
  const jobs = flags.jobs === undefined ? undefined : parseJobs(flags.jobs);
  const kernel = await operate(context, settings, async ({ library, options, reporter }) => {
    const built = await library.buildKernel({ ...options, jobs, fragment: flags.fragment });
    if (flags.use === true) return (await library.useKernel(built.name, options)) ?? built;
    if (!built.inUse) reporter.onNotice(`machines boot it after "flamebox kernel use ${built.name}"`);
    return built;
  });
  await print(context, settings.json ? toJson(kernel) : `${kernel.name}\n`);
}

function parseJobs(text: string): number {
  if (/^[1-9][0-9]{0,3}$/.test(text)) return Number(text);
  throw new UsageError(`--jobs takes a number from 1, not '${text}'`);
}

async function use(context: CliContext, name: string, command: Command): Promise<void> {
  const { operate } = await import("./operation.ts");
  const { print, toJson } = await import("../output/print.ts");
  const settings = settingsOf(command);
  refuseFormat(settings.format);
  const kernel = await operate(context, settings, async ({ library, options }) =>
    library.useKernel(name, options),
  );
  if (settings.json) await print(context, toJson(kernel));
  else await print(context, `${kernel?.name ?? name}\n`);
}

async function remove(context: CliContext, names: readonly string[], command: Command): Promise<void> {
  const { operate } = await import("./operation.ts");
  const settings = settingsOf(command);
  refuseFormat(settings.format);
  const removed = await operate(context, settings, async ({ library, options }) =>
    library.removeKernels(names, options),
  );
  await printRemoved(context, command, removed);
}

async function printRemoved(
  context: CliContext,
  command: Command,
  removed: readonly KernelInfo[],
): Promise<void> {
  const { print, toJson } = await import("../output/print.ts");
  const { humanSize } = await import("../output/units.ts");
  const settings = settingsOf(command);
  if (settings.json) return await print(context, toJson(removed));
  const lines = removed.map(({ name }) => (settings.quiet ? name : `Deleted: ${name}`));
  const reclaimed = removed.reduce((sum, { diskBytes }) => sum + diskBytes, 0);
  if (!settings.quiet && reclaimed > 0) lines.push(`Reclaimed: ${humanSize(reclaimed)}`);
  await print(context, lines.map((line) => `${line}\n`).join(""));
}

function refuseFormat(format: string | undefined): void {
  if (format !== undefined) throw new UsageError("--format is only for kernel ls", "use --json");
}

/** Defines `kernel` and the commands below it. */
export function define(command: Command, context: CliContext): void {
  command.description("Manage the kernels that machines boot, and say which one it is.");
  addCommonOptions(command, { format: false, helpFlags: "-h, --help" });
  command.helpCommand(false);
  teach(command, {
    examples: [
      ["flamebox kernel ls", "which are here, and which one is used"],
      ["flamebox kernel build --use", "the tuned kernel: made here, in minutes, and used from then on"],
      ["flamebox kernel use debian", "back to Debian's own"],
    ],
    notes: [
      "docs/kernel.md says which one to choose, and why. run --kernel FILE counts more than what is chosen here.",
    ],
  });
  defineList(command.command("ls"), context);
  defineBuild(command.command("build"), context);
  defineUse(command.command("use"), context);
  defineRemove(command.command("rm"), context);
}

function defineList(command: Command, context: CliContext): void {
  command.summary("list kernels").description("List the kernels that are here, the newest first.");
  addCommonOptions(command, { format: true, helpFlags: "-h, --help" });
  teach(command, {
    examples: [
      ["flamebox kernel ls", "a table"],
      ["flamebox kernel ls --format '{{.Name}} {{.InUse}}'", "what you choose"],
    ],
    notes: [
      "Fields for --format: .Name .Release .Kind .Size .InUse .Path .CreatedAt .CreatedSince.",
      "Kinds: debian is Debian's own cloud kernel, built was made by kernel build, given is a file of run --kernel.",
    ],
  });
  command.action(async () => list(context, command));
}

function defineBuild(command: Command, context: CliContext): void {
  command
    .summary("make the tuned kernel out of Debian's source")
    .description(
      "Make a kernel out of Debian's source package, with what containers need built in and nothing else, and print its name.",
    )
    .option("-j, --jobs <count>", "compilers at once; default: as many as there are CPUs")
    .option("--fragment <file>", "lines as in a kernel's .config, which count more than FlameBox's own")
    .option("--use", "use it from then on");
  addCommonOptions(command, { format: false, helpFlags: "-h, --help" });
  teach(command, {
    examples: [
      ["flamebox kernel build", "takes minutes, and 2.5 GiB of disk while it does"],
      ["flamebox kernel build --fragment wireguard.config", "with lines of your own"],
    ],
    notes: [
      "The same source, lines and compiler make the same kernel: when it is here, that is quick. Updates come by apt: build again after them.",
      "It is an error when a line does not take. Where lines of your own turn something off that others of FlameBox's stand on, those are told.",
    ],
  });
  command.action(async () => build(context, command));
}

function defineUse(command: Command, context: CliContext): void {
  command
    .summary("choose the kernel that machines boot")
    .description("Choose the kernel that machines boot from now on, and print its name.")
    .argument(
      "<kernel>",
      "a name, the beginning of one that no other has, or 'debian': the newest of Debian's",
    );
  addCommonOptions(command, { format: false, helpFlags: "-h, --help" });
  teach(command, {
    examples: [
      ["flamebox kernel use 6.12.117-flamebox", "the one whose name begins so"],
      ["flamebox kernel use debian", "Debian's own, as it is without a choice"],
    ],
    notes: ["The first container of a size makes a template with it, once."],
  });
  command.action(async (name: string) => use(context, name, command));
}

function defineRemove(command: Command, context: CliContext): void {
  command
    .summary("remove kernels")
    .description("Remove kernels, but not the one in use. Machines that were booted from them go on.")
    .argument("<kernel...>", "names, or beginnings that no other name has");
  addCommonOptions(command, { format: false, helpFlags: "-h, --help" });
  teach(command, { examples: [["flamebox kernel rm 6.12.115-flamebox", "the one whose name begins so"]] });
  command.action(async (names: string[]) => remove(context, names, command));
}
