import type { Command } from "commander";
import type { CliContext } from "../context.ts";
import type { ImageDetails } from "../library.ts";
import { addCommonOptions, addShortFormat, settingsOf } from "../settings.ts";
import { teach } from "./describe.ts";

/** Of several, the first that is not here ends it, after those before have been printed. */
export async function inspectImages(
  context: CliContext,
  names: readonly string[],
  command: Command,
): Promise<void> {
  const { operate } = await import("./operation.ts");
  const { checkOneStyle, print, toJson } = await import("../output/print.ts");
  const { formatInspected, inspected } = await import("../output/image-details.ts");
  const settings = settingsOf(command);
  checkOneStyle(settings);
  const format = settings.format === undefined ? undefined : formatInspected(settings.format);
  const images: ImageDetails[] = [];
  let failure: { readonly error: unknown } | undefined;
  try {
    await operate(context, settings, async ({ library, options }) => {
      for (const name of names) images.push(await library.inspectImage(name, options));
    });
  } catch (error) {
    failure = { error };
  }
  if (images.length > 0)
    await print(context, format === undefined ? toJson(images.map(inspected)) : format(images));
  if (failure) throw failure.error;
}

/** Defines `image inspect`. */
export function define(command: Command, context: CliContext): void {
  command
    .description("Show everything about images: config, layers, history, sizes.")
    .argument("<image...>", "image references, or the beginnings of ids");
  addCommonOptions(command, { format: true, helpFlags: "-h, --help" });
  teach(command, {
    examples: [
      ["flamebox image inspect alpine", "as JSON, with Docker's names"],
      ["flamebox image inspect --format '{{json .Config}}' alpine", "a part of it"],
    ],
    notes: [
      "Fields for --format: those of the JSON. Layers has, for each layer, DiffID, Digest, MediaType, CompressedSize and Size, which is what it takes here; History begins with the latest step.",
    ],
  });
  addShortFormat(command);
  command.action(async (names: string[]) => inspectImages(context, names, command));
}
