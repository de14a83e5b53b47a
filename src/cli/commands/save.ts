import { resolve } from "node:path";
import { type Command, Option } from "commander";
import { type PullFlags, pullOptionsFrom } from "../args/access.ts";
import type { CliContext } from "../context.ts";
import { UsageError } from "../failure.ts";
import { addCommonOptions, settingsOf } from "../settings.ts";
import { teach } from "./describe.ts";

const FORMATS = ["docker-archive", "oci-archive", "oci-dir"] as const;

interface SaveFlags extends PullFlags {
  readonly output?: string;
  readonly format?: (typeof FORMATS)[number];
  readonly allPlatforms?: boolean;
}

function outputFor(context: CliContext, { output, format }: SaveFlags) {
  if (output !== undefined && output !== "-") return resolve(output);
  if (format === "oci-dir") throw new UsageError("--format oci-dir needs --output, a directory");
  if (context.stdout.isTTY === true)
    throw new UsageError("an archive is not written to a terminal", "give --output FILE, or a pipe");
  return context.stdout;
}

async function save(context: CliContext, images: readonly string[], command: Command): Promise<void> {
  const { operate } = await import("./operation.ts");
  const { outputFailure } = await import("../failure.ts");
  const flags = command.opts<SaveFlags>();
  const settings = settingsOf(command);
  const output = outputFor(context, flags);
  const access = pullOptionsFrom(flags, context.env);
  try {
    await operate(context, settings, async ({ library, options }) =>
      library.saveImages(images, {
        ...access,
        ...options,
        output,
        // As docker save does; the old file stays until the new one is complete.
        force: true,
        format: flags.format,
        allPlatforms: flags.allPlatforms,
      }),
    );
  } catch (error) {
    throw typeof output === "string" ? error : outputFailure(error, "standard output");
  }
}

/** Defines `save`. */
export function define(command: Command, context: CliContext): void {
  command
    .description("Write images to an archive that docker, podman, skopeo and flamebox load.")
    .argument("<image...>", "image references, or ids")
    .option("-o, --output <file>", "where to write it; default: standard output, unless that is a terminal")
    .addOption(
      new Option(
        "--format <format>",
        "docker-archive is an OCI layout as well; default: docker-archive",
      ).choices(FORMATS),
    )
    .option("--all-platforms", "copy every platform from the registry, as it is there")
    .option("--insecure", "with --all-platforms: allow http and unverified TLS for the registry");
  addCommonOptions(command, { format: false, helpFlags: "-h, --help" });
  teach(command, {
    examples: [
      ["flamebox save alpine | docker load", "to Docker, without a registry"],
      ["flamebox save -o two.tar alpine:3 debian:12", "two images in one archive"],
      ["flamebox save --format oci-dir -o layout app", "an OCI layout in a directory, made or added to"],
      ["flamebox save --all-platforms --format oci-archive -o a.tar alpine", "all that the registry has"],
    ],
    notes: [
      "Layers are written as plain archives, byte for byte those that the image was built from; config and image id stay as they are. The same image gives the same bytes on every host. An existing file is replaced when the new one is complete; a FIFO or a device, such as /dev/stdout, is written into.",
    ],
  });
  command.action(async (images: string[]) => save(context, images, command));
}
