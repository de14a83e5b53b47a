import { resolve } from "node:path";
import type { Command } from "commander";
import { imageLimitsFrom, parsePlatform } from "../args/access.ts";
import type { CliContext } from "../context.ts";
import { UsageError } from "../failure.ts";
import { addCommonOptions, settingsOf } from "../settings.ts";
import { collect, teach } from "./describe.ts";

interface LoadFlags {
  readonly input?: string;
  readonly platform?: string;
}

/** A file, or standard input when it is no terminal. */
export function archiveFrom(context: CliContext, path: string | undefined) {
  if (path !== undefined && path !== "-") return { path: resolve(path) };
  if (context.stdin.isTTY === true)
    throw new UsageError("an archive is wanted on standard input, which is a terminal", "give a file");
  return { stream: context.stdin as AsyncIterable<Uint8Array>, name: "standard input" };
}

async function load(context: CliContext, command: Command): Promise<void> {
  const { operate } = await import("./operation.ts");
  const { print, toJson } = await import("../output/print.ts");
  const { refuseFormat, shownName } = await import("../output/images.ts");
  const settings = settingsOf(command);
  refuseFormat(settings, "load");
  const { input, platform } = command.opts<LoadFlags>();
  const from = archiveFrom(context, input);
  const wanted = {
    ...imageLimitsFrom(context.env),
    ...(platform === undefined ? {} : { platform: parsePlatform(platform) }),
  };
  const images = await operate(context, settings, async ({ library, options }) =>
    library.loadImages(from, { ...options, ...wanted }),
  );
  if (settings.json) return await print(context, toJson(images));
  const lines = images.map((image) => {
    if (settings.quiet) return image.reference;
    return image.tag === undefined ? `Loaded image ID: ${image.id}` : `Loaded image: ${shownName(image)}`;
  });
  await print(context, lines.map((line) => `${line}\n`).join(""));
}

/** Defines `load`. */
export function define(command: Command, context: CliContext): void {
  command
    .description(
      "Load the images of an archive: docker save's, podman save's, or an OCI archive; plain, gzip or zstd.",
    )
    .option("-i, --input <file>", "the archive; default: standard input")
    .option("--platform <platform>", "which one of an image that has several; default: the host's");
  addCommonOptions(command, { format: false, helpFlags: "-h, --help" });
  teach(command, {
    examples: [
      ["docker save app | flamebox load", "from Docker, without a registry"],
      ["flamebox load -i app.tar.gz", "from a file"],
    ],
    notes: ["Names in the archive are taken over. An image without a name is found by its id."],
  });
  command.action(async () => load(context, command));
}

interface ImportFlags {
  readonly change?: readonly string[];
  readonly message?: string;
  readonly platform?: string;
}

async function importArchive(
  context: CliContext,
  file: string,
  reference: string | undefined,
  command: Command,
): Promise<void> {
  const { operate } = await import("./operation.ts");
  const { print, toJson } = await import("../output/print.ts");
  const { refuseFormat } = await import("../output/images.ts");
  const settings = settingsOf(command);
  refuseFormat(settings, "import");
  const { change, message, platform } = command.opts<ImportFlags>();
  const from = archiveFrom(context, file);
  const image = await operate(context, settings, async ({ library, options }) =>
    library.importImage(from, reference, {
      ...options,
      ...imageLimitsFrom(context.env),
      changes: change,
      message,
      ...(platform === undefined ? {} : { platform: parsePlatform(platform) }),
    }),
  );
  await print(context, settings.json ? toJson(image) : `${image.id}\n`);
}

/** Defines `import`. */
export function defineImport(command: Command, context: CliContext): void {
  command
    .description("Make an image of a root file system, an archive or a directory, and print its id.")
    .argument("<file>", "a directory, or a tar archive: plain, gzip or zstd; - is standard input")
    .argument("[reference]", "what to call the image")
    .option("-c, --change <instruction>", "a Dockerfile instruction for its config (repeatable)", collect)
    .option("-m, --message <text>", "a remark for its history")
    .option("--platform <platform>", "what the files are for; default: the host's");
  addCommonOptions(command, { format: false, helpFlags: "-h, --help" });
  teach(command, {
    examples: [
      ["flamebox import rootfs.tar.gz mine:1", "a root file system as an image"],
      ["flamebox import ./rootfs mine:2", "a directory"],
      [`flamebox import -c 'CMD ["/bin/sh"]' -c 'ENV A=b' rootfs.tar mine`, "with a command and a variable"],
    ],
    notes: [
      "Instructions: CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, SHELL, STOPSIGNAL, USER, VOLUME, WORKDIR. Variables in them are not replaced.",
      "A directory is taken as tar takes it: owners, modes, times, hard links, devices and FIFOs; links are not followed, sockets and what is mounted below are left out. Extended attributes are not read: tar --xattrs -C DIR -c . | flamebox import - NAME has them. Without a name dir:DIR and tar:FILE do the same for run, and the same files are the same image.",
    ],
  });
  command.action(async (file: string, reference: string | undefined) =>
    importArchive(context, file, reference, command),
  );
}
