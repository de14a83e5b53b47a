import type { Command } from "commander";
import type { CliContext } from "../context.ts";
import { addCommonOptions } from "../settings.ts";
import { teach } from "./describe.ts";
import { forEachContainer } from "./each.ts";
import { addEndOptions, type EndFlags, endOptions } from "./stop.ts";

/** Defines `restart`. */
export function define(command: Command, context: CliContext): void {
  command.description("Stop containers that run, and start them.").argument("<container...>", "names or ids");
  addEndOptions(command);
  addCommonOptions(command, { format: false, helpFlags: "-h, --help" });
  teach(command, { examples: [["flamebox restart web", "as stop and start, in one"]] });
  command.action(async (names: string[]) => {
    const how = endOptions(command.opts<EndFlags>());
    await forEachContainer(context, command, names, async ({ library, options }, name) => {
      await library.restartContainer(name, { ...options, ...how });
      return name;
    });
  });
}
