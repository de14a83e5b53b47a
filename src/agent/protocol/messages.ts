/** The JSON that frames carry, checked. protocol/PROTOCOL.md, "Requests" and "Events". */
import {
  array,
  boolean,
  custom,
  integer,
  literal,
  looseObject,
  maxLength,
  maxValue,
  minValue,
  never,
  number,
  optional,
  picklist,
  pipe,
  regex,
  safeParse,
  string,
  transform,
  union,
} from "valibot";
import type { BaseIssue, BaseSchema } from "valibot";
import { FlameBoxError } from "../../util/error.ts";
import { printable } from "../../util/printable.ts";
import { ProtocolError } from "./frame.ts";

const word = (bytes: number) => pipe(string(), maxLength(bytes));
/** Shown to people: a terminal must not be moved by it. */
const text = (bytes: number) =>
  pipe(
    word(bytes),
    transform((said) => printable(said, bytes)),
  );
const MAX_MESSAGE_LENGTH = 4_096;
const between = (low: number, high: number) => pipe(number(), integer(), minValue(low), maxValue(high));

export const helloSchema = looseObject({
  generation: between(1, 0xffff_ffff),
  agent: text(64),
  kernel: text(256),
});

export interface Hello {
  readonly generation: number;
  readonly agent: string;
  /** `uname -r` of the guest. */
  readonly kernel: string;
}

export const errorSchema = looseObject({
  error: looseObject({ code: word(64), message: word(MAX_MESSAGE_LENGTH) }),
});
/** An array has all the members that a loose object asks for. */
const members = custom<object>(
  (value) => typeof value === "object" && value !== null && !Array.isArray(value),
  "a result that is no object",
);
export const resultSchema = looseObject({ result: members });

/** Of a container, or of a process that was executed into one. */
const idSchema = pipe(string(), regex(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/));
const container = { event: literal("container.exit"), id: idSchema };
const exec = { event: literal("container.exec.exit"), id: idSchema, exec: idSchema };
const oomKilled = optional(boolean(), false);
/** Never both: a loose object would let the one that was not asked for pass unchecked. */
const absent = optional(never());
const withCode = { exitCode: between(0, 255), signal: absent, oomKilled };
const withSignal = { exitCode: absent, signal: between(1, 64), oomKilled };

export const exitSchema = union([
  looseObject({ ...container, ...withCode }),
  looseObject({ ...container, ...withSignal }),
]);
export const execExitSchema = union([
  looseObject({ ...exec, ...withCode }),
  looseObject({ ...exec, ...withSignal }),
]);

/** How a process ended: with `exitCode` 0 to 255, or by `signal` 1 to 64. */
export interface ProcessEnd {
  readonly exitCode?: number | undefined;
  readonly signal?: number | undefined;
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
  warnings: optional(pipe(array(text(500)), maxLength(32)), []),
  prepared: optional(boolean(), false),
});

const count = between(0, Number.MAX_SAFE_INTEGER);
export const pingSchema = looseObject({ rssBytes: count });
const traffic = looseObject({
  receivedBytes: count,
  receivedPackets: count,
  sentBytes: count,
  sentPackets: count,
});
const transfers = looseObject({ readBytes: count, writtenBytes: count });

export const statsSchema = looseObject({
  memoryBytes: count,
  memoryPeakBytes: count,
  pids: count,
  cpuMicroseconds: count,
  oomKills: count,
  memoryLimitBytes: optional(count),
  pidsLimit: optional(count),
  cpuUserMicroseconds: optional(count),
  cpuSystemMicroseconds: optional(count),
  network: optional(traffic),
  block: optional(transfers),
});

