/** zsh: `_arguments` does the walking, the tree becomes its specifications. */
import { areBeginnings, isNamed, NAMED } from "./tree.ts";
import type { Candidates, CompletedCommand, CompletedOption, CompletedTree } from "./tree.ts";

/** Inside single quotes, inside brackets. */
function text(description: string): string {
  return description.replace(/[[\]:\\]/g, "\\$&").replaceAll("'", "'\\''");
}

function action(candidates: Candidates | null): string {
  if (candidates === null || candidates.kind === "anything") return ": ";
  if (candidates.kind === "words") {
    const words = candidates.words.join(" ");
    return areBeginnings(candidates.words) ? `{compadd -S "" -- ${words}}` : `(${words})`;
  }
  if (isNamed(candidates)) return `_flamebox_${candidates.kind}`;
  return candidates.kind === "files" ? "_files" : "_files -/";
}

/** As a command of zsh's own. */
function called(candidates: Candidates): string {
  return candidates.kind === "words" ? `compadd -- ${candidates.words.join(" ")}` : action(candidates);
}

function optionSpecs(options: readonly CompletedOption[], indent: string): string[] {
  return options.flatMap(({ short, long, description, value }) => {
    const behind = value === null ? "" : `:value:${action(value)}`;
    const spec = (flag: string) =>
      `${indent}'*${flag}${value === null ? "" : flag.startsWith("--") ? "=" : "+"}[${text(description)}]${behind}'`;
    return [short, long].filter((flag) => flag !== undefined).map((flag) => `${spec(flag)} \\`);
  });
}

function argumentSpec({ argument, passesThrough, inner }: CompletedCommand): string {
  if (argument === null) return "'*: :'";
  if (inner.length > 0) {
    const cases = inner.map((one) => `${one.name}) ${called(one.argument)} ;;`).join(" ");
    // `line` has the arguments: the group's command is the first.
    return `'1:command:${action(argument)}' '*:argument:{ case $line[1] in ${cases} esac }'`;
  }
  // `*::` makes the words behind the image a command line of its own.
  if (passesThrough) return `'1:image:${action(argument)}' '*::command:_normal'`;
  return `'*:argument:${action(argument)}'`;
}

function commandCase(command: CompletedCommand): string[] {
  const { name, options } = command;
  return [
    `        ${name})`,
    "          _arguments -S \\",
    ...optionSpecs(options, "            "),
    `            ${argumentSpec(command)}`,
    "          ;;",
  ];
}

export function zshScript({ options, commands }: CompletedTree): string {
  const lines = [
    "#compdef flamebox",
    "# zsh completion for flamebox; printed by: flamebox completion zsh",
    "",
    ...NAMED.flatMap((kind) => [
      `_flamebox_${kind}() {`,
      "  local -a names",
      `  names=(\${(f)"$(flamebox __complete ${kind} 2>/dev/null)"})`,
      ...(kind === "places" ? ["  compadd -S '' -a names", "  _files"] : ["  compadd -a names"]),
      "}",
    ]),
    "",
    "_flamebox_commands() {",
    "  local -a commands",
    "  commands=(",
    ...commands.map(({ name, summary }) => `    '${name}:${text(summary)}'`),
    "  )",
    "  _describe command commands",
    "}",
    "",
    "_flamebox() {",
    "  local curcontext=$curcontext state line",
    "  _arguments -C \\",
    ...optionSpecs(options, "    "),
    "    '1:command:_flamebox_commands' \\",
    "    '*::argument:->arguments'",
    "  case $state in",
    "    arguments)",
    "      case $line[1] in",
    ...commands.flatMap(commandCase),
    "      esac",
    "      ;;",
    "  esac",
    "}",
    "",
    "# Read by autoload, the file is the function's body; sourced, it only defines it.",
    'if [ "$funcstack[1]" = "_flamebox" ]; then',
    '  _flamebox "$@"',
    "else",
    "  compdef _flamebox flamebox",
    "fi",
  ];
  return `${lines.join("\n")}\n`;
}
