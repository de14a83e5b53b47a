import { type Command, Option } from "commander";
import type { CliContext } from "../context.ts";
import { AlreadyReported, CliError, describeFailure, renderFailure } from "../failure.ts";
import type { Operation } from "./operation.ts";
import { addCommonOptions, addShortFormat, settingsOf } from "../settings.ts";
import { teach } from "./describe.ts";

interface InspectFlags {
  readonly size?: boolean;
  readonly type?: "container" | "image";
}

/** A container's; else an image's. */
async function documentOf(
  { library, options }: Pick<Operation, "library" | "options">,
  name: string,
  { size = false, type }: InspectFlags,
): Promise<object> {
  const { containerDocument } = await import("../output/container-document.ts");
  const { inspected } = await import("../output/image-details.ts");
  if (type === "image") return inspected(await library.inspectImage(name, options));
  try {
    return containerDocument(await library.inspectContainer(name, options), { size });
  } catch (error) {
    const isUnknown = error instanceof Error && Reflect.get(error, "code") === "container-not-found";
    if (!isUnknown || type === "container") throw error;
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

async function inspect(
  context: CliContext,
  names: readonly string[],
  command: Command,
  only?: InspectFlags["type"],
): Promise<void> {
  const { operate } = await import("./operation.ts");
  const { print, toJson } = await import("../output/print.ts");
  const { compileDocument } = await import("../output/template.ts");
  const settings = settingsOf(command);
  const flags = { ...command.opts<InspectFlags>(), ...(only && { type: only }) };
  const format = settings.format === undefined ? undefined : compileDocument(settings.format);
  const documents: object[] = [];
  let failed = false;
  await operate(context, settings, async ({ library, options }) => {
    for (const name of names) {
      try {
        documents.push(await documentOf({ library, options }, name, flags));
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
    .argument("<container...>", "names or ids of containers; else of images")
    .addOption(
      new Option("--type <type>", "look only among containers, or only among images").choices([
        "container",
        "image",
      ]),
    );
  defineWith(command, context);
}

/** Defines `container inspect`, for which an image is nothing. */
export function defineOfContainers(command: Command, context: CliContext): void {
  command
    .description("Show all that there is to know of containers, as Docker's JSON.")
    .argument("<container...>", "names or ids");
  defineWith(command, context, "container");
}

function defineWith(command: Command, context: CliContext, only?: InspectFlags["type"]): void {
  command.option(
    "-s, --size",
    "of containers also SizeRw: bytes of this host's disk, for what they wrote and their log",
  );
  addCommonOptions(command, { format: true, helpFlags: "-h, --help" });
  teach(command, {
    examples: [
      ["flamebox inspect web", "an array, one object a container"],
      ["flamebox inspect -f '{{.State.Status}} {{.State.ExitCode}}' web", "what you choose"],
      [
        "flamebox inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' web",
        "its address, as scripts for Docker ask for it",
      ],
      [
        "flamebox inspect -f '{{(index (index .NetworkSettings.Ports \"80/tcp\") 0).HostPort}}' web",
        "the host's port for its port 80",
      ],
    ],
    notes: [
      "Templates are Go's, with if, with, range, variables and pipes, and the functions of Go and Docker: and, or, not, eq, ne, lt, le, gt, ge, index, len, slice, print, printf, println, json, join, split, lower, upper, title, truncate and pad. What a document does not have is <no value>, and no error.",
      "What Docker has no words for is below FlameBox and Machine. Volumes are directories on the container's own disk, and have no name.",
      "State.Warnings of a container has what the process that runs it had to say since its start: that its log cannot be " +
        "written any more, or that a shared folder is gone.",
    ],
  });
  addShortFormat(command);
  command.action(async (names: string[]) => inspect(context, names, command, only));
}
