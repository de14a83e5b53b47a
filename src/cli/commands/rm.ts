import type { Command } from "commander";
import type { CliContext } from "../context.ts";
import { addCommonOptions } from "../settings.ts";
import { teach } from "./describe.ts";
import { forEachContainer } from "./each.ts";

/** Defines `rm`. */
export function define(command: Command, context: CliContext): void {
  command
    .description("Remove containers, with their files and logs.")
    .argument("<container...>", "names or ids")
    .option("-f, --force", "end those that run first; one that is not here is no error")
    .option("-v, --volumes", "their volumes as well; always so, accepted for Docker's sake");
  addCommonOptions(command, { format: false, helpFlags: "-h, --help" });
  teach(command, {
    examples: [
      ["flamebox rm web", "one that has ended"],
      ["flamebox rm -f $(flamebox ps -aq)", "every one, whatever it is doing"],
    ],
  });
  command.action(async (names: string[]) => {
    const { force = false } = command.opts<{ force?: boolean }>();
    await forEachContainer(context, command, names, async ({ library, options }, name) => {
      try {
        await library.removeContainer(name, { ...options, force });
      } catch (error) {
        const isGone = error instanceof Error && Reflect.get(error, "code") === "container-not-found";
        if (!force || !isGone) throw error;
        return undefined;
      }
      return name;
    });
  });
}
