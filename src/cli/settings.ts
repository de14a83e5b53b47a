/** The options that every command understands, before or after its name. */
import { type Command, Option } from "commander";

export const LOG_LEVELS = ["error", "warn", "info", "debug"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export interface Settings {
  readonly json: boolean;
  readonly format: string | undefined;
  readonly quiet: boolean;
  readonly logLevel: LogLevel;
}

export function isAtLeast(settings: Settings, level: LogLevel): boolean {
  return LOG_LEVELS.indexOf(settings.logLevel) >= LOG_LEVELS.indexOf(level);
}

const HEADING = "Options of every command:";

/** `format` is left out where it has no use; `-h` means something else to `run`. */
export function addCommonOptions(
  command: Command,
  options: { readonly format: boolean; readonly helpFlags: string },
): void {
  const level = new Option("--log-level <level>", "how much to say on standard error").choices(LOG_LEVELS);
  command.optionsGroup(HEADING);
  command.option("--json", "print results, and errors, as JSON");
  if (options.format)
    command.option("--format <template>", "print results with a Go template, 'table …' or 'json'");
  command.addOption(level);
  command.option("-q, --quiet", "no progress and no notices; only identifiers where there is a list");
  command.addHelpOption(new Option(options.helpFlags, "show this help").helpGroup(HEADING));
}

/** `-f` is `--format` where Docker has it so; elsewhere it is a filter's. Call it behind `addCommonOptions`. */
export function addShortFormat(command: Command): void {
  command.option("-f <template>", "as --format");
  command.hook("preAction", () => {
    const { f } = command.opts<{ f?: string }>();
    if (f !== undefined) command.setOptionValue("format", f);
  });
}

/** Reads the common options of a command and of the program above it. */
export function settingsOf(command: Command): Settings {
  const flags = command.optsWithGlobals<{
    json?: boolean;
    format?: string;
    quiet?: boolean;
    logLevel?: LogLevel;
  }>();
  return {
    json: flags.json ?? false,
    format: flags.format,
    quiet: flags.quiet ?? false,
    logLevel: flags.logLevel ?? "info",
  };
}
