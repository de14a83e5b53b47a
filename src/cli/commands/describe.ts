/** What a command teaches besides its flags: examples and notes, shown by `--help` and in docs/cli.md. */
import type { Command } from "commander";

export interface Lessons {
  /** A line to type, and what it does. */
  readonly examples: readonly (readonly [line: string, what: string])[];
  /** Paragraphs. */
  readonly notes?: readonly string[];
}

const lessons = new WeakMap<Command, Lessons>();

export function lessonsOf(command: Command): Lessons | undefined {
  return lessons.get(command);
}

const twins = new WeakMap<Command, string>();

/** Says that a command of a group is one that has a short name of its own, so that docs/cli.md need not repeat it. */
export function standFor(command: Command, name: string): void {
  twins.set(command, name);
}

export function twinOf(command: Command): string | undefined {
  return twins.get(command);
}

function wrap(text: string, columns: number): string {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && line.length + 1 + word.length > columns) {
      lines.push(line);
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  return [...lines, line].join("\n");
}

const HELP_COLUMNS = 80;

export function teach(command: Command, what: Lessons): void {
  lessons.set(command, what);
  const examples = what.examples.map(([line, meaning]) => `  # ${meaning}\n  $ ${line}`);
  const blocks = [
    `Examples:\n${examples.join("\n\n")}`,
    ...(what.notes ?? []).map((note) => wrap(note, HELP_COLUMNS)),
  ];
  command.addHelpText("after", `\n${blocks.join("\n\n")}`);
}

/** `template ls`: the words behind the program's name; "" for the program itself. */
export function nameOf(command: Command): string {
  if (command.parent === null) return "";
  return `${nameOf(command.parent)} ${command.name()}`.trimStart();
}

/** For repeatable options: collects the values in the order given. */
export function collect(value: string, previous: readonly string[] | undefined): string[] {
  return [...(previous ?? []), value];
}
