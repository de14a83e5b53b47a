/** From the tree to a shell's script. */
import type { Command } from "commander";
import { bashScript } from "./bash.ts";
import { fishScript } from "./fish.ts";
import { completedTree } from "./tree.ts";
import { zshScript } from "./zsh.ts";

export function completionScript(shell: "bash" | "zsh" | "fish", root: Command): string {
  const tree = completedTree(root);
  if (shell === "bash") return bashScript(tree);
  return shell === "zsh" ? zshScript(tree) : fishScript(tree);
}
