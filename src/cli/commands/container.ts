/** `container …`: the commands for containers under the names that Docker's groups have. */
import type { Command } from "commander";
import type { CliContext } from "../context.ts";
import { addCommonOptions } from "../settings.ts";
import { define as defineAttach } from "./attach.ts";
import { define as defineCommit } from "./commit.ts";
import { define as definePrune } from "./container-prune.ts";
import { define as defineCopy } from "./cp.ts";
import { define as defineCreate } from "./create.ts";
import { standFor, teach } from "./describe.ts";
import { define as defineDiff } from "./diff.ts";
import { define as defineExec } from "./exec.ts";
import { define as defineExport } from "./export.ts";
import { defineOfContainers as defineInspect } from "./inspect.ts";
import { define as defineKill } from "./kill.ts";
import { define as defineLogs } from "./logs.ts";
import { define as definePause } from "./pause.ts";
import { define as definePort } from "./port.ts";
import { define as defineList } from "./ps.ts";
import { define as defineRename } from "./rename.ts";
import { define as defineRestart } from "./restart.ts";
import { define as defineRemove } from "./rm.ts";
import { define as defineRun } from "./run.ts";
import { define as defineStart } from "./start.ts";
import { define as defineStats } from "./stats.ts";
import { define as defineStop } from "./stop.ts";
import { define as defineTop } from "./top.ts";
import { define as defineUnpause } from "./unpause.ts";
import { define as defineUpdate } from "./update.ts";
import { define as defineWait } from "./wait.ts";

type Define = (command: Command, context: CliContext) => void;

/** Those that have a short name, too: it is the third word where it is another. */
const TWINS: readonly (readonly [name: string, define: Define, twin?: string])[] = [
  ["ls", defineList, "ps"],
  ["run", defineRun],
  ["create", defineCreate],
  ["start", defineStart],
  ["stop", defineStop],
  ["restart", defineRestart],
  ["kill", defineKill],
  ["pause", definePause],
  ["unpause", defineUnpause],
  ["wait", defineWait],
  ["rm", defineRemove],
  ["rename", defineRename],
  ["attach", defineAttach],
  ["exec", defineExec],
  ["logs", defineLogs],
  ["top", defineTop],
  ["stats", defineStats],
  ["cp", defineCopy],
  ["diff", defineDiff],
  ["commit", defineCommit],
  ["export", defineExport],
  ["port", definePort],
  ["update", defineUpdate],
];

/** Defines `container` and the commands below it. */
export function define(command: Command, context: CliContext): void {
  command.description("Manage containers. Most of these commands have a short name of their own.");
  addCommonOptions(command, { format: false, helpFlags: "-h, --help" });
  command.helpCommand(false);
  // What stands behind the image's name is the container's command line.
  command.enablePositionalOptions();
  teach(command, {
    examples: [
      ["flamebox container ls -a", "as flamebox ps -a"],
      ["flamebox container prune", "all that do not run"],
    ],
  });
  for (const [name, defineOne, twin = name] of TWINS) {
    const inner = command.command(name).summary(`as ${twin}`);
    standFor(inner, twin);
    defineOne(inner, context);
  }
  defineInspect(command.command("inspect").summary("show all that is known of containers"), context);
  definePrune(command.command("prune").summary("remove containers that do not run"), context);
}
