import type { Command } from "commander";
import { parseSignalFlag } from "../args/signal.ts";
import type { CliContext } from "../context.ts";
import { addCommonOptions } from "../settings.ts";
import { teach } from "./describe.ts";
import { forEachContainer } from "./each.ts";

/** Defines `kill`. */
export function define(command: Command, context: CliContext): void {
  command
    .description("Send a signal to the first process of containers.")
    .argument("<container...>", "names or ids")
    .option("-s, --signal <signal>", "SIGKILL unless another is named: HUP, SIGUSR1, 15");
  addCommonOptions(command, { format: false, helpFlags: "-h, --help" });
  teach(command, {
    examples: [
      ["flamebox kill web", "ends it at once"],
      ["flamebox kill -s HUP web", "as many servers read their configuration again"],
    ],
  });
  command.action(async (names: string[]) => {
    const { signal = "KILL" } = command.opts<{ signal?: string }>();
    const number = parseSignalFlag(signal, "--signal");
    await forEachContainer(context, command, names, async ({ library, options }, name) => {
      await library.killContainer(name, number, options);
      return name;
    });
  });
}
