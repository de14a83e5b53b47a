/** The JSON that frames carry, checked. protocol/PROTOCOL.md, "Requests" and "Events". */
import {
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

const containerId = word(128);
export const exitSchema = union([
  looseObject({ event: literal("container.exit"), id: containerId, exitCode: between(0, 255) }),
  looseObject({
    event: literal("container.exit"),
    id: containerId,
    signal: between(1, 64),
    oomKilled: optional(boolean(), false),
  }),
]);

export interface ExitEvent {
  readonly id: string;
  readonly exitCode?: number;
  readonly signal?: number;
  readonly oomKilled?: boolean;
}

export const pidSchema = looseObject({ pid: between(1, 1 << 22) });

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
