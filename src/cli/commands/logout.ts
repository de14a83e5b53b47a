import type { Command } from "commander";
import { pullOptionsFrom } from "../args/access.ts";
import type { CliContext } from "../context.ts";
import { addCommonOptions, settingsOf } from "../settings.ts";
import { teach } from "./describe.ts";

async function logout(context: CliContext, registry: string | undefined, command: Command): Promise<void> {
  const { operate } = await import("./operation.ts");
  const { refuseFormat } = await import("../output/images.ts");
  const { print, toJson } = await import("../output/print.ts");
  const settings = settingsOf(command);
  refuseFormat(settings, "logout");
  const access = pullOptionsFrom({}, context.env);
  const report = await operate(context, settings, async ({ library, options, reporter }) => {
    const result = await library.logout(registry, { ...access, ...options });
    for (const { name, path } of result.remaining)
      reporter.onNotice(`credentials for ${name} are still in ${path}, and are used`);
    return result;
  });
  if (settings.json) return await print(context, toJson(report));
  const said = report.wasThere ? "Removed login credentials for" : "Not logged in to";
  if (!settings.quiet) await print(context, `${said} ${report.registry}\n`);
}

/** Defines `logout`. */
export function define(command: Command, context: CliContext): void {
  command
    .description("Forget the credentials for a registry.")
    .argument("[registry]", "HOST or HOST:PORT; default: Docker Hub");
  addCommonOptions(command, { format: false, helpFlags: "-h, --help" });
  teach(command, {
    examples: [["flamebox logout ghcr.io", "in the file and in its helper"]],
    notes: [
      "Where the file that login writes has none, they are taken out of podman's and skopeo's auth.json, if they come from there. What is left elsewhere, and used, is told.",
    ],
  });
  command.action(async (registry: string | undefined) => logout(context, registry, command));
}
