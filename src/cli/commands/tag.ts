import type { Command } from "commander";
import type { CliContext } from "../context.ts";
import { addCommonOptions, settingsOf } from "../settings.ts";
import { teach } from "./describe.ts";

async function tag(context: CliContext, image: string, target: string, command: Command): Promise<void> {
  const { operate } = await import("./operation.ts");
  const { refuseFormat } = await import("../output/images.ts");
  const { print, toJson } = await import("../output/print.ts");
  const settings = settingsOf(command);
  refuseFormat(settings, "tag");
  const tagged = await operate(context, settings, async ({ library, options }) =>
    library.tagImage(image, target, options),
  );
  if (settings.json) await print(context, toJson(tagged));
}

/** Defines `tag`. */
export function define(command: Command, context: CliContext): void {
  command
    .description("Give an image another name.")
    .argument("<image>", "image reference, or the beginning of its id")
    .argument("<name>", "the new name: NAME[:TAG]");
  addCommonOptions(command, { format: false, helpFlags: "-h, --help" });
  teach(command, {
    examples: [["flamebox tag alpine registry.example/mirror/alpine:3", "before a push"]],
  });
  command.action(async (image: string, target: string) => tag(context, image, target, command));
}
