import type { Command } from "commander";
import { parseRestart } from "../args/lifecycle.ts";
import { parseCpus, parseMemoryMib } from "../args/size.ts";
import type { CliContext } from "../context.ts";
import { UsageError } from "../failure.ts";
import { addCommonOptions } from "../settings.ts";
import { teach } from "./describe.ts";
import { forEachContainer } from "./each.ts";

/** Defines `update`. */
export function define(command: Command, context: CliContext): void {
  command
    .description("Change what containers were made with.")
    .argument("<container...>", "names or ids")
    .option("--restart <policy>", "no, on-failure[:TIMES], always, unless-stopped; at once")
    .option("--cpus <count>", "as run's; from the next start on")
    .option("-m, --memory <size>", "as run's; from the next start on");
  addCommonOptions(command, { format: false, helpFlags: "-h, --help" });
  teach(command, {
    examples: [
      ["flamebox update --restart unless-stopped web", "from now on it is started again"],
      ["flamebox update -m 2g db", "with its next start its machine is larger"],
    ],
    notes: ["CPUs and memory are the machine's, which is made at each start; a running one keeps its size."],
  });
  command.action(async (names: string[]) => {
    const { restart, cpus, memory } = command.opts<{ restart?: string; cpus?: string; memory?: string }>();
    if (restart === undefined && cpus === undefined && memory === undefined)
      throw new UsageError("there is nothing to change", "give --restart, --cpus or --memory");
    const change = {
      ...(restart === undefined ? {} : { restart: parseRestart(restart) }),
      ...(cpus === undefined ? {} : { cpus: parseCpus(cpus) }),
      ...(memory === undefined ? {} : { memoryMib: parseMemoryMib(memory) }),
    };
    await forEachContainer(context, command, names, async ({ library, options }, name) => {
      await library.updateContainer(name, { ...options, ...change });
      return name;
    });
  });
}
