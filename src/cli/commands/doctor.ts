import type { Command } from "commander";
import type { CliContext } from "../context.ts";
import { EXIT, UsageError } from "../failure.ts";
import { addCommonOptions, settingsOf } from "../settings.ts";
import { teach } from "./describe.ts";

async function doctor(context: CliContext, command: Command): Promise<void> {
  const { operate } = await import("./operation.ts");
  const { print, toJson } = await import("../output/print.ts");
  const { reportText } = await import("../output/report.ts");
  const settings = settingsOf(command);
  if (settings.format !== undefined) throw new UsageError("--format is of no use to doctor", "use --json");
  const report = await operate(context, settings, async ({ library, options }) =>
    library.diagnose({ ...options, ...command.opts<{ production?: boolean }>() }),
  );
  if (settings.json) await print(context, toJson(report));
  else if (!settings.quiet) await print(context, reportText(report, { colours: coloursOnStdout(context) }));
  if (!report.ready) context.outcome.exitCode = EXIT.failure;
}

function coloursOnStdout({ stdout, env }: CliContext): boolean {
  return stdout.isTTY === true && env["TERM"] !== "dumb" && !env["NO_COLOR"];
}

/** Defines `doctor`. */
export function define(command: Command, context: CliContext): void {
  command
    .description("Say what this host can do, what is missing, and how to get it.")
    .option("--production", "check what Firecracker recommends for hosts of several tenants, too");
  addCommonOptions(command, { format: false, helpFlags: "-h, --help" });
  teach(command, {
    examples: [
      ["flamebox doctor", "KVM, VMM, kernel, guest, network, disk"],
      ["flamebox doctor --production", "and SMT, KSM, swap, mitigations, cgroups, limits"],
      [
        "flamebox doctor -q && flamebox run alpine true",
        "only the exit code: 0 when containers can run, else 1",
      ],
    ],
  });
  command.action(async () => doctor(context, command));
}
