/** The command tree as Markdown: docs/cli.md is this, and a test compares them. */
import type { Argument, Command, Option } from "commander";
import { REFUSALS } from "./args/refused.ts";
import { lessonsOf, nameOf, twinOf } from "./commands/describe.ts";

/** Text outside code: what looks like a tag would be taken for one. */
function prose(text: string): string {
  return text.replaceAll("<", "&lt;");
}

function table(heading: readonly string[], rows: readonly (readonly string[])[]): string[] {
  if (rows.length === 0) return [];
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  return [line(heading), line(heading.map(() => "---")), ...rows.map(line), ""];
}

function optionRow(option: Option): string[] {
  const choices = option.argChoices === undefined ? "" : ` (${option.argChoices.join(", ")})`;
  const mandatory = option.mandatory ? " (required)" : "";
  return [`\`${option.flags}\``, prose(option.description) + choices + mandatory];
}

function argumentRow(argument: Argument): string[] {
  return [`\`${argument.name()}${argument.variadic ? "…" : ""}\``, prose(argument.description)];
}

function visibleOptions(command: Command): Option[] {
  return command.options.filter((option) => !option.hidden);
}

function lessons(command: Command): string[] {
  const taught = lessonsOf(command);
  if (taught === undefined) return [];
  const width = taught.examples.reduce((most, [line]) => Math.max(most, line.length), 0);
  const examples = taught.examples.map(([line, what]) => `${line.padEnd(width)}   # ${what}`);
  const notes = (taught.notes ?? []).flatMap((note) => [prose(note), ""]);
  return ["```sh", ...examples, "```", "", ...notes];
}

function section(command: Command, common: ReadonlySet<string>): string[] {
  const own = visibleOptions(command).filter(({ flags }) => !common.has(flags));
  const name = nameOf(command);
  const twin = twinOf(command);
  if (twin !== undefined)
    return [
      `### flamebox ${name}`,
      "",
      `${prose(command.description())} The same as [\`${twin}\`](#flamebox-${twin}).`,
      "",
    ];
  const inner = command.createHelp().visibleCommands(command);
  return [
    `${"#".repeat(name.split(" ").length + 1)} flamebox ${name}`,
    "",
    prose(command.description()),
    "",
    "```text",
    `flamebox ${name} ${command.usage()}`,
    "```",
    "",
    ...table(["argument", "meaning"], command.registeredArguments.map(argumentRow)),
    ...table(["option", "meaning"], own.map(optionRow)),
    ...lessons(command),
    ...inner.flatMap((one) => section(one, common)),
  ];
}

/** Told with the reason when they are used. */
function refusals(): string[] {
  const long = (flag: string): string => `\`--${flag.replace(/^.*--/, "")}\``;
  return [
    "## Docker's options that `run` refuses",
    "",
    ...table(
      ["option", "why"],
      REFUSALS.map(({ flags, reason, hint }) => [
        flags.map(long).join(", "),
        prose(hint === undefined ? reason : `${reason}; ${hint}`),
      ]),
    ),
  ];
}

const EXIT_CODES: readonly (readonly [code: string, when: string, commands: string])[] = [
  ["0", "success; `--help` and `--version`", "all"],
  ["the process's own", "the process in the container ended by itself", "`run`"],
  ["128+n", "signal n ended the process in the container", "`run`"],
  ["125", "FlameBox failed, or the command line is wrong", "`run`"],
  ["126", "the command is in the image and cannot be executed", "`run`"],
  ["127", "the command is not in the image", "`run`"],
  ["1", "it failed, or the command line is wrong; `doctor`: containers cannot run here", "all others"],
  ["128+n", "signal n interrupted FlameBox itself: 130 after Ctrl-C", "all"],
  ["141", "the reader of standard output went away (`| head`)", "all"],
];

