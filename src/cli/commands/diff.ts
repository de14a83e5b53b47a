import type { Command } from "commander";
import type { CliContext } from "../context.ts";
import { addCommonOptions, settingsOf } from "../settings.ts";
import { teach } from "./describe.ts";

const LETTERS = { added: "A", changed: "C", deleted: "D" } as const;

async function diff(context: CliContext, name: string, command: Command): Promise<void> {
  const { operate } = await import("./operation.ts");
  const { print, toJson } = await import("../output/print.ts");
  const { printable } = await import("../output/text.ts");
  const settings = settingsOf(command);
  const changes = await operate(context, settings, async ({ library, options }) =>
    library.containerChanges(name, options),
  );
  if (settings.json) return await print(context, toJson(changes));
  await print(context, changes.map(({ kind, path }) => `${LETTERS[kind]} ${printable(path)}\n`).join(""));
}

/** Defines `diff`. */
export function define(command: Command, context: CliContext): void {
  command
    .description("Show what a container has changed of its image's files.")
    .argument("<container>", "name or id");
  addCommonOptions(command, { format: false, helpFlags: "-h, --help" });
  teach(command, {
    examples: [["flamebox diff web", "A was added, C changed, D deleted"]],
    notes: ["What is mounted into the container, volumes among it, is none of its own files."],
  });
  command.action(async (name: string) => diff(context, name, command));
}
