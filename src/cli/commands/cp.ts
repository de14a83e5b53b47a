import type { Command } from "commander";
import type { CliContext } from "../context.ts";
import { UsageError } from "../failure.ts";
import { addCommonOptions, settingsOf } from "../settings.ts";
import { teach } from "./describe.ts";

interface CpFlags {
  readonly archive?: boolean;
  readonly followLink?: boolean;
}

interface Side {
  readonly container: string | undefined;
  readonly path: string;
}

/** `NAME:PATH` is a container's; a path of the host's with a colon begins with `/` or `.`. */
function sideOf(text: string): Side {
  const at = text.indexOf(":");
  if (at < 1 || text.startsWith("/") || text.startsWith(".")) return { container: undefined, path: text };
  return { container: text.slice(0, at), path: text.slice(at + 1) };
}

async function cp(context: CliContext, from: string, to: string, command: Command): Promise<void> {
  const { operate } = await import("./operation.ts");
  const { archive, followLink } = command.opts<CpFlags>();
  const [source, target] = [sideOf(from), sideOf(to)];
  if ((source.container === undefined) === (target.container === undefined))
    throw new UsageError("one of the two is a container's: NAME:PATH", "as in flamebox cp web:/etc/passwd .");
  if (source.path === "" || target.path === "") throw new UsageError("a path is empty");
  await operate(context, settingsOf(command), async ({ library, options }) => {
    const wanted = { ...options, archive, followLink };
    if (source.container !== undefined) {
      if (target.path === "-")
        return await library.archiveFrom(source.container, source.path, context.stdout, wanted);
      return await library.copyFrom(source.container, source.path, target.path, wanted);
    }
    if (target.container === undefined) return;
    if (source.path === "-")
      return await library.archiveTo(target.container, context.stdin, target.path, wanted);
    await library.copyTo(target.container, source.path, target.path, wanted);
  });
}

/** Defines `cp`. */
export function define(command: Command, context: CliContext): void {
  command
    .description("Copy files between a container and this host, whether it runs or not.")
    .argument("<source>", "NAME:PATH of a container, a path of this host, or - for a tar archive")
    .argument("<target>", "the same; - writes a tar archive")
    .option("-a, --archive", "keep owners; else files become yours, or root's in the container")
    .option("-L, --follow-link", "copy what the source is a link to");
  addCommonOptions(command, { format: false, helpFlags: "-h, --help" });
  teach(command, {
    examples: [
      ["flamebox cp web:/etc/nginx/nginx.conf .", "a file out of a container"],
      ["flamebox cp ./site/. web:/var/www", "what is in a folder, into another"],
      ["flamebox cp db:/var/lib/data - | gzip >data.tar.gz", "an archive"],
    ],
    notes: [
      "As with cp -r, a folder that is copied to one that is there goes into it; with /. behind it, what is in it does. Names in a container's archive are taken as hostile: nothing is written outside of the target, and no link in it is followed.",
    ],
  });
  command.action(async (from: string, to: string) => cp(context, from, to, command));
}
