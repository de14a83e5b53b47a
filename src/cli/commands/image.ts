/** `image …`: the commands for images under the names that Docker's groups have. */
import type { Command } from "commander";
import type { CliContext } from "../context.ts";
import { addCommonOptions } from "../settings.ts";
import { teach } from "./describe.ts";
import { define as defineHistory } from "./history.ts";
import { define as defineImages } from "./images.ts";
import { define as defineInspect } from "./image-inspect.ts";
import { define as defineLoad, defineImport } from "./load.ts";
import { define as definePrune } from "./prune.ts";
import { define as definePull } from "./pull.ts";
import { define as definePush } from "./push.ts";
import { define as defineRemove } from "./rmi.ts";
import { define as defineSave } from "./save.ts";
import { define as defineTag } from "./tag.ts";

const COMMANDS: readonly (readonly [
  name: string,
  summary: string,
  define: (command: Command, context: CliContext) => void,
])[] = [
  ["ls", "as images", defineImages],
  ["pull", "as pull", definePull],
  ["push", "as push", definePush],
  ["tag", "as tag", defineTag],
  ["load", "as load", defineLoad],
  ["import", "as import", defineImport],
  ["save", "as save", defineSave],
  ["inspect", "show everything about images", defineInspect],
  ["history", "as history", defineHistory],
  ["rm", "as rmi", defineRemove],
  ["prune", "remove images without a name", definePrune],
];

/** Defines `image` and the commands below it. */
export function define(command: Command, context: CliContext): void {
  command.description("Manage images. Most of these commands have a short name of their own.");
  addCommonOptions(command, { format: false, helpFlags: "-h, --help" });
  command.helpCommand(false);
  teach(command, { examples: [["flamebox image ls", "as flamebox images"]] });
  for (const [name, summary, defineOne] of COMMANDS)
    defineOne(command.command(name).summary(summary), context);
}
