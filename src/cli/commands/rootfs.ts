import { resolve } from "node:path";
import { type Command, Option } from "commander";
import { type PullFlags, pullOptionsFrom } from "../args/access.ts";
import { parseSize } from "../args/size.ts";
import type { CliContext } from "../context.ts";
import { UsageError, outputFailure } from "../failure.ts";
import type { PullOptions, RootfsFormat } from "../library.ts";
import { addCommonOptions, type Settings, settingsOf } from "../settings.ts";
import { teach } from "./describe.ts";

interface RootfsFlags extends PullFlags {
  readonly output: string;
  readonly format: RootfsFormat;
  readonly size?: string;
  readonly force?: boolean;
}

const FORMATS: readonly RootfsFormat[] = ["erofs", "ext4", "squashfs", "tar"];
/** What `--output` says for standard output. */
const STDOUT = "-";

function checkFlags({ output, format, size }: RootfsFlags, context: CliContext): void {
  if (output === "") throw new UsageError("--output has no file name");
  if (size !== undefined && format !== "ext4")
    throw new UsageError(`--size is of no use to ${format}`, "it is the size of an ext4 disk: --format ext4");
  if (output !== STDOUT) return;
  if (format !== "tar")
    throw new UsageError(`${format} cannot be written to standard output`, "only --format tar can");
  if (context.stdout.isTTY === true)
    throw new UsageError("the archive would go to a terminal", "redirect it, or name a file with --output");
}

/** The archive is all that standard output gets. */
async function stream(
  context: CliContext,
  settings: Settings,
  reference: string,
  access: PullOptions,
): Promise<void> {
  const { operate } = await import("./operation.ts");
  await operate(context, settings, async ({ library, options }) => {
    try {
      return await library.streamRootfs(reference, context.stdout, { ...access, ...options });
    } catch (error) {
      throw context.stdout.errored ? outputFailure(error, "standard output") : error;
    }
  });
}

async function rootfs(context: CliContext, reference: string, command: Command): Promise<void> {
  const { operate } = await import("./operation.ts");
  const { print, toJson } = await import("../output/print.ts");
  const { humanSize } = await import("../output/units.ts");
  const settings = settingsOf(command);
  const given = command.opts<RootfsFlags>();
  if (command.parent?.opts<{ format?: string }>().format !== undefined)
    throw new UsageError("--format is of no use before rootfs", "behind it, it says what to write");
  checkFlags(given, context);
  const { output, format, size, force = false, ...flags } = given;
  const access = pullOptionsFrom(flags, context.env);
  if (output === STDOUT) return await stream(context, settings, reference, access);
  const sizeBytes = size === undefined ? undefined : parseSize(size, "--size");
  const file = await operate(context, settings, async ({ library, options }) =>
    library.writeRootfs(reference, resolve(output), { ...access, ...options, format, sizeBytes, force }),
  );
  if (settings.json) await print(context, toJson(file));
  else if (settings.quiet) await print(context, `${file.path}\n`);
  else await print(context, `${file.path} ${humanSize(file.sizeBytes)}\n`);
}

/** Defines `rootfs`. */
export function define(command: Command, context: CliContext): void {
  command
    .description(
      "Write an image's root file system to one file: EROFS and squashfs to be mounted read-only, ext4 to be written to, tar for everything else.",
    )
    .argument("<image>", "image reference")
    .requiredOption("-o, --output <file>", "where to write it; - is standard output, for tar")
    .addOption(new Option("--format <format>", "what to write").choices(FORMATS).default("erofs"))
    .option("--size <size>", "size of the ext4 disk; default: the image's, a quarter more and 64m")
    .option("--force", "replace the file if it is there")
    .option("--platform <platform>", "os/architecture[/variant]; default: the host's")
    .option("--insecure", "allow http and unverified TLS for the registry");
  addCommonOptions(command, { format: false, helpFlags: "-h, --help" });
  teach(command, {
    examples: [
      ["flamebox rootfs alpine -o alpine.erofs", "pulls it if it is not here"],
      ["flamebox rootfs alpine -o /tmp/a.erofs && fsck.erofs /tmp/a.erofs", "for other tools, as it is"],
      ["flamebox rootfs debian -o disk.ext4 --format ext4 --size 10g", "a disk with room to write"],
      ["flamebox rootfs alpine -o - --format tar | tar -tv", "what is in an image"],
    ],
    notes: [
      "The file appears when it is complete. A FIFO or a device, such as /dev/stdout, is written into, with and without --force.",
    ],
  });
  command.action(async (reference: string) => rootfs(context, reference, command));
}
