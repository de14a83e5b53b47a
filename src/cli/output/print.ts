/** Results, to stdout and nowhere else. */
import type { CliContext } from "../context.ts";
import { outputFailure, UsageError } from "../failure.ts";
import { writeAll } from "../session/streams.ts";
import type { Settings } from "../settings.ts";

/** Data for stdout. */
export async function print(context: CliContext, text: string): Promise<void> {
  try {
    await writeAll(context.stdout, text);
  } catch (error) {
    throw outputFailure(error, "standard output");
  }
}

export function toJson(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

/** One way to print is enough. */
export function checkOneStyle(settings: Settings): void {
  if (settings.json && settings.format !== undefined)
    throw new UsageError("--json and --format exclude each other");
}
