/** The command tree as completion scripts need it: plain data, the same for every shell. */
import type { Command, Option } from "commander";
import { DRIVERS, POLICIES } from "../args/lifecycle.ts";
import { EVENT_KEYS } from "../args/filters.ts";
import { SIGNAL_NAMES } from "../args/signal.ts";

/** What may stand where a value is expected. */
export type Candidates =
  | { readonly kind: "words"; readonly words: readonly string[] }
  | { readonly kind: Named | "files" | "directories" | "anything" };

/** What the program itself is asked for when it is wanted: `__complete`. `places` are containers, each with a colon. */
export const NAMED = ["images", "containers", "networks", "templates", "kernels", "places"] as const;
export type Named = (typeof NAMED)[number];

/** Whether a value is to follow each of the words at once, as behind `status=`. */
export function areBeginnings(words: readonly string[]): boolean {
  return words.every((word) => word.endsWith("="));
}

export function isNamed(candidates: Candidates): candidates is { readonly kind: Named } {
  return NAMED.some((kind) => kind === candidates.kind);
}

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
  /** Of a group: what stands behind the name of a command in it, where that can be offered. */
  readonly inner: readonly InnerCommand[];
}

export interface InnerCommand {
  readonly name: string;
  readonly argument: Candidates;
}

/** Of options that take more than these words, so that they are no choices of commander's. */
const WORDS = new Map<string, readonly string[]>([
  ["--restart", POLICIES],
  ["--log-driver", Object.keys(DRIVERS)],
  ["--signal", SIGNAL_NAMES],
]);

/** The library's, which is not loaded for this. */
export const CONTAINER_FILTERS: readonly string[] = [
  "id",
  "name",
  "status",
  "health",
  "exited",
  "ancestor",
  "label",
  "network",
  "publish",
  "expose",
  "volume",
  "before",
  "since",
];
const IMAGE_FILTERS = ["before", "dangling", "label", "reference", "since", "until"];
/** What `--filter` takes, behind which its value stands. */
const FILTERS = new Map<string, readonly string[]>([
  ["ps", CONTAINER_FILTERS],
  ["container", [...CONTAINER_FILTERS, "until"]],
  ["images", IMAGE_FILTERS],
  ["image", IMAGE_FILTERS],
  ["events", EVENT_KEYS],
]);

function valueOf(option: Option, commandName: string): Candidates | null {
  if (!option.required && !option.optional) return null;
  if (option.argChoices !== undefined) return { kind: "words", words: option.argChoices };
  const words = WORDS.get(option.long ?? "");
  if (words !== undefined) return { kind: "words", words };
  const keys = option.long === "--filter" ? FILTERS.get(commandName) : undefined;
  if (keys !== undefined) return { kind: "words", words: keys.map((key) => `${key}=`) };
  if (option.long === "--network" && option.required) return { kind: "networks" };
  if (/<file>/.test(option.flags)) return { kind: "files" };
  return { kind: "anything" };
}

function completedOption(option: Option, commandName: string): CompletedOption {
  const { short, long, description } = option;
  return { short, long, description, value: valueOf(option, commandName) };
}

const ARGUMENTS = new Map<string, Named>([
  ["image", "images"],
  ["repository", "images"],
  ["container", "containers"],
  ["network", "networks"],
  ["key", "templates"],
  ["kernel", "kernels"],
  // Of `cp`: a path on either side.
  ["source", "places"],
]);

function innerOf(command: Command): InnerCommand[] {
  return command
    .createHelp()
    .visibleCommands(command)
    .map((inner) => ({ name: inner.name(), argument: argumentOf(inner, []) }))
    .filter((inner): inner is InnerCommand => inner.argument !== null && inner.argument.kind !== "anything");
}

function argumentOf(command: Command, names: readonly string[]): Candidates | null {
  const inner = command.createHelp().visibleCommands(command);
  if (inner.length > 0) return { kind: "words", words: inner.map((one) => one.name()) };
  const [first] = command.registeredArguments;
  if (first === undefined) return null;
  if (first.argChoices !== undefined) return { kind: "words", words: first.argChoices };
  const named = ARGUMENTS.get(first.name());
  if (named !== undefined) return { kind: named };
  if (first.name() === "command") return { kind: "words", words: names };
  return { kind: "anything" };
}

const HELP: CompletedOption = {
  short: undefined,
  long: "--help",
  description: "show this help",
  value: null,
};

/** Those of the commands below it as well, each once: a script knows one level. */
function optionsOf(command: Command): CompletedOption[] {
  const all = [command, ...command.createHelp().visibleCommands(command)].flatMap(({ options }) => options);
  const visible = all.filter(({ hidden }) => !hidden);
  const once = visible
    .filter((one, at) => visible.findIndex(({ flags }) => flags === one.flags) === at)
    .map((option) => completedOption(option, command.name()));
  // `rm -f` is a switch, and `ls -f` waits for its value: of such letters nothing is known before the command is.
  const letters = (waits: boolean) =>
    new Set(once.filter(({ value }) => (value !== null) === waits).map(({ short }) => short));
  const [waiting, switches] = [letters(true), letters(false)];
  const isClear = (short: string | undefined): boolean => !(waiting.has(short) && switches.has(short));
  return once
    .map((option) => ({ ...option, short: isClear(option.short) ? option.short : undefined }))
    .filter(({ short, long }) => short !== undefined || long !== undefined);
}

export interface CompletedTree {
  readonly options: readonly CompletedOption[];
  readonly commands: readonly CompletedCommand[];
}

/** `root` must be complete. */
export function completedTree(root: Command): CompletedTree {
  const commands = root.createHelp().visibleCommands(root);
  const names = commands.map((command) => command.name());
  const visible = (command: Command) => [...optionsOf(command), HELP];
  const own = root.options.filter(({ hidden }) => !hidden);
  return {
    options: [...own.map((option) => completedOption(option, "")), HELP],
    commands: commands.map((command) => ({
      name: command.name(),
      summary: command.summary(),
      options: visible(command),
      argument: argumentOf(command, names),
      passesThrough: command.registeredArguments[1]?.variadic === true,
      inner: innerOf(command),
    })),
  };
}
