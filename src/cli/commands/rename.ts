import type { Command } from "commander";
import type { CliContext } from "../context.ts";
import { addCommonOptions, settingsOf } from "../settings.ts";
import { teach } from "./describe.ts";

async function rename(context: CliContext, name: string, to: string, command: Command): Promise<void> {
  const { operate } = await import("./operation.ts");
  await operate(context, settingsOf(command), async ({ library, options }) =>
    library.renameContainer(name, to, options),
  );
}

/** Defines `rename`. */
export function define(command: Command, context: CliContext): void {
  command
    .description("Give a container another name, whether it runs or not.")
    .argument("<container>", "name or id")
    .argument("<name>", "its name from now on");
  addCommonOptions(command, { format: false, helpFlags: "-h, --help" });
  teach(command, { examples: [["flamebox rename quiet_ember web", "a name that says what it is"]] });
  command.action(async (name: string, to: string) => rename(context, name, to, command));
}
