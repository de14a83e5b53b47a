/**
 * The one error funnel. Whatever a command throws becomes a `Failure`, one message line and at most one hint
 * line on stderr (or one JSON object), and an exit code.
 *
 * The library's errors are known by their shape, not by `instanceof`: importing the class would load the
 * library for a misspelt flag.
 */
import { CommanderError } from "commander";
import { printable } from "./output/text.ts";

/** Exit codes of FlameBox itself; the first four are Docker's for `run`. */
export const EXIT = {
  failure: 1,
  runFailure: 125,
  notExecutable: 126,
  notFound: 127,
  brokenPipe: 141,
} as const;

/** Something that only the command line can notice. Of the same shape as the library's errors. */
export class CliError extends Error {
  override readonly name: string = "CliError";
  readonly code: string;
  readonly hint: string | undefined;

  constructor(code: string, message: string, hint?: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.hint = hint;
  }
}

/** A wrong use of the command line. */
export class UsageError extends CliError {
  override readonly name: string = "UsageError";

  constructor(message: string, hint?: string) {
    super("usage", message, hint);
  }
}

/** What to throw when one of our own outputs cannot be written; a broken pipe stays what it is, and is quiet. */
export function outputFailure(error: unknown, streamName: string): unknown {
  if (isBrokenPipe(error) || !(error instanceof Error)) return error;
  return new CliError("output-failed", `${streamName} cannot be written: ${error.message}`, undefined, error);
}

/** The user's signal ended the command before it was through. */
export class Interrupted extends Error {
  override readonly name: string = "Interrupted";
  readonly code: string = "interrupted";
  readonly signalNumber: number;

  constructor(signalName: string, signalNumber: number) {
    super(`interrupted by ${signalName}`);
    this.signalNumber = signalNumber;
  }
}

/** Several things were asked for and some failed; each has been reported by itself. */
export class AlreadyReported extends Error {
  override readonly name: string = "AlreadyReported";
}

export interface Failure {
  /** A stable kebab-case word. */
  readonly code: string;
  readonly message: string;
  readonly hint: string | undefined;
  readonly exitCode: number;
}

const SYSTEM_HINTS: Readonly<Record<string, string>> = {
  ENOSPC: "free some space, or move FlameBox's files with FLAMEBOX_HOME",
  EDQUOT: "your quota is used up; free some space, or move FlameBox's files with FLAMEBOX_HOME",
  EACCES: "check the owner and mode of that path, or move FlameBox's files with FLAMEBOX_HOME",
  EROFS: "that file system is read-only; move FlameBox's files with FLAMEBOX_HOME",
};

function stringProperty(value: object, name: string): string | undefined {
  const property: unknown = Reflect.get(value, name);
  return typeof property === "string" ? property : undefined;
}

/** True for a write to a pipe whose reader has gone. */
export function isBrokenPipe(error: unknown): boolean {
  return error instanceof Error && stringProperty(error, "code") === "EPIPE";
}

function exitCodeOf(code: string, fullName: string): number {
  const commandName = fullName.replace(/^container /, "");
  if (commandName !== "run" && commandName !== "exec") return EXIT.failure;
  if (code === "command-not-found") return EXIT.notFound;
  if (code === "command-not-executable") return EXIT.notExecutable;
  return commandName === "run" ? EXIT.runFailure : EXIT.failure;
}

/** Commander's wording to ours: `error: unknown option '--nme'\n(Did you mean --name?)`. */
function describeUsage(error: CommanderError, commandName: string): Pick<Failure, "message" | "hint"> {
  const [first = "", suggestion] = error.message.split("\n");
  const help = `see 'flamebox ${commandName === "" ? "" : `${commandName} `}--help'`;
  const near = /^\(Did you mean (.*)\?\)$/.exec(suggestion ?? "")?.[1];
  return {
    message: first.replace(/^error: /, ""),
    hint: near === undefined ? help : `did you mean ${near}? ${help}`,
  };
}

/** `commandName` is the subcommand that was running, "" before one was known. */
export function describeFailure(error: unknown, commandName: string): Failure {
  if (error instanceof Interrupted) {
    const { code, message, signalNumber } = error;
    return { code, message, hint: undefined, exitCode: 128 + signalNumber };
  }
  if (error instanceof CommanderError) {
    return {
      code: "usage",
      ...describeUsage(error, commandName),
      exitCode: exitCodeOf("usage", commandName),
    };
  }
  if (!(error instanceof Error)) {
    return {
      code: "internal",
      message: String(error),
      hint: BUG_HINT,
      exitCode: exitCodeOf("internal", commandName),
    };
  }
  const word = stringProperty(error, "code");
  if (word !== undefined && /^[a-z][a-z0-9-]*$/.test(word)) {
    const hint = stringProperty(error, "hint");
    return { code: word, message: error.message, hint, exitCode: exitCodeOf(word, commandName) };
  }
  if (word !== undefined && /^E[A-Z0-9]+$/.test(word)) {
    return {
      code: "system",
      message: error.message,
      hint: SYSTEM_HINTS[word],
      exitCode: exitCodeOf("system", commandName),
    };
  }
  return {
    code: "internal",
    message: error.message,
    hint: BUG_HINT,
    exitCode: exitCodeOf("internal", commandName),
  };
}

const BUG_HINT =
  "this is a defect in FlameBox; run it again with --log-level debug and report what it prints";

/** The chain of causes, one line each; the innermost is what really happened. Depth is bounded: a cause may be itself. */
function causeLines(error: unknown): string[] {
  const lines: string[] = [];
  let current = error instanceof Error ? error.cause : undefined;
  for (let depth = 0; current !== undefined && current !== null && depth < 8; depth++) {
    if (!(current instanceof Error)) {
      lines.push(`  cause: ${printable(typeof current === "string" ? current : typeof current)}`);
      break;
    }
    const code = stringProperty(current, "code");
    const text = `${current.name}: ${current.message}`;
    lines.push(`  cause: ${printable(text)}${code === undefined ? "" : ` (${printable(code)})`}`);
    current = current.cause;
  }
  return lines;
}

function stackLines(error: unknown): string[] {
  const stack = error instanceof Error ? (error.stack ?? "") : "";
  return stack
    .split("\n")
    .filter((line) => /^\s+at /.test(line))
    .slice(0, 12)
    .map((line) => `  ${printable(line.trim())}`);
}

export interface FailureStyle {
  readonly json: boolean;
  readonly debug: boolean;
}

/** What goes to stderr, ending in a newline. */
export function renderFailure(failure: Failure, error: unknown, style: FailureStyle): string {
  if (style.json) {
    const { code, message, hint } = failure;
    return `${JSON.stringify({ error: { code, message, ...(hint === undefined ? {} : { hint }) } })}\n`;
  }
  const lines = [`flamebox: ${printable(failure.message)}`];
  if (failure.hint !== undefined) lines.push(`  hint: ${printable(failure.hint)}`);
  if (style.debug) lines.push(...causeLines(error), ...stackLines(error));
  return `${lines.join("\n")}\n`;
}
