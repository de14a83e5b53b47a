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
  readonly afterBoot?: boolean;
  readonly sigProxy?: boolean;
}

/** A host that boots has other things to do, too. */
const AT_ONCE_AFTER_BOOT = 4;

/** Those that their restart policy wants to run, and that nobody runs. */
async function startAfterBoot(context: CliContext, command: Command): Promise<void> {
  await forEachContainer(
    context,
    command,
    async ({ library, options }) => (await library.containersToStart(options)).map(({ name }) => name),
    async ({ library, options }, name) => {
      try {
        await library.startContainer(name, options);
        return name;
      } catch (error) {
        // Somebody else was quicker.
        if (error instanceof library.FlameBoxError && error.code === "container-running") return undefined;
        throw error;
      }
    },
    AT_ONCE_AFTER_BOOT,
  );
}

/** Defines `start`. */
export function define(command: Command, context: CliContext): void {
  command
    .description("Start containers that do not run.")
    .argument("[container...]", "names or ids")
    .option("-a, --attach", "attach to its output, and end with its exit code")
    .option("-i, --interactive", "attach to its input as well")
    .option("--after-boot", "those whose restart policy wants them to run, instead of names")
    .option("--no-sig-proxy", "keep signals from what it is attached to")
    .option("--detach-keys <keys>", "keys that leave a terminal; default ctrl-p,ctrl-q; '' for none");
  addCommonOptions(command, { format: false, helpFlags: "-h, --help" });
  teach(command, {
    examples: [
      ["flamebox start web db", "each in a process of its own"],
      ["flamebox start -ai shell", "back in a container that has a shell"],
      ["flamebox start --after-boot", "what ran when the host went down, as policies have it"],
    ],
    notes: [
      "--after-boot starts containers that nobody runs and that have run before: with --restart always in any case, with " +
        "unless-stopped unless a user has stopped it, with on-failure unless it ended with 0 or was stopped. " +
        "docs/boot.md has a systemd unit that does so.",
    ],
  });
  command.action(async (names: string[]) => {
    const flags = command.opts<StartFlags>();
    const isAttached = flags.attach === true || flags.interactive === true;
    if (flags.afterBoot === true) {
      if (names.length > 0 || isAttached)
        throw new UsageError(
          "--after-boot takes neither names nor -a and -i",
          "it finds the containers itself",
        );
      return await startAfterBoot(context, command);
    }
    if (names.length === 0) throw new UsageError("start needs a container", "name one, or use --after-boot");
    if (isAttached) {
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
