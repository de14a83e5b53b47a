import type { Command } from "commander";
import { type PullFlags, pullOptionsFrom } from "../args/access.ts";
import type { CliContext } from "../context.ts";
import { addCommonOptions, settingsOf } from "../settings.ts";
import { teach } from "./describe.ts";

async function push(context: CliContext, image: string, command: Command): Promise<void> {
  const { operate } = await import("./operation.ts");
  const { refuseFormat } = await import("../output/images.ts");
  const { print, toJson } = await import("../output/print.ts");
  const settings = settingsOf(command);
  refuseFormat(settings, "push");
  const access = pullOptionsFrom(command.opts<PullFlags>(), context.env);
  const pushed = await operate(context, settings, async ({ library, options }) =>
    library.push(image, { ...access, ...options }),
  );
  if (settings.json) await print(context, toJson(pushed));
  else if (settings.quiet) await print(context, `${pushed.reference}\n`);
  else await print(context, `Digest: ${pushed.digest}\n${pushed.reference}\n`);
}

/** Defines `push`. */
export function define(command: Command, context: CliContext): void {
  command
    .description("Send an image to the registry that its name names.")
    .argument("<image>", "image reference: registry.example/name:tag")
    .option("--insecure", "allow http and unverified TLS for the registry");
  addCommonOptions(command, { format: false, helpFlags: "-h, --help" });
  teach(command, {
    examples: [
      ["flamebox push registry.example/team/app:1.2", "what flamebox tag has named so"],
      ["flamebox push --json localhost:5000/app", "digest and size as JSON"],
    ],
    notes: [
      "Layers that the registry has are not sent; those it has in another repository are mounted. Others are copied from the registry that the image came from, so that its digest stays. Where that cannot be reached, and for images that were loaded or imported, layers are compressed anew: the digest is another one then, and the image's id is the same.",
    ],
  });
  command.action(async (image: string) => push(context, image, command));
}
