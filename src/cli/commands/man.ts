import { join } from "node:path";
import type { Command } from "commander";
import type { CliContext } from "../context.ts";
import { CliError } from "../failure.ts";
import { addCommonOptions } from "../settings.ts";
import { teach } from "./describe.ts";

async function man(context: CliContext, dir: string): Promise<void> {
  const { mkdir, writeFile } = await import("node:fs/promises");
  const { manualPages } = await import("../man.ts");
  const { createProgram } = await import("../program.ts");
  const { print } = await import("../output/print.ts");
  const program = createProgram(context);
  await program.loadAll();
  const pages = manualPages(program.root, context.version);
  try {
    await mkdir(dir, { recursive: true });
    for (const { fileName, text } of pages) await writeFile(join(dir, fileName), text);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new CliError("output-failed", `the manual pages cannot be written to ${dir}: ${why}`);
  }
  await print(context, pages.map(({ fileName }) => `${join(dir, fileName)}\n`).join(""));
}

/** Defines `man`. */
export function define(command: Command, context: CliContext): void {
  command
    .description("Write manual pages, one for each command, and print their names.")
    .argument("<dir>", "a folder, made when it is missing");
  addCommonOptions(command, { format: false, helpFlags: "-h, --help" });
  teach(command, {
    examples: [
      ["flamebox man ~/.local/share/man/man1", "then: man flamebox-run"],
      ["flamebox man ./man && man ./man/flamebox-exec.1", "one of them, from anywhere"],
    ],
  });
  command.action(async (dir: string) => man(context, dir));
}
