import type { Command } from "commander";
import type { CliContext } from "../context.ts";
import { addCommonOptions, settingsOf } from "../settings.ts";
import { collect, teach } from "./describe.ts";

interface CommitFlags {
  readonly author?: string;
  readonly change?: readonly string[];
  readonly message?: string;
}

async function commit(
  context: CliContext,
  name: string,
  reference: string | undefined,
  command: Command,
): Promise<void> {
  const { operate } = await import("./operation.ts");
  const { print, toJson } = await import("../output/print.ts");
  const settings = settingsOf(command);
  const { author, change, message } = command.opts<CommitFlags>();
  const image = await operate(context, settings, async ({ library, options }) =>
    library.commitContainer(name, reference, { ...options, author, changes: change, message }),
  );
  await print(context, settings.json ? toJson(image) : `${image.id}\n`);
}

/** Defines `commit`. */
export function define(command: Command, context: CliContext): void {
  command
    .description("Make an image of a container: its image, and what it has changed as one more layer.")
    .argument("<container>", "name or id, whether it runs or not")
    .argument("[reference]", "what the image is to be called")
    .option("-a, --author <author>", "who made it")
    .option(
      "-c, --change <instruction>",
      "a Dockerfile instruction, as in 'CMD [\"sh\"]' (repeatable)",
      collect,
    )
    .option("-m, --message <message>", "for the image's history")
    .option("-p, --pause", "accepted for Docker's sake, and so is --pause=false; see below");
  addCommonOptions(command, { format: false, helpFlags: "-h, --help" });
  teach(command, {
    examples: [["flamebox commit -m 'with curl' box tools:1", "the image's id is printed"]],
    notes: [
      "Volumes are not part of it. A container that runs goes on meanwhile, with --pause as without: who reads its files is in its machine, and would be halted with it. A file that is written just then may be in the image as it was in between; where that matters, stop the container first, as commit takes one that has ended as well.",
    ],
  });
  command.action(async (name: string, reference: string | undefined) =>
    commit(context, name, reference, command),
  );
}
