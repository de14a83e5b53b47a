import type { Command } from "commander";
import type { CliContext } from "../context.ts";
import { AlreadyReported, CliError, describeFailure, renderFailure } from "../failure.ts";
import type { Operation } from "./operation.ts";
import { addCommonOptions, settingsOf } from "../settings.ts";
import { teach } from "./describe.ts";

type DocumentOf = (operation: Pick<Operation, "library" | "options">, name: string) => Promise<object>;

const containerOf: DocumentOf = async ({ library, options }, name) => {
  const { containerDocument } = await import("../output/container-document.ts");
  return containerDocument(await library.inspectContainer(name, options));
};

/** A container's; else an image's. */
const documentOf: DocumentOf = async ({ library, options }, name) => {
  try {
    return await containerOf({ library, options }, name);
  } catch (error) {
    if (!(error instanceof Error) || Reflect.get(error, "code") !== "container-not-found") throw error;
    const { inspected } = await import("../output/image-details.ts");
    try {
      return inspected(await library.inspectImage(name, options));
    } catch (other) {
      throw new CliError(
        "not-found",
        `there is neither a container nor an image ${name}`,
        nearMiss(error) ?? nearMiss(other) ?? "flamebox ps -a and flamebox images list what is here",
      );
    }
  }
};

/** Of a container's name, or an image's. */
function nearMiss(error: unknown): string | undefined {
  const hint: unknown = error instanceof Error ? Reflect.get(error, "hint") : undefined;
  return typeof hint === "string" && hint.startsWith("did you mean") ? hint : undefined;
}

async function inspect(
  context: CliContext,
  names: readonly string[],
  command: Command,
  find: DocumentOf,
): Promise<void> {
  const { operate } = await import("./operation.ts");
  const { print, toJson } = await import("../output/print.ts");
  const { compileDocument } = await import("../output/template.ts");
  const settings = settingsOf(command);
  const format = settings.format === undefined ? undefined : compileDocument(settings.format);
  const documents: object[] = [];
  let failed = false;
  await operate(context, settings, async ({ library, options }) => {
    for (const name of names) {
      try {
        documents.push(await find({ library, options }, name));
      } catch (error) {
        if (options.signal?.aborted === true) throw error;
        failed = true;
        const style = { json: settings.json, debug: settings.logLevel === "debug" };
        context.stderr.write(renderFailure(describeFailure(error, "inspect"), error, style));
      }
    }
  });
  await print(context, format === undefined ? toJson(documents) : documents.map(format).join(""));
  if (failed) throw new AlreadyReported();
}

/** Defines `inspect`. */
export function define(command: Command, context: CliContext): void {
  command
    .description("Show all that there is to know of containers, or of images, as Docker's JSON.")
    .argument("<container...>", "names or ids of containers; else of images");
  defineWith(command, context, documentOf);
}

/** Defines `container inspect`, for which an image is nothing. */
export function defineOfContainers(command: Command, context: CliContext): void {
  command
    .description("Show all that there is to know of containers, as Docker's JSON.")
    .argument("<container...>", "names or ids");
  defineWith(command, context, containerOf);
}

function defineWith(command: Command, context: CliContext, find: DocumentOf): void {
  addCommonOptions(command, { format: true, helpFlags: "-h, --help" });
  teach(command, {
    examples: [
      ["flamebox inspect web", "an array, one object a container"],
      ["flamebox inspect -f '{{.State.Status}} {{.State.ExitCode}}' web", "what you choose"],
    ],
  });
  command.option("-f <template>", "as --format");
  command.hook("preAction", () => {
    const { f } = command.opts<{ f?: string }>();
    if (f !== undefined) command.setOptionValue("format", f);
  });
  command.action(async (names: string[]) => inspect(context, names, command, find));
}
