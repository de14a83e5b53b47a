import { resolve } from "node:path";
import type { Command } from "commander";
import { type PullFlags, pullOptionsFrom } from "../args/access.ts";
import type { CliContext } from "../context.ts";
import { UsageError } from "../failure.ts";
import { addCommonOptions, settingsOf } from "../settings.ts";
import { teach } from "./describe.ts";

interface RootfsFlags extends PullFlags {
  readonly output: string;
  readonly force?: boolean;
}

async function rootfs(context: CliContext, reference: string, command: Command): Promise<void> {
  const { operate } = await import("./operation.ts");
  const { print, toJson } = await import("../output/print.ts");
  const { humanSize } = await import("../output/units.ts");
  const settings = settingsOf(command);
  if (settings.format !== undefined) throw new UsageError("--format is of no use to rootfs");
  const { output, force = false, ...flags } = command.opts<RootfsFlags>();
  if (output === "") throw new UsageError("--output has no file name");
  const access = pullOptionsFrom(flags, context.env);
  const file = await operate(context, settings, async ({ library, options }) =>
    library.writeRootfs(reference, resolve(output), { ...access, ...options, force }),
  );
  if (settings.json) await print(context, toJson(file));
  else if (settings.quiet) await print(context, `${file.path}\n`);
  else await print(context, `${file.path} ${humanSize(file.sizeBytes)}\n`);
}

/** Defines `rootfs`. */
export function define(command: Command, context: CliContext): void {
  command
    .description("Write an image's root file system to a file, as one read-only EROFS image.")
    .argument("<image>", "image reference")
    .requiredOption("-o, --output <file>", "where to write it")
    .option("--force", "replace the file if it is there")
    .option("--platform <platform>", "os/architecture[/variant]; default: the host's")
    .option("--insecure", "allow http and unverified TLS for the registry");
  addCommonOptions(command, { format: false, helpFlags: "-h, --help" });
  teach(command, {
    examples: [
      ["flamebox rootfs alpine -o alpine.erofs", "pulls it if it is not here"],
      ["flamebox rootfs alpine -o /tmp/a.erofs && fsck.erofs /tmp/a.erofs", "for other tools, as it is"],
    ],
  });
  command.action(async (reference: string) => rootfs(context, reference, command));
}
