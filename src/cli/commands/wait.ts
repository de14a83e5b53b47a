import type { Command } from "commander";
import type { CliContext } from "../context.ts";
import { addCommonOptions } from "../settings.ts";
import { teach } from "./describe.ts";
import { forEachContainer } from "./each.ts";

/** Defines `wait`. */
export function define(command: Command, context: CliContext): void {
  command
    .description("Wait until containers have ended, and print their exit codes.")
    .argument("<container...>", "names or ids");
  addCommonOptions(command, { format: false, helpFlags: "-h, --help" });
  teach(command, { examples: [["flamebox wait build", "prints 0 when it went well"]] });
  command.action(async (names: string[]) => {
    await forEachContainer(context, command, names, async ({ library, options }, name) => {
      return String((await library.waitContainer(name, options)).code);
    });
  });
}
