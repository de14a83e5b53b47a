import type { Command } from "commander";
import type { CliContext } from "../context.ts";
import { teach } from "./describe.ts";

/** Defines `help`: `flamebox help run` is `flamebox run --help`. */
export function define(command: Command, context: CliContext): void {
  command.description("Show the help of a command.").argument("[command]", "a command's name");
  teach(command, { examples: [["flamebox help run", "the same as flamebox run --help"]] });
  command.action(async (name: string | undefined) => {
    const { createProgram } = await import("../program.ts");
    const { root } = createProgram(context);
    // An unknown name alone is refused, with what it may have meant; with --help it would be the program's help.
    const known = name === undefined || root.commands.some((candidate) => candidate.name() === name);
    const words = [...(name === undefined ? [] : [name]), ...(known ? ["--help"] : [])];
    await root.parseAsync(words, { from: "user" });
  });
}
