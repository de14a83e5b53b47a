import type { Command } from "commander";
import type { CliContext } from "../context.ts";
import { UsageError } from "../failure.ts";
import { addCommonOptions, settingsOf } from "../settings.ts";
import { teach } from "./describe.ts";
import { forEachContainer } from "./each.ts";

interface StartFlags {
  readonly attach?: boolean;
  readonly interactive?: boolean;
  readonly detachKeys?: string;
  readonly sigProxy?: boolean;
}

/** Defines `start`. */
export function define(command: Command, context: CliContext): void {
  command
    .description("Start containers that do not run.")
    .argument("<container...>", "names or ids")
    .option("-a, --attach", "attach to its output, and end with its exit code")
    .option("-i, --interactive", "attach to its input as well")
    .option("--no-sig-proxy", "keep signals from what it is attached to")
    .option("--detach-keys <keys>", "keys that leave a terminal; default ctrl-p,ctrl-q; '' for none");
  addCommonOptions(command, { format: false, helpFlags: "-h, --help" });
  teach(command, {
    examples: [
      ["flamebox start web db", "each in a process of its own"],
      ["flamebox start -ai shell", "back in a container that has a shell"],
    ],
  });
  command.action(async (names: string[]) => {
    const flags = command.opts<StartFlags>();
    if (flags.attach === true || flags.interactive === true) {
      const [name, ...others] = names;
      if (name === undefined || others.length > 0)
        throw new UsageError("one container at a time can be started attached");
      const { attachSession } = await import("../session/attach-session.ts");
      await attachSession(context, settingsOf(command), {
        ...flags,
        forwardsSignals: flags.sigProxy !== false,
        open: async (library, options) =>
          library.startAndAttach(name, { ...options, stdin: flags.interactive ?? false }),
        name,
      });
      return;
    }
    await forEachContainer(context, command, names, async ({ library, options }, name) => {
      await library.startContainer(name, options);
      return name;
    });
  });
}
