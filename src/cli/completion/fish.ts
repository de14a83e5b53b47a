/** fish: one `complete` line for every option and argument. */
import { isNamed } from "./tree.ts";
import type { Candidates, CompletedCommand, CompletedOption, CompletedTree } from "./tree.ts";

function quote(text: string): string {
  return `'${text.replace(/[\\']/g, "\\$&")}'`;
}

function values(candidates: Candidates): string {
  if (candidates.kind === "words") return ` -x -a ${quote(candidates.words.join(" "))}`;
  if (isNamed(candidates))
    return ` ${candidates.kind === "places" ? "-F" : "-x"} -a '(flamebox __complete ${candidates.kind} 2>/dev/null)'`;
  if (candidates.kind === "files") return " -r -F";
  return candidates.kind === "directories" ? " -x -a '(__fish_complete_directories)'" : " -x";
}

function optionLine(condition: string, { short, long, description, value }: CompletedOption): string {
  const flags = [
    ...(short === undefined ? [] : [`-s ${short.slice(1)}`]),
    ...(long === undefined ? [] : [`-l ${long.slice(2)}`]),
  ].join(" ");
  return `complete -c flamebox -n ${quote(condition)} ${flags} -d ${quote(description)}${value === null ? "" : values(value)}`;
}

function commandLines(command: CompletedCommand): string[] {
  const { name, options, argument, inner } = command;
  const condition = `__fish_seen_subcommand_from ${name}`;
  // A group's own words are offered until one of them stands there.
  const words = argument?.kind === "words" && inner.length > 0 ? argument.words : [];
  const before = words.length === 0 ? "" : `; and not __fish_seen_subcommand_from ${words.join(" ")}`;
  return [
    "",
    ...options.map((option) => optionLine(condition, option)),
    ...(argument === null || argument.kind === "anything"
      ? []
      : [`complete -c flamebox -n ${quote(`${condition}${before}`)}${values(argument)}`]),
    ...inner.map(
      (one) =>
        `complete -c flamebox -n ${quote(`${condition}; and __fish_seen_subcommand_from ${one.name}`)}${values(one.argument)}`,
    ),
  ];
}

export function fishScript({ options, commands }: CompletedTree): string {
  const none = "__fish_use_subcommand";
  const lines = [
    "# fish completion for flamebox; printed by: flamebox completion fish",
    "",
    "complete -c flamebox -f",
    ...commands.map(({ name, summary }) => `complete -c flamebox -n ${none} -a ${name} -d ${quote(summary)}`),
    ...options.map((option) => optionLine(none, option)),
    ...commands.flatMap(commandLines),
  ];
  return `${lines.join("\n")}\n`;
}
