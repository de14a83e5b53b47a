import type { Command } from "commander";
import { declareRunOptions } from "../args/run-declarations.ts";
import type { RunFlags } from "../args/run-options.ts";
import type { CliContext } from "../context.ts";
import { UsageError } from "../failure.ts";
import { openIdFile } from "../output/id-file.ts";
import { addCommonOptions, settingsOf } from "../settings.ts";
import { teach } from "./describe.ts";

/** A terminal that nobody looks at yet has the size that everything assumes. */
const UNSEEN = { columns: 80, rows: 24 };

async function create(
  context: CliContext,
  image: string,
  words: readonly string[],
  command: Command,
): Promise<void> {
  const { operate } = await import("./operation.ts");
  const { print, toJson } = await import("../output/print.ts");
  const { containerOptions, loadRunFiles } = await import("../args/run-options.ts");
  const flags = command.opts<RunFlags>();
  const settings = settingsOf(command);
  if (settings.format !== undefined) throw new UsageError("--format is of no use to create");
  const wanted = containerOptions(flags, words, await loadRunFiles(flags, context.env), context.env);
  const idFile = await openIdFile(flags.cidfile);
  const info = await operate(context, settings, async ({ library, options }) =>
    library.createContainer(image, { ...wanted, ...(flags.tty && { tty: UNSEEN }), ...options }),
  );
  idFile?.write(info.id);
  await print(context, settings.json ? toJson(info) : `${info.id}\n`);
}

/** Defines `create`. */
export function define(command: Command, context: CliContext): void {
  command
    .description("Make a container, and do not start it.")
    .argument("<image>", "image reference: alpine, ghcr.io/owner/name:tag, name@sha256:…")
    .argument("[command...]", "command and its arguments; default: the image's")
    .passThroughOptions();
  declareRunOptions(command);
  addCommonOptions(command, { format: false, helpFlags: "--help" });
  teach(command, {
    examples: [
      ["flamebox create --name db -v data postgres", "its id is printed"],
      ["flamebox start db", "what was made is started"],
    ],
    notes: ["The options are those of run; flamebox run --help says more of them."],
  });
  command.action(async (image: string, words: string[]) => create(context, image, words, command));
}
