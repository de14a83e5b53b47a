import { Argument, type Command } from "commander";
import type { CliContext } from "../context.ts";
import { teach } from "./describe.ts";

type Shell = "bash" | "zsh" | "fish";

/** Defines `completion`. */
export function define(command: Command, context: CliContext): void {
  command
    .description("Print a script that completes flamebox's commands, options and images in a shell.")
    .addArgument(new Argument("<shell>", "which shell").choices(["bash", "zsh", "fish"]));
  teach(command, {
    examples: [
      ["source <(flamebox completion bash)", "in ~/.bashrc"],
      ['flamebox completion zsh > "${fpath[1]}/_flamebox"', "once, for zsh"],
      ["flamebox completion fish > ~/.config/fish/completions/flamebox.fish", "once, for fish"],
    ],
  });
  command.action(async (shell: Shell) => {
    const { createProgram } = await import("../program.ts");
    const { completionScript } = await import("../completion/script.ts");
    const { print } = await import("../output/print.ts");
    const program = createProgram(context);
    await program.loadAll();
    await print(context, completionScript(shell, program.root));
  });
}
