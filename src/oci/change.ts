/**
 * Instructions of a Dockerfile that change an image's config without running anything: what `--change` takes.
 * https://docs.docker.com/reference/cli/docker/container/commit/#change
 *
 * Variables are not replaced: there is no build that they could belong to.
 */
import { posix } from "node:path";
import { quote } from "../util/printable.ts";
import type { ExecutionConfig, Healthcheck } from "./config.ts";
import { OciError } from "./error.ts";
import { parseSignal } from "./signal.ts";

const SHELL = ["/bin/sh", "-c"];
const MAX_LENGTH = 65_536;

function invalid(change: string, problem: string, hint?: string): OciError {
  return new OciError("invalid-change", `change ${quote(change)}: ${problem}`, { hint });
}

/** Words as Dockerfiles have them: quotes keep spaces, a backslash the character behind it. */
function words(text: string, change: string): string[] {
  const found: string[] = [];
  const pattern = /\s*((?:[^\s"'\\]|\\[\s\S]|"(?:[^"\\]|\\[\s\S])*"|'[^']*')+)/y;
  for (let at = 0; /\S/.test(text.slice(at)); at = pattern.lastIndex) {
    pattern.lastIndex = at;
    const word = pattern.exec(text)?.[1];
    if (word === undefined) throw invalid(change, "a quote is not closed");
    found.push(
      word.replace(/\\([\s\S])|"((?:[^"\\]|\\[\s\S])*)"|'([^']*)'/g, (_, escaped, double, single) =>
        typeof escaped === "string"
          ? escaped
          : typeof single === "string"
            ? single
            : (double as string).replace(/\\(["\\$])/g, "$1"),
      ),
    );
  }
  return found;
}

/** `["a", "b"]`; undefined for anything that does not begin as one. */
function jsonStrings(text: string, change: string): string[] | undefined {
  if (!text.startsWith("[")) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw invalid(change, "the array is not JSON", 'write ["program", "argument"] with double quotes');
  }
  if (Array.isArray(value) && value.every((one): one is string => typeof one === "string")) return value;
  throw invalid(change, "the array has something in it that is no string");
}

function command(text: string, change: string): string[] {
  return jsonStrings(text, change) ?? [...SHELL, text];
}

/** `KEY=VALUE …`, or the old `KEY VALUE`. */
function pairs(text: string, change: string): [key: string, value: string][] {
  const old = /^([^\s=]+)\s+([\s\S]+)$/.exec(text);
  if (
    old?.[1] !== undefined &&
    old[2] !== undefined &&
    !words(text, change).every((one) => one.includes("="))
  )
    return [[old[1], old[2]]];
  return words(text, change).map((word) => {
    const equals = word.indexOf("=");
    if (equals < 1) throw invalid(change, `${quote(word)} is not KEY=VALUE`);
    return [word.slice(0, equals), word.slice(equals + 1)];
  });
}

function port(text: string, change: string): string {
  const match = /^(\d{1,5})(?:-(\d{1,5}))?(?:\/(tcp|udp|sctp))?$/i.exec(text);
  const last = Number(match?.[2] ?? match?.[1] ?? 0);
  if (!match || last < 1 || last > 65_535) throw invalid(change, `${quote(text)} is not a port`);
  return `${match[1]}${match[2] === undefined ? "" : `-${match[2]}`}/${(match[3] ?? "tcp").toLowerCase()}`;
}

const UNITS: Readonly<Record<string, number>> = { h: 3_600_000, m: 60_000, s: 1000, ms: 1 };

function nanoseconds(text: string, change: string): number {
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|h|m|s)/g)];
  if (parts.length === 0 || parts.map(([whole]) => whole).join("") !== text)
    throw invalid(change, `${quote(text)} is not a duration such as 30s`);
  const ms = parts.reduce((sum, [, number, unit]) => sum + Number(number) * (UNITS[unit ?? ""] ?? 0), 0);
  return Math.round(ms * 1_000_000);
}

const DURATIONS = {
  interval: "Interval",
  timeout: "Timeout",
  "start-period": "StartPeriod",
  "start-interval": "StartInterval",
} as const;

