import type { Command } from "commander";
import type { CliContext } from "../context.ts";

/** Defines `__docs`, which prints docs/cli.md. */
export function define(command: Command, context: CliContext): void {
  command.action(async () => {
    const { cliReference } = await import("../docs.ts");
    const { createProgram } = await import("../program.ts");
    const { print } = await import("../output/print.ts");
    const program = createProgram(context);
    await program.loadAll();
    await print(context, cliReference(program.root));
  });
}
