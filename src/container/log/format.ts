/**
 * A container's log on disk: lines as the kubelet's CRI logs have them, which log collectors read.
 *
 *     2026-11-28T22:01:02.123456789Z stdout F a whole line
 *     2026-11-28T22:01:02.223456789Z stdout P the beginning of one, or its middle
 *
 * The text is the process's own bytes, whatever they are. A line feed in it ends the entry and is `F`'s; so what was
 * written can be told exactly.
 * https://github.com/kubernetes/design-proposals-archive/blob/main/node/kubelet-cri-logging.md
 */

export type LogStream = "stdout" | "stderr";

export interface LogEntry {
  /** RFC 3339 with nanoseconds, UTC. */
  readonly time: string;
  readonly stream: LogStream;
  /** Whether a line feed followed. */
  readonly isWhole: boolean;
  readonly text: Buffer;
}

const LINE_FEED = 0x0a;
/** `2026-11-28T22:01:02.123456789Z ` */
const TIME_LENGTH = 30;
/** Time, stream and tag, with the spaces behind them. */
const HEADER_LENGTH = TIME_LENGTH + " stdout F ".length;
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$/;
/** No entry is longer than what comes in one piece from a container; a file of other bytes must not fill memory. */
export const MAX_ENTRY_BYTES = 1 << 20;

/** Milliseconds since the epoch, with a fraction, as the log has them. */
export function timestamp(timeMs: number): string {
  const whole = Math.floor(timeMs);
  const nanoseconds = Math.floor((timeMs - whole) * 1e6);
  return `${new Date(whole).toISOString().slice(0, -1)}${String(nanoseconds).padStart(6, "0")}Z`;
}

/**
 * A piece of output as entries, in `room` if that is large enough, else in a larger buffer: a log that is written all
 * the time makes no garbage.
 */
export function encode(
  stream: LogStream,
  time: string,
  bytes: Buffer,
  room: Buffer = Buffer.alloc(0),
): { readonly room: Buffer; readonly length: number } {
  let lines = 1;
  for (let at = bytes.indexOf(LINE_FEED); at !== -1; at = bytes.indexOf(LINE_FEED, at + 1)) lines++;
  const most = bytes.length + lines * (HEADER_LENGTH + 1);
  const into = room.length >= most ? room : Buffer.alloc(most);
  let length = 0;
  for (let at = 0; at < bytes.length; ) {
    const end = bytes.indexOf(LINE_FEED, at);
    const next = end === -1 ? bytes.length : end + 1;
    length += into.write(`${time} ${stream} ${end === -1 ? "P" : "F"} `, length, "latin1");
    length += bytes.copy(into, length, at, next);
    if (end === -1) length = into.writeUInt8(LINE_FEED, length);
    at = next;
  }
  return { room: into, length };
}

/** Of a line without its line feed; undefined for what is none of ours (a half-written one after a crash). */
export function decode(line: Buffer): LogEntry | undefined {
  if (line.length < HEADER_LENGTH) return undefined;
  const [time = "", stream, tag, rest] = line.toString("latin1", 0, HEADER_LENGTH).split(" ");
  if (!TIME.test(time) || (stream !== "stdout" && stream !== "stderr") || rest !== "") return undefined;
  if (tag !== "F" && tag !== "P") return undefined;
  return { time, stream, isWhole: tag === "F", text: line.subarray(HEADER_LENGTH) };
}
