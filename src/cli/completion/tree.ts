/** The command tree as completion scripts need it: plain data, the same for every shell. */
import type { Command, Option } from "commander";

/** What may stand where a value is expected. */
export type Candidates =
  | { readonly kind: "words"; readonly words: readonly string[] }
  | { readonly kind: "files" | "directories" | "images" | "anything" };

export interface CompletedOption {
  readonly short: string | undefined;
  readonly long: string | undefined;
  readonly description: string;
  /** Null for a flag without a value. */
  readonly value: Candidates | null;
}

export interface CompletedCommand {
  readonly name: string;
  readonly summary: string;
  readonly options: readonly CompletedOption[];
  /** What the arguments are; the first one's counts for all. */
  readonly argument: Candidates | null;
  /** Words behind the first argument are another program's. */
  readonly passesThrough: boolean;
}

function valueOf(option: Option): Candidates | null {
  if (!option.required && !option.optional) return null;
  if (option.argChoices !== undefined) return { kind: "words", words: option.argChoices };
  if (/<file>/.test(option.flags)) return { kind: "files" };
  return { kind: "anything" };
}

function completedOption(option: Option): CompletedOption {
  const { short, long, description } = option;
  return { short, long, description, value: valueOf(option) };
}

function argumentOf(command: Command, names: readonly string[]): Candidates | null {
  const [first] = command.registeredArguments;
  if (first === undefined) return null;
  if (first.argChoices !== undefined) return { kind: "words", words: first.argChoices };
  if (first.name() === "image") return { kind: "images" };
  if (first.name() === "command") return { kind: "words", words: names };
  return { kind: "anything" };
}

const HELP: CompletedOption = {
  short: undefined,
  long: "--help",
  description: "show this help",
  value: null,
};

export interface CompletedTree {
  readonly options: readonly CompletedOption[];
  readonly commands: readonly CompletedCommand[];
}

/** `root` must be complete. */
export function completedTree(root: Command): CompletedTree {
  const commands = root.createHelp().visibleCommands(root);
  const names = commands.map((command) => command.name());
  const visible = (command: Command) => [
    ...command.options.filter(({ hidden }) => !hidden).map(completedOption),
    HELP,
  ];
  return {
    options: visible(root),
    commands: commands.map((command) => ({
      name: command.name(),
      summary: command.summary(),
      options: visible(command),
      argument: argumentOf(command, names),
      passesThrough: command.registeredArguments[1]?.variadic === true,
    })),
  };
}
