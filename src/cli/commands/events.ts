import type { Command } from "commander";
import { parseEventFilters } from "../args/filters.ts";
import { parseTime } from "../args/lifecycle.ts";
import type { CliContext } from "../context.ts";
import type { ContainerEvent } from "../library.ts";
import { addCommonOptions, settingsOf } from "../settings.ts";
import { collect, teach } from "./describe.ts";

interface EventsFlags {
  readonly since?: string;
  readonly until?: string;
  readonly filter?: readonly string[];
}

function line({ time, type, action, id, attributes, labels }: ContainerEvent): string {
  const details = Object.entries({ ...labels, ...attributes }).map(([name, value]) => `${name}=${value}`);
  return `${time} ${type} ${action} ${id} (${details.join(", ")})\n`;
}

async function events(context: CliContext, command: Command): Promise<void> {
  const { operate } = await import("./operation.ts");
  const { print } = await import("../output/print.ts");
  const { printable } = await import("../output/text.ts");
  const { compileDocument } = await import("../output/template.ts");
  const settings = settingsOf(command);
  const { since, until, filter = [] } = command.opts<EventsFlags>();
  const nowMs = context.clock.now();
  const times = {
    ...(since === undefined ? {} : { sinceMs: parseTime(since, "--since", nowMs) }),
    ...(until === undefined ? {} : { untilMs: parseTime(until, "--until", nowMs) }),
  };
  const isWanted = parseEventFilters(filter);
  const format = settings.format === undefined ? undefined : compileDocument(settings.format);
  await operate(context, settings, async ({ library, options }) => {
    for await (const event of library.containerEvents({ ...options, ...times })) {
      if (!isWanted(event)) continue;
      const text = settings.json
        ? `${JSON.stringify(event)}\n`
        : format === undefined
          ? `${printable(line(event).trimEnd())}\n`
          : format({
              Time: event.time,
              Type: event.type,
              Action: event.action,
              ID: event.id,
              Actor: { ID: event.id, Attributes: { ...event.labels, ...event.attributes } },
            });
      await print(context, text);
    }
  });
}

/** Defines `events`. */
export function define(command: Command, context: CliContext): void {
  command
    .description("Show what happens to containers, as it happens.")
    .option("--since <time>", "what happened from then on: a time, or how long ago")
    .option("--until <time>", "then it ends; default: it goes on")
    .option("-f, --filter <filter>", "container=…, event=…, image=…, label=… (repeatable)", collect);
  addCommonOptions(command, { format: true, helpFlags: "-h, --help" });
  teach(command, {
    examples: [
      ["flamebox events", "from now on, until Ctrl-C"],
      ["flamebox events --since 1h --until 0s --filter event=die --json", "what has ended in the last hour"],
      [
        "flamebox events --filter label=tier=web --filter event=die",
        "of some containers, by what they are called",
      ],
    ],
    notes: [
      "Fields for --format: .Time .Type .Action .ID .Actor.Attributes.name.",
      "Values of one filter are alternatives; different filters have all to fit. image=busybox is busybox:1.36 as well, " +
        "label=KEY any value. .Actor.Attributes has the container's labels, too; --json has them apart.",
    ],
  });
  command.action(async () => events(context, command));
}
