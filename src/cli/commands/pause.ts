import type { Command } from "commander";
import type { CliContext } from "../context.ts";
import { addCommonOptions } from "../settings.ts";
import { teach } from "./describe.ts";
import { forEachContainer } from "./each.ts";

/** Defines `pause`. */
export function define(command: Command, context: CliContext): void {
  command
    .description("Halt containers: their machines, with all that is in them.")
    .argument("<container...>", "names or ids");
  addCommonOptions(command, { format: false, helpFlags: "-h, --help" });
  teach(command, { examples: [["flamebox pause web", "until flamebox unpause web"]] });
  command.action(async (names: string[]) => {
    await forEachContainer(context, command, names, async ({ library, options }, name) => {
      await library.pauseContainer(name, options);
      return name;
    });
  });
}