/** From the container's cgroup: its processes, and all that they have started. What is optional is of generation 4. */
export interface ContainerStats {
  readonly memoryBytes: number;
  /** The most that it ever was. */
  readonly memoryPeakBytes: number;
  readonly pids: number;
  readonly cpuMicroseconds: number;
  /** Processes that the kernel has killed for want of memory. */
  readonly oomKills: number;
  /** Absent when it has none but the machine's. */
  readonly memoryLimitBytes?: number | undefined;
  readonly pidsLimit?: number | undefined;
  readonly cpuUserMicroseconds?: number | undefined;
  readonly cpuSystemMicroseconds?: number | undefined;
  /** Of all the interfaces that it sees but loopback, since the machine began. */
  readonly network?:
    | {
        readonly receivedBytes: number;
        readonly receivedPackets: number;
        readonly sentBytes: number;
        readonly sentPackets: number;
      }
    | undefined;
  /** Of disks. */
  readonly block?: { readonly readBytes: number; readonly writtenBytes: number } | undefined;
}

const time = looseObject({
  seconds: between(Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER),
  nanoseconds: between(0, 999_999_999),
});

/** Since the epoch; before it, `seconds` is negative, and `nanoseconds` counts forwards all the same. */
export interface TimeOfFile {
  readonly seconds: number;
  readonly nanoseconds: number;
}

const FILE_KINDS = [
  "file",
  "directory",
  "symlink",
  "fifo",
  "socket",
  "character-device",
  "block-device",
] as const;
/**
 * What a name stands for.
 * @useDeclaredType
 */
export type FileKind = (typeof FILE_KINDS)[number];

const id32 = between(0, 0xffff_ffff);
/** `container.stat`, and the answer of `container.archive`. */
export const fileStatSchema = looseObject({
  name: word(4_096),
  kind: picklist(FILE_KINDS),
  mode: between(0, 0o7777),
  sizeBytes: count,
  mtime: time,
  uid: id32,
  gid: id32,
  linkTarget: optional(word(4_096)),
});

export const extractedSchema = looseObject({ entries: count, bytes: count });
export const updatedSchema = looseObject({ warnings: optional(pipe(array(text(500)), maxLength(32)), []) });
export const emptySchema = looseObject({});

/** One of `container.processes`. */
export const processSchema = looseObject({
  pid: between(1, 1 << 22),
  machinePid: between(1, 1 << 22),
  parent: between(0, 1 << 22),
  uid: id32,
  user: optional(word(256)),
  name: word(64),
  state: pipe(string(), regex(/^[A-Za-z]$/)),
  started: time,
  cpuMicroseconds: count,
  rssBytes: count,
  args: array(word(4_096)),
});

/** Words of the guest's: whoever shows them makes them printable first. */
export interface ContainerProcess {
  /** In the container. */
  readonly pid: number;
  /** In the machine. */
  readonly machinePid: number;
  /** In the container; 0 when that is not in it. */
  readonly parent: number;
  /** As the machine counts. */
  readonly uid: number;
  /** As the container's /etc/passwd has it, if it does. */
  readonly user?: string | undefined;
  /** As the kernel has it: at most 15 bytes of the program's, or what the process calls itself. */
  readonly name: string;
  /** As proc_pid_stat(5) has it: `R`, `S`, `D`, `Z`, `T`, … */
  readonly state: string;
  readonly started: TimeOfFile;
  readonly cpuMicroseconds: number;
  readonly rssBytes: number;
  /** Cut at 4 KiB in all; empty for one that has ended. */
  readonly args: readonly string[];
}

/** @throws ProtocolError naming `what` */
export function check<Output>(
  what: string,
  schema: BaseSchema<unknown, Output, BaseIssue<unknown>>,
  value: unknown,
): Output {
  const result = safeParse(schema, value);
  if (result.success) return result.output;
  throw new ProtocolError(
    `${what} has not the form that was agreed on: ${printable(result.issues[0].message, 200)}`,
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
  "path-not-found",
  "not-a-directory",
]);

/**
 * The guest refused a request. `code` is one of the protocol's; a code of the guest's own becomes `failed`. The
 * message becomes one line.
 */
export class AgentError extends FlameBoxError {
  override readonly name = "AgentError";

  constructor(code: string, message: string, hint?: string) {
    const line = printable(message.replace(/\s+/g, " ").trim(), MAX_MESSAGE_LENGTH);
    super(KNOWN_CODES.has(code) ? code : "failed", line, { hint });
  }
}
