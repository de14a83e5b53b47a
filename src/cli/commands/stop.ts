import type { Command } from "commander";
import { parseEndTimeout } from "../args/lifecycle.ts";
import type { CliContext } from "../context.ts";
import { addCommonOptions } from "../settings.ts";
import { teach } from "./describe.ts";
import { forEachContainer } from "./each.ts";

export interface EndFlags {
  readonly time?: string;
  readonly timeout?: string;
  readonly signal?: string;
}

/** Docker has had two names for the time. */
export function endOptions({ time, timeout, signal }: EndFlags) {
  const text = timeout ?? time;
  return {
    ...(text === undefined ? {} : { timeoutMs: parseEndTimeout(text, "--timeout") }),
    ...(signal === undefined ? {} : { stopSignal: signal }),
  };
}

/** Of `stop` and `restart`. */
export function addEndOptions(command: Command): void {
  command
    .option("-t, --timeout <seconds>", "how long it may take before it is killed; -1 for ever")
    .option("--time <seconds>", "as --timeout")
    .option("-s, --signal <signal>", "what asks it to end; default: the container's stop signal");
}

/** Defines `stop`. */
export function define(command: Command, context: CliContext): void {
  command
    .description("Ask containers to end, and kill those that have not in time.")
    .argument("<container...>", "names or ids");
  addEndOptions(command);
  addCommonOptions(command, { format: false, helpFlags: "-h, --help" });
  teach(command, {
    examples: [
      ["flamebox stop web", "SIGTERM, and after ten seconds SIGKILL"],
      ["flamebox stop -t 60 db", "a minute to write everything down"],
    ],
    notes: [
      "A container that was stopped is not started again by its restart policy; after a boot, start --after-boot starts it with " +
        "--restart always only.",
    ],
  });
  command.action(async (names: string[]) => {
    const how = endOptions(command.opts<EndFlags>());
    await forEachContainer(context, command, names, async ({ library, options }, name) => {
      await library.stopContainer(name, { ...options, ...how });
      return name;
    });
  });
}
