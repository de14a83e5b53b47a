import type { Command } from "commander";
import { parseTime } from "../args/lifecycle.ts";
import { parseCount } from "../args/size.ts";
import type { CliContext } from "../context.ts";
import type { EgressEntry } from "../library.ts";
import { outputFailure, UsageError } from "../failure.ts";
import { addCommonOptions, settingsOf } from "../settings.ts";
import { teach } from "./describe.ts";

interface LogsFlags {
  readonly follow?: boolean;
  readonly timestamps?: boolean;
  readonly tail?: string;
  readonly since?: string;
  readonly until?: string;
  readonly egress?: boolean;
}

const LINE_FEED = Buffer.from("\n");

function countOf(count: number, untold: number): string {
  const times = count > 1 ? ` (${count} times)` : "";
  return untold > 0 ? `${times}; ${untold} others have no line` : times;
}

/** `tcp 192.0.2.7:443 example.com: no rule allows it (12 times)` */
function refusalOf({ protocol, address, port, names, reason, count, untold }: EgressEntry): string {
  const place = port === 0 ? address : address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
  const words = [protocol, place, names.join(", ")].filter((word) => word !== "");
  return `${words.join(" ")}: ${reason}${countOf(count, untold)}`;
}

/** What a container's network refused. The times are always told: they are what it is compared with. */
async function egress(
  context: CliContext,
  settings: ReturnType<typeof settingsOf>,
  name: string,
  wanted: object,
): Promise<void> {
  const { operate } = await import("./operation.ts");
  const { print } = await import("../output/print.ts");
  const { printable } = await import("../output/text.ts");
  await operate(context, settings, async ({ library, options, reporter }) => {
    for await (const entry of library.containerEgressLog(name, { ...options, ...wanted })) {
      reporter.stop();
      const text = settings.json ? JSON.stringify(entry) : printable(`${entry.time} ${refusalOf(entry)}`);
      await print(context, `${text}\n`);
    }
  });
}

async function logs(context: CliContext, name: string, command: Command): Promise<void> {
  const { operate } = await import("./operation.ts");
  const { writeAll } = await import("../session/streams.ts");
  const settings = settingsOf(command);
  if (settings.format !== undefined) throw new UsageError("--format is of no use to logs", "use --json");
  const flags = command.opts<LogsFlags>();
  const { follow = false, timestamps = false, tail, since, until, egress: refused = false } = flags;
  const nowMs = context.clock.now();
  const wanted = {
    follow,
    ...(tail === undefined || tail === "all" ? {} : { tail: parseCount(tail, "--tail") }),
    ...(since === undefined ? {} : { sinceMs: parseTime(since, "--since", nowMs) }),
    ...(until === undefined ? {} : { untilMs: parseTime(until, "--until", nowMs) }),
  };
  if (refused) return await egress(context, settings, name, wanted);
  const sinks = { stdout: context.stdout, stderr: context.stderr };
  // The rest of a line that was begun has its time already.
  const begun = { stdout: false, stderr: false };
  await operate(context, settings, async ({ library, options, reporter }) => {
    for await (const { time, stream, text, isWhole } of library.containerLogs(name, {
      ...options,
      ...wanted,
    })) {
      reporter.stop();
      const bytes = settings.json
        ? Buffer.from(`${JSON.stringify({ time, stream, text: text.toString(), isWhole })}\n`)
        : Buffer.concat([
            ...(timestamps && !begun[stream] ? [Buffer.from(`${time} `)] : []),
            text,
            ...(isWhole ? [LINE_FEED] : []),
          ]);
      begun[stream] = !isWhole;
      const sink = settings.json ? context.stdout : sinks[stream];
      await writeAll(sink, bytes).catch((error: unknown) => {
        throw outputFailure(error, stream === "stdout" ? "standard output" : "standard error");
      });
    }
  });
}

/** Defines `logs`. */
export function define(command: Command, context: CliContext): void {
  command
    .description("Show what a container has written, on the output that it was written to.")
    .argument("<container>", "name or id")
    .option("-f, --follow", "go on as long as the container runs")
    .option("-t, --timestamps", "when it was written, before each line")
    .option("-n, --tail <lines>", "only the last lines, or all")
    .option("--since <time>", "a time, or how long ago: 2026-01-31T12:00:00Z, 10m")
    .option("--until <time>", "as --since")
    .option("--egress", "what its network refused it, instead of its output")
    .option("--details", "accepted for Docker's sake: no log option adds anything to a line");
  addCommonOptions(command, { format: false, helpFlags: "-h, --help" });
  teach(command, {
    examples: [
      ["flamebox logs web", "everything that is kept"],
      ["flamebox logs -f --tail 20 web", "the last lines, and what comes"],
      ["flamebox logs --since 10m -t web", "the last ten minutes, with times"],
      ["flamebox logs --egress -f web", "where it wanted to connect to and may not"],
    ],
    notes: [
      "The bytes are the process's own. At most five files of 10 MiB are kept; run --log-opt changes that.",
      "What follows has every line once and in order, whatever is rotated meanwhile. When its reader is slower than the " +
        "container by more than what is kept, the lines in between are missing: the container does not wait for it.",
      "--egress has at most some forty lines a minute and 2 MiB: a destination's first refusal at once, those after it as " +
        "a count at the minute's end; what has no line is counted in the next one. --json has the same, an object a line.",
    ],
  });
  command.action(async (name: string) => logs(context, name, command));
}
