/**
 * What a health check is: the image's, changed by the options. Docker's rules and defaults.
 * https://docs.docker.com/reference/dockerfile/#healthcheck
 */
import type { ExecutionConfig } from "../oci/config.ts";
import { FlameBoxError } from "../util/error.ts";
import type { HealthcheckOptions } from "./options.ts";

export interface Healthcheck {
  readonly args: readonly string[];
  readonly intervalMs: number;
  readonly timeoutMs: number;
  readonly retries: number;
  readonly startPeriodMs: number;
  readonly startIntervalMs: number;
}

const DEFAULTS = {
  intervalMs: 30_000,
  timeoutMs: 30_000,
  retries: 3,
  startPeriodMs: 0,
  startIntervalMs: 5_000,
};
const DEFAULT_SHELL = ["/bin/sh", "-c"];
const NS_PER_MS = 1e6;
/** What a timer of Node's can wait. */
const MAX_MS = 2 ** 31 - 1;
const MAX_RETRIES = 1_000_000;

/** @throws FlameBoxError `invalid-option` */
export function checkHealthcheck(options: HealthcheckOptions): void {
  const { intervalMs, timeoutMs, startPeriodMs, startIntervalMs, retries = 0, test } = options;
  for (const [name, value = 0] of Object.entries({ intervalMs, timeoutMs, startPeriodMs, startIntervalMs }))
    if (!(value === 0 || (value >= 1 && value <= MAX_MS)))
      throw invalid(`${name} of a health check is 1 ms to ${MAX_MS} ms, or 0 for the default, not ${value}`);
  if (!Number.isSafeInteger(retries) || retries < 0 || retries > MAX_RETRIES)
    throw invalid(`a health check is tried 1 to ${MAX_RETRIES} times, or 0 for the default, not ${retries}`);
  if (test !== undefined && argumentsOf(test, DEFAULT_SHELL) === null)
    throw invalid(
      "a health check's test begins with CMD, CMD-SHELL or NONE, and has a command behind the first two",
    );
}

/** Null: it is none of the forms that there are. Undefined: there is no check. */
function argumentsOf(test: readonly string[], shell: readonly string[]): string[] | undefined | null {
  const [kind, ...words] = test;
  if (kind === undefined || kind === "NONE") return undefined;
  if (words.length === 0 || words.some((word) => word.includes("\0"))) return null;
  if (kind === "CMD") return words;
  return kind === "CMD-SHELL" && words.length === 1 ? [...shell, ...words] : null;
}

function fromNanoseconds(value: number | undefined): number | undefined {
  return value === undefined || value === 0 ? undefined : Math.min(MAX_MS, Math.max(1, value / NS_PER_MS));
}

/** An image's check that makes no sense is none: Docker's builders do not write such. */
export function healthcheckOf(
  image: ExecutionConfig,
  options: HealthcheckOptions | false | undefined,
): Healthcheck | undefined {
  if (options === false) return undefined;
  const own = image.Healthcheck;
  const shell = image.Shell !== undefined && image.Shell.length > 0 ? image.Shell : DEFAULT_SHELL;
  const args = argumentsOf(options?.test ?? own?.Test ?? [], shell);
  if (args === undefined || args === null) return undefined;
  return {
    args,
    intervalMs: options?.intervalMs || fromNanoseconds(own?.Interval) || DEFAULTS.intervalMs,
    timeoutMs: options?.timeoutMs || fromNanoseconds(own?.Timeout) || DEFAULTS.timeoutMs,
    retries: options?.retries || own?.Retries || DEFAULTS.retries,
    startPeriodMs: options?.startPeriodMs || fromNanoseconds(own?.StartPeriod) || DEFAULTS.startPeriodMs,
    startIntervalMs:
      options?.startIntervalMs || fromNanoseconds(own?.StartInterval) || DEFAULTS.startIntervalMs,
  };
}

function invalid(message: string): FlameBoxError {
  return new FlameBoxError("invalid-option", message);
}
