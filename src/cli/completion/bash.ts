/**
 * bash: one function that walks the words before the cursor, so that it knows the command, whether an option
 * waits for its value, and how many arguments there have been.
 *
 * bash splits words at colons, which image references are full of. So the words are taken from the line itself,
 * and of a reply only what stands behind the last colon is handed back.
 */
import { areBeginnings, isNamed } from "./tree.ts";
import type { Candidates, CompletedCommand, CompletedOption, CompletedTree } from "./tree.ts";

function spellings(options: readonly CompletedOption[]): string[] {
  return options.flatMap(({ short, long }) => [short, long].filter((flag) => flag !== undefined));
}

function reply(candidates: Candidates | null): string {
  if (candidates === null || candidates.kind === "anything") return "return";
  if (candidates.kind === "words") {
    const offer = `mapfile -t COMPREPLY < <(compgen -W '${candidates.words.join(" ")}' -- "$current")`;
    return areBeginnings(candidates.words) ? `${offer}; compopt -o nospace 2>/dev/null` : offer;
  }
  if (isNamed(candidates)) return `_flamebox_names ${candidates.kind}`;
  return `mapfile -t COMPREPLY < <(compgen ${candidates.kind === "files" ? "-f" : "-d"} -- "$current")`;
}

function valueCases(prefix: string, options: readonly CompletedOption[]): string[] {
  return options
    .filter(({ value }) => value !== null)
    .map((option) => {
      const patterns = spellings([option]).map((flag) => `${prefix}:${flag}`);
      return `    ${patterns.join("|")}) waiting=1 ;;`;
    });
}

function answerCases(prefix: string, options: readonly CompletedOption[]): string[] {
  return options
    .filter(({ value }) => value !== null && value.kind !== "anything")
    .map((option) => {
      const patterns = spellings([option]).map((flag) => `${prefix}:${flag}`);
      return `      ${patterns.join("|")}) ${reply(option.value)} ;;`;
    });
}

function optionCase({ name, options }: CompletedCommand): string {
  return `    ${name}) options='${spellings(options).join(" ")}' ;;`;
}

function argumentCase({ name, argument, inner }: CompletedCommand): string[] {
  if (argument === null) return [];
  if (inner.length === 0) return [`    ${name}) ${reply(argument)} ;;`];
  return [
    `    ${name})`,
    '      case "$first" in',
    `        '') ${reply(argument)} ;;`,
    ...inner.map((one) => `        ${one.name}) ${reply(one.argument)} ;;`),
    "      esac",
    "      ;;",
  ];
}

export function bashScript({ options, commands }: CompletedTree): string {
  const names = commands.map(({ name }) => name).join(" ");
  const through = commands.filter(({ passesThrough }) => passesThrough).map(({ name }) => name);
  const lines = [
    "# bash completion for flamebox; printed by: flamebox completion bash",
    "",
    "_flamebox_names() {",
    "  local names",
    '  names=$("${words[0]}" __complete "$1" 2>/dev/null)',
    '  mapfile -t COMPREPLY < <(compgen -W "$names" -- "$current")',
    "  if [ $1 = places ]; then",
    "    # A path of this host's, or of a container's, whose files are not looked at.",
    '    if [[ $current == *:* ]]; then COMPREPLY=(); else mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -f -- "$current"); fi',
    "    compopt -o nospace 2>/dev/null",
    "    return",
    "  fi",
    '  local before=${current%"${current##*:}"}',
    '  if [[ $COMP_WORDBREAKS == *:* ]]; then COMPREPLY=("${COMPREPLY[@]#"$before"}"); fi',
    "}",
    "",
    "# Whether the option $2 of command $1 takes the next word as its value.",
    "_flamebox_waits() {",
    "  local waiting=0",
    '  case "$1:$2" in',
    ...valueCases("", options),
    ...commands.flatMap((command) => valueCases(command.name, command.options)),
    "  esac",
    "  [ $waiting = 1 ]",
    "}",
    "",
    "_flamebox() {",
    "  local current= command= first= waiting= arguments=0 word index options= words cword",
    '  read -ra words <<<"${COMP_LINE:0:COMP_POINT}"',
    '  if [[ ${COMP_LINE:0:COMP_POINT} == *[[:space:]] ]]; then words+=(""); fi',
    "  cword=$((${#words[@]} - 1))",
    "  current=${words[cword]}",
    "  COMPREPLY=()",
    "  for ((index = 1; index < cword; index++)); do",
    "    word=${words[index]}",
    '    if [ -n "$waiting" ]; then waiting=; continue; fi',
    '    case "$word" in',
    '      -*) if _flamebox_waits "$command" "$word"; then waiting=$word; fi ;;',
    '      *) if [ -z "$command" ]; then command=$word; else first=${first:-$word}; arguments=$((arguments + 1)); fi ;;',
    "    esac",
    ...(through.length === 0
      ? []
      : [
          "    # Behind the image stands another program's command line.",
          `    case "$command" in ${through.join("|")}) if [ $arguments -gt 0 ]; then mapfile -t COMPREPLY < <(compgen -f -- "$current"); return; fi ;; esac`,
        ]),
    "  done",
    '  if [ -n "$waiting" ]; then',
    '    case "$command:$waiting" in',
    ...answerCases("", options),
    ...commands.flatMap((command) => answerCases(command.name, command.options)),
    "    esac",
    "    return",
    "  fi",
    "  if [[ $current == -* ]]; then",
    '    case "$command" in',
    `    '') options='${spellings(options).join(" ")}' ;;`,
    ...commands.map(optionCase),
    "    esac",
    '    mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current")',
    "    return",
    "  fi",
    '  case "$command" in',
    `    '') mapfile -t COMPREPLY < <(compgen -W '${names}' -- "$current") ;;`,
    ...commands.flatMap(argumentCase),
    "  esac",
    "}",
    "",
    "complete -F _flamebox flamebox",
  ];
  return `${lines.join("\n")}\n`;
}
