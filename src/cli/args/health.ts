/** `--health-…` and `--no-healthcheck`. https://docs.docker.com/reference/cli/docker/container/run/#health-cmd */
import { UsageError } from "../failure.ts";
import type { HealthcheckOptions } from "../library.ts";
import { parseDuration } from "./duration.ts";
import { parseCount } from "./size.ts";

export interface HealthFlags {
  readonly healthCmd?: string;
  readonly healthInterval?: string;
  readonly healthTimeout?: string;
  readonly healthRetries?: string;
  readonly healthStartPeriod?: string;
  readonly healthStartInterval?: string;
  /** Commander's for `--no-healthcheck`: true when it was not given. */
  readonly healthcheck?: boolean;
}

/** Undefined: the image's, as it is. */
export function parseHealth(flags: HealthFlags): HealthcheckOptions | false | undefined {
  const duration = (text: string | undefined, flag: string) =>
    text === undefined ? undefined : parseDuration(text, flag);
  const { healthCmd, healthRetries } = flags;
  const given: HealthcheckOptions = {
    test: healthCmd === undefined || healthCmd === "" ? undefined : ["CMD-SHELL", healthCmd],
    intervalMs: duration(flags.healthInterval, "--health-interval"),
    timeoutMs: duration(flags.healthTimeout, "--health-timeout"),
    retries: healthRetries === undefined ? undefined : parseCount(healthRetries, "--health-retries"),
    startPeriodMs: duration(flags.healthStartPeriod, "--health-start-period"),
    startIntervalMs: duration(flags.healthStartInterval, "--health-start-interval"),
  };
  const entries = Object.entries(given).filter(([, value]) => value !== undefined);
  if (flags.healthcheck === false) {
    if (entries.length > 0)
      throw new UsageError("--no-healthcheck conflicts with the --health-… options", "leave out one of them");
    return false;
  }
  return entries.length === 0 ? undefined : Object.fromEntries(entries);
}
