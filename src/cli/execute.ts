/** One command line, from its words to its exit code. */
import { setTimeout as sleep } from "node:timers/promises";
import { CommanderError } from "commander";
import type { CliContext } from "./context.ts";
import {
  AlreadyReported,
  describeFailure,
  EXIT,
  Interrupted,
  isBrokenPipe,
  renderFailure,
} from "./failure.ts";
import { createProgram, type Program } from "./program.ts";
import { writeAll } from "./session/streams.ts";
import { settingsOf } from "./settings.ts";

/** Help and version are asked for by throwing, too. */
function isAnswer(error: unknown): boolean {
  return error instanceof CommanderError && error.exitCode === 0;
}

/** The settings as far as the words had been read when it failed. */
function styleOf(program: Program): { json: boolean; debug: boolean } {
  const { json, logLevel } = settingsOf(program.activeCommand());
  return { json, debug: logLevel === "debug" };
}

function fail(context: CliContext, program: Program, error: unknown): number {
  if (isBrokenPipe(error)) return EXIT.brokenPipe;
  // Of a command that has commands of its own, without one: its help has been shown instead of a message.
  const helped = error instanceof CommanderError && error.code === "commander.help";
  if (error instanceof AlreadyReported || helped) return EXIT.failure;
  const failure = describeFailure(error, program.activeName());
  context.stderr.write(renderFailure(failure, error, styleOf(program)));
  return failure.exitCode;
}

/** How long the output of somebody who wants to go may hold him up: its reader may be the reason. */
const HASTY_FLUSH_MS = 200;

/** Waits until what was written is with the system; a reader that has gone is told from a full disk elsewhere. */
async function flush(context: CliContext): Promise<boolean> {
  const results = await Promise.allSettled([writeAll(context.stdout, ""), writeAll(context.stderr, "")]);
  return results.some((result) => result.status === "rejected" && isBrokenPipe(result.reason));
}

/**
 * For an error that nobody awaited: the same words as for any other, and the exit code. What the command was is
 * guessed from the words, as the parser may be anywhere.
 */
export function crash(error: unknown, words: readonly string[], context: CliContext): number {
  if (isBrokenPipe(error)) return EXIT.brokenPipe;
  const [first = "", second = ""] = words.filter((word) => !word.startsWith("-"));
  const failure = describeFailure(error, first === "container" ? second : first);
  context.stderr.write(
    renderFailure(failure, error, { json: words.includes("--json"), debug: words.includes("debug") }),
  );
  return failure.exitCode;
}

/** Never rejects. */
export async function execute(words: readonly string[], context: CliContext): Promise<number> {
  const program = createProgram(context);
  let exitCode: number;
  let hasty = false;
  try {
    if (words.length === 0) program.root.outputHelp();
    else await program.root.parseAsync([...words], { from: "user" });
    exitCode = context.outcome.exitCode;
  } catch (error) {
    exitCode = isAnswer(error) ? 0 : fail(context, program, error);
    hasty = error instanceof Interrupted;
  }
  const flushed = flush(context);
  const broken = await (hasty ? Promise.race([flushed, sleep(HASTY_FLUSH_MS, false)]) : flushed);
  return broken && exitCode === 0 ? EXIT.brokenPipe : exitCode;
}
