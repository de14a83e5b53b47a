import type { Command } from "commander";
import type { CliContext } from "../context.ts";
import { UsageError } from "../failure.ts";
import { addCommonOptions, settingsOf } from "../settings.ts";
import { teach } from "./describe.ts";

async function exportFiles(context: CliContext, name: string, command: Command): Promise<void> {
  const { operate } = await import("./operation.ts");
  const { createWriteStream } = await import("../output/file.ts");
  const { output } = command.opts<{ output?: string }>();
  if (output === undefined && context.stdout.isTTY === true)
    throw new UsageError("an archive is not for a terminal", "write it to a file: -o FILE, or to a pipe");
  await operate(context, settingsOf(command), async ({ library, options }) => {
    if (output === undefined) return await library.exportContainer(name, context.stdout, options);
    const file = await createWriteStream(output);
    try {
      await library.exportContainer(name, file.stream, options);
      await file.keep();
    } finally {
      await file.discard();
    }
  });
}

/** Defines `export`. */
export function define(command: Command, context: CliContext): void {
  command
    .description("Write the files of a container as a tar archive, without its volumes.")
    .argument("<container>", "name or id")
    .option("-o, --output <file>", "default: standard output");
  addCommonOptions(command, { format: false, helpFlags: "-h, --help" });
  teach(command, {
    examples: [["flamebox export -o web.tar web", "all that it sees of its root file system"]],
  });
  command.action(async (name: string) => exportFiles(context, name, command));
}
