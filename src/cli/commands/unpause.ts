import type { Command } from "commander";
import type { CliContext } from "../context.ts";
import { addCommonOptions } from "../settings.ts";
import { teach } from "./describe.ts";
import { forEachContainer } from "./each.ts";

/** Defines `unpause`. */
export function define(command: Command, context: CliContext): void {
  command.description("Let containers go on that were halted.").argument("<container...>", "names or ids");
  addCommonOptions(command, { format: false, helpFlags: "-h, --help" });
  teach(command, { examples: [["flamebox unpause web", "as if no time had passed"]] });
  command.action(async (names: string[]) => {
    await forEachContainer(context, command, names, async ({ library, options }, name) => {
      await library.unpauseContainer(name, options);
      return name;
    });
  });
}
