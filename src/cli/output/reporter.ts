/** Everything said on stderr while a command works: progress, notices, debug lines. stdout is never touched. */
import type { CliContext } from "../context.ts";
import type { OnProgress } from "../library.ts";
import { isAtLeast, type Settings } from "../settings.ts";
import { LineProgress } from "./progress-lines.ts";
import { type ProgressView, TerminalProgress } from "./progress-terminal.ts";
import { printable } from "./text.ts";

export interface Reporter {
  readonly onProgress: OnProgress;
  /** Something a person should see: level `warn`. */
  readonly onNotice: (notice: string) => void;
  /** Something that was decided or given: level `info`. */
  inform(text: string): void;
  debug(text: string): void;
  /** No progress from here on. Call it before the first byte of output. */
  stop(options?: { readonly summary?: boolean }): void;
}

/** A terminal that can move its cursor. */
export function canRedraw(context: Pick<CliContext, "stderr" | "env">): boolean {
  return context.stderr.isTTY === true && context.env["TERM"] !== "dumb";
}

/** https://no-color.org: set and not empty means no colour. */
export function wantsColours(context: Pick<CliContext, "stderr" | "env">): boolean {
  return canRedraw(context) && !context.env["NO_COLOR"];
}

function viewFor(context: CliContext, settings: Settings): ProgressView {
  const mute: ProgressView = {
    onProgress: () => {},
    write: (lines) => context.stderr.write(lines),
    stop: () => {},
  };
  if (settings.quiet || !isAtLeast(settings, "info")) return mute;
  if (canRedraw(context)) return new TerminalProgress(context, { colours: wantsColours(context) });
  // With --json a program reads stderr, too: it gets JSON lines and nothing between them.
  return settings.json ? mute : new LineProgress(context);
}

export function createReporter(context: CliContext, settings: Settings): Reporter {
  const view = viewFor(context, settings);
  let raw = false;
  const say = (kind: "notice" | "info" | "debug", text: string) => {
    const line = settings.json
      ? JSON.stringify({ [kind]: { message: text } })
      : `flamebox: ${kind === "debug" ? "debug: " : ""}${printable(text)}`;
    // Behind a raw terminal nobody adds the carriage return.
    view.write(raw ? `${line}\r\n` : `${line}\n`);
  };
  return {
    onProgress: view.onProgress,
    onNotice: (notice) => {
      if (!settings.quiet && isAtLeast(settings, "warn")) say("notice", notice);
    },
    inform: (text) => {
      if (!settings.quiet && isAtLeast(settings, "info")) say("info", text);
    },
    debug: (text) => {
      if (isAtLeast(settings, "debug")) say("debug", text);
    },
    stop: (options) => {
      view.stop(options);
      raw = context.stderr.isTTY === true;
    },
  };
}