function healthcheck(text: string, change: string): Healthcheck {
  if (/^none$/i.test(text)) return { Test: ["NONE"] };
  const options: Record<string, number> = {};
  let rest = text;
  for (;;) {
    const option = /^--([a-z-]+)=(\S+)\s*/.exec(rest);
    if (!option?.[1] || option[2] === undefined) break;
    const [whole, name, value] = option;
    if (name === "retries" && /^\d{1,6}$/.test(value)) options["Retries"] = Number(value);
    else if (Object.hasOwn(DURATIONS, name))
      options[DURATIONS[name as keyof typeof DURATIONS]] = nanoseconds(value, change);
    else throw invalid(change, `${quote(whole.trim())} is no option of HEALTHCHECK`);
    rest = rest.slice(whole.length);
  }
  const test = /^CMD\s+([\s\S]+)$/i.exec(rest)?.[1];
  if (test === undefined) throw invalid(change, "HEALTHCHECK takes NONE, or options and CMD");
  const strings = jsonStrings(test, change);
  return { ...options, Test: strings ? ["CMD", ...strings] : ["CMD-SHELL", test] };
}

function withEnv(env: readonly string[] = [], added: readonly (readonly [string, string])[]): string[] {
  const result = [...env];
  for (const [key, value] of added) {
    const at = result.findIndex((one) => one.startsWith(`${key}=`));
    if (at === -1) result.push(`${key}=${value}`);
    else result[at] = `${key}=${value}`;
  }
  return result;
}

type Change = (config: ExecutionConfig, text: string, change: string) => ExecutionConfig;

const CHANGES: Readonly<Record<string, Change>> = {
  CMD: (config, text, change) => ({ ...config, Cmd: command(text, change) }),
  // As a Dockerfile's: arguments that belonged to another program go.
  ENTRYPOINT: (config, text, change) => ({
    ...config,
    Cmd: undefined,
    Entrypoint: command(text, change),
  }),
  ENV: (config, text, change) => ({ ...config, Env: withEnv(config.Env, pairs(text, change)) }),
  LABEL: (config, text, change) => ({
    ...config,
    Labels: { ...config.Labels, ...Object.fromEntries(pairs(text, change)) },
  }),
  EXPOSE: (config, text, change) => ({
    ...config,
    ExposedPorts: {
      ...config.ExposedPorts,
      ...Object.fromEntries(words(text, change).map((one) => [port(one, change), {}])),
    },
  }),
  VOLUME: (config, text, change) => ({
    ...config,
    Volumes: {
      ...config.Volumes,
      ...Object.fromEntries((jsonStrings(text, change) ?? words(text, change)).map((path) => [path, {}])),
    },
  }),
  USER: (config, text) => ({ ...config, User: text }),
  WORKDIR: (config, text) => ({ ...config, WorkingDir: posix.resolve("/", config.WorkingDir ?? "", text) }),
  STOPSIGNAL: (config, text, change) => {
    if (parseSignal(text) === undefined) throw invalid(change, `${quote(text)} is no signal`);
    return { ...config, StopSignal: text };
  },
  SHELL: (config, text, change) => {
    const Shell = jsonStrings(text, change);
    if (Shell === undefined) throw invalid(change, "SHELL takes an array");
    return { ...config, Shell };
  },
  HEALTHCHECK: (config, text, change) => ({ ...config, Healthcheck: healthcheck(text, change) }),
};

/**
 * The config after the changes, in their order.
 * @throws OciError `invalid-change`
 */
export function applyChanges(config: ExecutionConfig, changes: readonly string[]): ExecutionConfig {
  return changes.reduce((before, change) => {
    if (change.length > MAX_LENGTH) throw invalid(change, `it has more than ${MAX_LENGTH} characters`);
    if (change.includes("\0")) throw invalid(change, "it holds a NUL");
    const match = /^\s*([A-Za-z]+)\s+([\s\S]*\S)\s*$/.exec(change);
    const keyword = (match?.[1] ?? "").toUpperCase();
    const apply = Object.hasOwn(CHANGES, keyword) ? CHANGES[keyword] : undefined;
    if (match?.[2] === undefined || apply === undefined)
      throw invalid(
        change,
        "it is no instruction with a value",
        `use one of ${Object.keys(CHANGES).join(", ")}`,
      );
    return apply(before, match[2], change);
  }, config);
}
