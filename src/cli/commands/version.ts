import type { Command } from "commander";
import type { CliContext } from "../context.ts";
import { addCommonOptions, settingsOf } from "../settings.ts";
import { teach } from "./describe.ts";

async function version(context: CliContext, command: Command): Promise<void> {
  const { checkOneStyle, print, toJson } = await import("../output/print.ts");
  const settings = settingsOf(command);
  checkOneStyle(settings);
  const facts = {
    version: context.version,
    node: process.versions.node,
    platform: `${process.platform}/${process.arch}`,
  };
  if (settings.json) await print(context, toJson(facts));
  else if (settings.format !== undefined) {
    const { compileTemplate } = await import("../output/template.ts");
    const fields = { Version: "VERSION", Node: "NODE", Platform: "PLATFORM" };
    const row = { Version: facts.version, Node: facts.node, Platform: facts.platform };
    await print(context, compileTemplate(settings.format, fields)([row]));
  } else if (settings.quiet) await print(context, `${facts.version}\n`);
  else await print(context, `flamebox ${facts.version} (node ${facts.node}, ${facts.platform})\n`);
}

/** Defines `version`. */
export function define(command: Command, context: CliContext): void {
  command.description("Show the versions of FlameBox and of what it runs on.");
  addCommonOptions(command, { format: true, helpFlags: "-h, --help" });
  teach(command, {
    examples: [
      ["flamebox version", "for a person"],
      ["flamebox version --format '{{.Version}}'", "for a script"],
    ],
  });
  command.action(async () => version(context, command));
}
