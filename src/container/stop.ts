/** How a container is asked to end: which signal, and how long it may take. The option's, the image's, Docker's. */
import type { ExecutionConfig } from "../oci/config.ts";
import { parseSignal, SIGNAL_NAMES } from "../oci/signal.ts";
import { FlameBoxError } from "../util/error.ts";
import { nearest } from "../util/nearest.ts";
import { quote } from "../util/printable.ts";
import type { ContainerOptions } from "./options.ts";

const DEFAULT_SIGNAL = 15;
const KILL = 9;
const DEFAULT_TIMEOUT_MS = 10_000;
/** What a timer of Node's can wait. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

export interface StopPlan {
  readonly signal: number;
  /** Infinity is without end. */
  readonly timeoutMs: number;
}

/** @throws FlameBoxError `invalid-option` */
export function stopSignalOf(signal: string | number): number {
  const text = String(signal);
  const number = parseSignal(text);
  if (number !== undefined) return number;
  const near = nearest(text.toUpperCase().replace(/^SIG/, ""), SIGNAL_NAMES);
  throw new FlameBoxError("invalid-option", `there is no signal ${quote(text)}`, {
    hint:
      near === undefined ? "write a name, a number from 1 to 64, or SIGRTMIN+n" : `did you mean SIG${near}?`,
  });
}

/** @throws FlameBoxError `invalid-option` */
export function stopTimeoutOf(timeoutMs: number): number {
  if (timeoutMs === -1) return Number.POSITIVE_INFINITY;
  if (timeoutMs >= 0 && timeoutMs <= MAX_TIMEOUT_MS) return timeoutMs;
  throw new FlameBoxError(
    "invalid-option",
    `the time to stop is 0 to ${MAX_TIMEOUT_MS} ms, or -1 for ever, not ${timeoutMs}`,
  );
}

/** @throws FlameBoxError `invalid-option`, for the options; an image's signal that is none is as if it had none */
export function stopPlanOf(image: ExecutionConfig, options: ContainerOptions): StopPlan {
  const { stopSignal, stopTimeoutMs = DEFAULT_TIMEOUT_MS, idle = false } = options;
  // Nothing is lost with it, and as process 1 it hears no other signal.
  if (idle && stopSignal === undefined) return { signal: KILL, timeoutMs: stopTimeoutOf(stopTimeoutMs) };
  const signal =
    stopSignal === undefined
      ? (parseSignal(image.StopSignal ?? "") ?? DEFAULT_SIGNAL)
      : stopSignalOf(stopSignal);
  return { signal, timeoutMs: stopTimeoutOf(stopTimeoutMs) };
}
