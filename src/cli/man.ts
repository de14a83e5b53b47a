/**
 * The command tree as manual pages, one a command: `flamebox.1`, `flamebox-run.1`, `flamebox-template-ls.1`. man(7).
 * `flamebox man DIR` writes them.
 */
import type { Command } from "commander";
import { lessonsOf, nameOf } from "./commands/describe.ts";

export interface ManualPage {
  /** `flamebox-run.1` */
  readonly fileName: string;
  readonly text: string;
}

/** Text that roff takes for text: a backslash begins an escape, and so does a dot or an apostrophe at a line's start. */
export function roff(text: string): string {
  return text
    .replaceAll("\\", "\\e")
    .replaceAll("-", "\\-")
    .split("\n")
    .map((line) => (/^[.']/.test(line) ? `\\&${line}` : line))
    .join("\n");
}

function pageName(command: Command): string {
  return ["flamebox", ...nameOf(command).split(" ")].filter((word) => word !== "").join("-");
}

function options(command: Command): string[] {
  const visible = command.options.filter(({ hidden }) => !hidden);
  return visible.flatMap(({ flags, description, argChoices }) => [
    ".TP",
    `\\fB${roff(flags)}\\fR`,
    roff(description + (argChoices === undefined ? "" : ` (${argChoices.join(", ")})`)),
  ]);
}

function commandsOf(inner: readonly Command[]): string[] {
  return inner.flatMap((one) => [".TP", `\\fB${roff(pageName(one))}\\fR(1)`, roff(one.summary())]);
}

function section(heading: string, lines: readonly string[]): string[] {
  return lines.length === 0 ? [] : [`.SH ${heading}`, ...lines];
}

function pageOf(command: Command, version: string): ManualPage {
  const name = pageName(command);
  const inner = command.createHelp().visibleCommands(command);
  const lessons = lessonsOf(command);
  const title = name.toUpperCase();
  const summary = command.summary() === "" ? command.description() : command.summary();
  const lines = [
    `.TH ${roff(title)} 1 "" "flamebox ${roff(version)}" "FlameBox"`,
    ...section("NAME", [`${roff(name)} \\- ${roff(summary.replace(/\.$/, ""))}`]),
    ...section("SYNOPSIS", [
      `\\fB${roff(`flamebox ${nameOf(command)}`.trim())}\\fR ${roff(command.usage())}`,
    ]),
    ...section("DESCRIPTION", [
      roff(command.description()),
      ...(lessons?.notes ?? []).flatMap((note) => [".PP", roff(note)]),
    ]),
    ...section(
      "ARGUMENTS",
      command.registeredArguments.flatMap((argument) => [
        ".TP",
        `\\fI${roff(argument.name())}\\fR`,
        roff(argument.description),
      ]),
    ),
    ...section("OPTIONS", options(command)),
    ...section("COMMANDS", commandsOf(inner)),
    ...section(
      "EXAMPLES",
      (lessons?.examples ?? []).flatMap(([line, what]) => [
        ".TP",
        roff(what),
        ".nf",
        `\\fB${roff(line)}\\fR`,
        ".fi",
      ]),
    ),
    ...section("SEE ALSO", [command.parent === null ? "podman(1), docker(1)" : "flamebox(1)"]),
  ];
  return { fileName: `${name}.1`, text: `${lines.join("\n")}\n` };
}

/** Of the whole tree, which must be complete. */
export function manualPages(root: Command, version: string): ManualPage[] {
  const inner = root.createHelp().visibleCommands(root);
  return [pageOf(root, version), ...inner.flatMap((one) => manualPages(one, version))];
}
