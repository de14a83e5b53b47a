import type { Command } from "commander";
import type { CliContext } from "../context.ts";
import { CliError } from "../failure.ts";
import { addCommonOptions, settingsOf } from "../settings.ts";
import { teach } from "./describe.ts";

async function port(
  context: CliContext,
  name: string,
  wanted: string | undefined,
  command: Command,
): Promise<void> {
  const { operate } = await import("./operation.ts");
  const { print, toJson } = await import("../output/print.ts");
  const settings = settingsOf(command);
  const { ports } = await operate(context, settings, async ({ library, options }) =>
    library.inspectContainer(name, options),
  );
  const isWanted = (text: string) => wanted === undefined || text === wanted || text === `${wanted}/tcp`;
  const found = ports.filter(({ containerPort, protocol }) => isWanted(`${containerPort}/${protocol}`));
  if (wanted !== undefined && found.length === 0)
    throw new CliError("port-not-published", `port ${wanted} of ${name} is not published`);
  if (settings.json) return await print(context, toJson(found));
  const lines = found.map(({ hostAddress = "127.0.0.1", hostPort, containerPort, protocol }) => {
    const address = hostAddress.includes(":") ? `[${hostAddress}]` : hostAddress;
    const own = wanted === undefined ? `${containerPort}/${protocol} -> ` : "";
    return `${own}${address}:${hostPort}\n`;
  });
  await print(context, lines.join(""));
}

/** Defines `port`. */
export function define(command: Command, context: CliContext): void {
  command
    .description("Show where the ports of a container are published.")
    .argument("<container>", "name or id")
    .argument("[port]", "of the container: 80, 53/udp; default: all");
  addCommonOptions(command, { format: false, helpFlags: "-h, --help" });
  teach(command, {
    examples: [
      ["flamebox port web", "all of them"],
      ["curl http://$(flamebox port web 80)/", "one, as an address"],
    ],
  });
  command.action(async (name: string, wanted: string | undefined) => port(context, name, wanted, command));
}
