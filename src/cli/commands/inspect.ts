import type { Command } from "commander";
import type { CliContext } from "../context.ts";
import { AlreadyReported, CliError, describeFailure, renderFailure } from "../failure.ts";
import type { Operation } from "./operation.ts";
import { addCommonOptions, settingsOf } from "../settings.ts";
import { teach } from "./describe.ts";

/** A container's; else an image's. */
async function documentOf({ library, options }: Pick<Operation, "library" | "options">, name: string) {
  const { containerDocument } = await import("../output/container-document.ts");
  try {
    return containerDocument(await library.inspectContainer(name, options));
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
}

/** Of a container's name, or an image's. */
function nearMiss(error: unknown): string | undefined {
  const hint: unknown = error instanceof Error ? Reflect.get(error, "hint") : undefined;
  return typeof hint === "string" && hint.startsWith("did you mean") ? hint : undefined;
}

async function inspect(context: CliContext, names: readonly string[], command: Command): Promise<void> {
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
        documents.push(await documentOf({ library, options }, name));
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
  addCommonOptions(command, { format: true, helpFlags: "-h, --help" });
  teach(command, {
    examples: [
      ["flamebox inspect web", "an array, one object a container"],
      ["flamebox inspect -f '{{.State.Status}} {{.State.ExitCode}}' web", "what you choose"],
    ],
    notes: [
      "State.Warnings of a container has what the process that runs it had to say since its start: that its log cannot be " +
        "written any more, or that a shared folder is gone.",
    ],
  });
  command.option("-f <template>", "as --format");
  command.hook("preAction", () => {
    const { f } = command.opts<{ f?: string }>();
    if (f !== undefined) command.setOptionValue("format", f);
  });
  command.action(async (names: string[]) => inspect(context, names, command));
}
