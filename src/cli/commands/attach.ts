import type { Command } from "commander";
import type { CliContext } from "../context.ts";
import { addCommonOptions, settingsOf } from "../settings.ts";
import { teach } from "./describe.ts";

interface AttachFlags {
  /** False with --no-stdin. */
  readonly stdin: boolean;
  readonly detachKeys?: string;
  readonly sigProxy?: boolean;
}

/** Defines `attach`. */
export function define(command: Command, context: CliContext): void {
  command
    .description("Attach to a container that runs: its output from now on, and its input if it takes any.")
    .argument("<container>", "name or id")
    .option("--no-stdin", "its output only")
    .option("--no-sig-proxy", "keep signals from it")
    .option("--detach-keys <keys>", "keys that leave a terminal; default ctrl-p,ctrl-q; '' for none");
  addCommonOptions(command, { format: false, helpFlags: "-h, --help" });
  teach(command, {
    examples: [["flamebox attach shell", "ctrl-p ctrl-q leaves it again"]],
    notes: [
      "Ends with the container's exit code. For another process in it, see flamebox exec; for what it has said already, flamebox logs.",
    ],
  });
  command.action(async (name: string) => {
    const { stdin, detachKeys, sigProxy } = command.opts<AttachFlags>();
    const { attachSession } = await import("../session/attach-session.ts");
    await attachSession(context, settingsOf(command), {
      name,
      interactive: stdin,
      ...(detachKeys === undefined ? {} : { detachKeys }),
      ...(sigProxy === false ? { forwardsSignals: false } : {}),
      open: async (library, options) => library.attachContainer(name, { ...options, stdin }),
    });
  });
}
