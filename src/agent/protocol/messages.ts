/** The JSON that frames carry, checked. protocol/PROTOCOL.md, "Requests" and "Events". */
import {
  array,
  boolean,
  integer,
  literal,
  looseObject,
  maxLength,
  maxValue,
  minValue,
  number,
  optional,
  pipe,
  regex,
  safeParse,
  string,
  union,
} from "valibot";
import type { BaseIssue, BaseSchema } from "valibot";
import { FlameBoxError } from "../../util/error.ts";
import { ProtocolError } from "./frame.ts";

const word = (bytes: number) => pipe(string(), maxLength(bytes));
const between = (low: number, high: number) => pipe(number(), integer(), minValue(low), maxValue(high));

export const helloSchema = looseObject({
  generation: between(1, 0xffff_ffff),
  agent: word(64),
  kernel: word(256),
});

export interface Hello {
  readonly generation: number;
  readonly agent: string;
  /** `uname -r` of the guest. */
  readonly kernel: string;
}

export const errorSchema = looseObject({ error: looseObject({ code: word(64), message: word(4096) }) });
export const resultSchema = looseObject({ result: looseObject({}) });

/** Of a container, or of a process that was executed into one. */
const idSchema = pipe(string(), regex(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/));
const oomKilled = optional(boolean(), false);
const exitCode = between(0, 255);
const signal = between(1, 64);
const container = { event: literal("container.exit"), id: idSchema, oomKilled };
const exec = { event: literal("container.exec.exit"), id: idSchema, exec: idSchema, oomKilled };

export const exitSchema = union([
  looseObject({ ...container, exitCode }),
  looseObject({ ...container, signal }),
]);
export const execExitSchema = union([looseObject({ ...exec, exitCode }), looseObject({ ...exec, signal })]);

/** How a process ended: with `exitCode` 0 to 255, or by `signal` 1 to 64. */
export interface ProcessEnd {
  readonly exitCode?: number;
  readonly signal?: number;
  /** The kernel has killed something in the container for want of memory, whether or not it was this process. */
  readonly oomKilled?: boolean;
}

export interface ExitEvent extends ProcessEnd {
  readonly id: string;
}

export interface ExecExitEvent extends ProcessEnd {
  readonly id: string;
  readonly exec: string;
}

export const pidSchema = looseObject({ pid: between(1, 1 << 22) });

export const createdSchema = looseObject({
  pid: between(1, 1 << 22),
  warnings: optional(pipe(array(word(500)), maxLength(32)), []),
});

const count = between(0, Number.MAX_SAFE_INTEGER);
export const pingSchema = looseObject({ rssBytes: count });
export const statsSchema = looseObject({
  memoryBytes: count,
  memoryPeakBytes: count,
  pids: count,
  cpuMicroseconds: count,
  oomKills: count,
});

/** @throws ProtocolError naming `what` */
export function check<Output>(
  what: string,
  schema: BaseSchema<unknown, Output, BaseIssue<unknown>>,
  value: unknown,
): Output {
  const result = safeParse(schema, value);
  if (result.success) return result.output;
  throw new ProtocolError(
    `${what} has not the form that was agreed on: ${result.issues[0].message.slice(0, 200)}`,
  );
}

const KNOWN_CODES = new Set([
  "invalid-request",
  "unknown-method",
  "not-found",
  "conflict",
  "user-not-found",
  "command-not-found",
  "command-not-executable",
  "invalid-config",
  "failed",
]);

/** The guest refused a request. `code` is one of the protocol's; a code of the guest's own becomes `failed`. */
export class AgentError extends FlameBoxError {
  override readonly name = "AgentError";

  constructor(code: string, message: string, hint?: string) {
    super(KNOWN_CODES.has(code) ? code : "failed", message, { hint });
  }
}
