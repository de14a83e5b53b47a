/** Flags of a container that stays: `--restart`, `--log-driver`, `--log-opt`, and how long to wait for its end. */
import { UsageError } from "../failure.ts";
import type { LogOptions, RestartPolicy } from "../library.ts";
import { parseCount, parseSize } from "./size.ts";

export const POLICIES = ["no", "on-failure", "always", "unless-stopped"] as const;

/** `no`, `always`, `unless-stopped`, `on-failure[:TIMES]`. */
export function parseRestart(text: string): RestartPolicy {
  const [name = "", times, ...rest] = text.split(":");
  const policy = POLICIES.find((candidate) => candidate === name);
  if (policy === undefined || rest.length > 0 || (times !== undefined && policy !== "on-failure"))
    throw new UsageError(
      `--restart '${text}' is not a restart policy`,
      "write no, always, unless-stopped, or on-failure[:TIMES]",
    );
  const maximumRetryCount = times === undefined ? 0 : parseCount(times, "--restart on-failure:");
  return { name: policy, maximumRetryCount };
}

/** Docker's drivers that keep a log beside the container are ours in effect. */
export const DRIVERS: Readonly<Record<string, LogOptions["driver"]>> = {
  local: "local",
  "json-file": "local",
  none: "none",
};

export function parseLog(
  driver: string | undefined,
  options: readonly string[] | undefined,
): Partial<LogOptions> | undefined {
  if (driver === undefined && options === undefined) return undefined;
  const known = driver === undefined ? undefined : DRIVERS[driver];
  if (driver !== undefined && known === undefined)
    throw new UsageError(
      `--log-driver '${driver}' is not supported`,
      "local keeps the output in the container's folder, none keeps nothing",
    );
  const log: { -readonly [K in keyof LogOptions]?: LogOptions[K] } = {};
  if (known !== undefined) log.driver = known;
  for (const option of options ?? []) {
    const [name = "", value = ""] = option.split("=", 2);
    if (name === "max-size") log.maxSizeBytes = parseSize(value, "--log-opt max-size");
    else if (name === "max-file") log.maxFiles = parseCount(value, "--log-opt max-file", 1);
    else
      throw new UsageError(`--log-opt '${option}' is not supported`, "write max-size=SIZE or max-file=COUNT");
  }
  return log;
}

/** Seconds, as Docker has it; -1 waits for ever. */
export function parseEndTimeout(text: string, flag: string): number {
  const seconds = parseCount(text, flag, -1);
  return seconds === -1 ? -1 : seconds * 1_000;
}

/** A time of the day, or how long ago: RFC 3339, a Unix time, or `10m`. Milliseconds since the epoch. */
export function parseTime(text: string, flag: string, nowMs: number): number {
  if (/^\d{1,12}(?:\.\d{1,9})?$/.test(text)) return Number(text) * 1_000;
  const parts = [...text.matchAll(/(\d{1,12}(?:\.\d{1,9})?)(ms|s|m|h|d)/gy)];
  if (parts.length > 0 && parts.map(([part]) => part).join("") === text) {
    const agoMs = parts.reduce(
      (sum, [, number, unit = ""]) => sum + Number(number) * (UNITS_MS[unit] ?? 0),
      0,
    );
    return nowMs - agoMs;
  }
  const timeMs = /^\d{4}-\d\d-\d\d/.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(timeMs))
    throw new UsageError(
      `${flag} '${text}' is not a time`,
      "write 2026-01-31T12:00:00Z, a Unix time in seconds, or how long ago, as in 10m",
    );
  return timeMs;
}

const UNITS_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};
