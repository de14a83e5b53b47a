import { type Command, Option } from "commander";
import type { CliContext } from "../context.ts";
import { UsageError } from "../failure.ts";
import { addCommonOptions, settingsOf } from "../settings.ts";
import { teach } from "./describe.ts";

interface SetupFlags {
  readonly kernelPackage?: string;
  readonly force?: boolean;
  readonly firecracker?: boolean;
  readonly vmm?: "firecracker" | "qemu";
}

async function setup(context: CliContext, command: Command): Promise<void> {
  const { operate } = await import("./operation.ts");
  const { print, toJson } = await import("../output/print.ts");
  const { renderTable } = await import("../output/table.ts");
  const { humanSize } = await import("../output/units.ts");
  const settings = settingsOf(command);
  if (settings.format !== undefined) throw new UsageError("--format is of no use to setup", "use --json");
  const { firecracker: withFirecracker = false, ...flags } = command.opts<SetupFlags>();
  const done = await operate(context, settings, async ({ library, options }) =>
    library.setup({ ...flags, withFirecracker, ...options }),
  );
  if (settings.json) await print(context, toJson(done));
  else if (!settings.quiet) {
    const { kernel, agent, initramfs, firecracker, template } = done;
    const rows = [
      ["kernel", `${kernel.release}  ${kernel.path}`],
      ["agent", agent.path],
      ["initramfs", initramfs.path],
      ...(firecracker === null ? [] : [["firecracker", `${firecracker.version}  ${firecracker.path}`]]),
      ...(template === null ? [] : [["template", `${template.key}  ${humanSize(template.diskBytes)}`]]),
    ];
    await print(context, renderTable(rows));
  }
}

/** Defines `setup`. */
export function define(command: Command, context: CliContext): void {
  command
    .description(
      "Put in place what every machine needs: the kernel, the guest's agent, and a template of the default size.",
    )
    .option(
      "--kernel-package <name>",
      "the Debian package to take the kernel from; default: the 6.12 cloud kernel",
    )
    .option(
      "--firecracker",
      "fetch Firecracker's release 1.16.1, too: with its jailer, checked by its digest",
    )
    .option("--force", "fetch and build again what is there already")
    .addOption(
      new Option("--vmm <name>", "as run's: what the template is for").choices(["firecracker", "qemu"]),
    );
  addCommonOptions(command, { format: false, helpFlags: "-h, --help" });
  teach(command, {
    examples: [
      ["flamebox setup", "once; quick when everything is there"],
      ["flamebox setup --firecracker", "machines run in Firecracker then, where KVM is usable"],
      ["flamebox setup --force", "again, after an update"],
    ],
  });
  command.action(async () => setup(context, command));
}