const ENVIRONMENT: readonly (readonly [name: string, meaning: string])[] = [
  ["`FLAMEBOX_HOME`", "directory of all of FlameBox's files, instead of the XDG directories"],
  [
    "`XDG_DATA_HOME`",
    "images, layers, kernels: `$XDG_DATA_HOME/flamebox`; default `~/.local/share/flamebox`",
  ],
  [
    "`XDG_CACHE_HOME`",
    "`flamebox/`: the program as Node has compiled it, for each command; default `~/.cache`. `NODE_DISABLE_COMPILE_CACHE` keeps none",
  ],
  ["`XDG_RUNTIME_DIR`", "sockets of running machines: `$XDG_RUNTIME_DIR/flamebox`"],
  ["`FLAMEBOX_FIRECRACKER`", "the Firecracker program; default: `firecracker` in the `PATH`"],
  ["`FLAMEBOX_JAILER`", "its jailer, for root; default: beside it, or `jailer` in the `PATH`"],
  [
    "`FLAMEBOX_MAX_IMAGE_SIZE`, `FLAMEBOX_MAX_IMAGE_ENTRIES`",
    "what all layers of an image may unpack to, as in `200g`, and their entries; default 128g and 10000000",
  ],
  ["`NETCONFPATH`", "where networks of CNI are configured; default `/etc/cni/net.d`"],
  [
    "`CNI_PATH`",
    "where their plugins are, with `:` between folders; default `/opt/cni/bin`, `/usr/lib/cni`, `/usr/libexec/cni`",
  ],
  ["`DOCKER_CONFIG`", "directory of the `config.json` with registry credentials; default `~/.docker`"],
  [
    "`REGISTRY_AUTH_FILE`",
    "a file with registry credentials that is asked before that one, and written by `login`",
  ],
  [
    "`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`",
    "proxies for registries; in lower case as well: [registries.md](registries.md#proxies)",
  ],
  [
    "`XDG_CONFIG_HOME`",
    "`flamebox/registries.json` and podman's `containers/`: [registries.md](registries.md); default `~/.config`",
  ],
  ["`NO_COLOR`", "no colours when it is set and not empty"],
  ["`TERM`", "`dumb`: plain lines instead of bars; a usual one is given to the process with `-t`"],
];

const STREAMS = [
  "Standard output is data: results, or the output of the container's process. Everything else (progress, notices, errors) is on standard error: bars on a terminal, plain lines elsewhere, nothing with `--quiet`.",
  'An error is one line, with a hint on a second one: `flamebox: MESSAGE`, `  hint: WHAT TO DO`. With `--json` it is one JSON object: `{"error":{"code","message","hint"}}`. `--log-level debug` adds the causes.',
];

/** `root` must be complete: every command defined. Hidden commands are left out. */
export function cliReference(root: Command): string {
  const commands = root.createHelp().visibleCommands(root);
  const commonOptions = visibleOptions(root).filter(({ long }) => long !== "--version");
  const common = new Set(commonOptions.map(({ flags }) => flags));
  const lines = [
    "# The `flamebox` command",
    "",
    "Generated from the command tree by `flamebox __docs`; a test compares the two.",
    "",
    prose(root.description()),
    "",
    ...lessons(root),
    ...table(
      ["command", "what it does"],
      commands.map((command) => [
        `[\`${command.name()}\`](#flamebox-${command.name()})`,
        prose(command.summary()),
      ]),
    ),
    "## Options of every command",
    "",
    "They may stand before or behind the command's name. `--format` is for the commands that print lists or records. Options without a value, of any command, can be written with one: `--all=true`, `--no-trunc=false`.",
    "",
    ...table(["option", "meaning"], commonOptions.map(optionRow)),
    ...STREAMS.flatMap((paragraph) => [paragraph, ""]),
    "## Exit codes",
    "",
    ...table(["code", "when", "command"], EXIT_CODES),
    "## Environment",
    "",
    ...table(["variable", "meaning"], ENVIRONMENT),
    ...commands.flatMap((command) => section(command, common)),
    ...refusals(),
  ];
  return `${lines.join("\n").trimEnd()}\n`;
}
