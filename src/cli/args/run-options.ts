/** The flags of `run` to the library's `ContainerOptions`: each flag is checked here and named in its error. */
import { resolve } from "node:path";
import type { Environment } from "../context.ts";
import { UsageError } from "../failure.ts";
import type { ContainerOptions } from "../library.ts";
import { pullOptionsFrom } from "./access.ts";
import { type EnvEntry, parseEnv } from "./environment.ts";
import { parseAddHost, parseDns, parseHostname, parsePublish } from "./network.ts";
import { parseVolume } from "./volume.ts";
import { parseCpus, parseMemoryMib, parseSize } from "./size.ts";

/** As commander delivers them: strings still, lists in the order given. */
export interface RunFlags {
  readonly interactive?: boolean;
  readonly tty?: boolean;
  readonly env?: readonly string[];
  readonly envFile?: readonly string[];
  readonly workdir?: string;
  readonly user?: string;
  readonly groupAdd?: readonly string[];
  readonly entrypoint?: string;
  readonly hostname?: string;
  readonly addHost?: readonly string[];
  readonly dns?: readonly string[];
  readonly publish?: readonly string[];
  readonly network?: "user" | "none";
  readonly volume?: readonly string[];
  readonly pull?: "always" | "missing" | "never";
  readonly platform?: string;
  readonly cpus?: string;
  readonly memory?: string;
  readonly storageSize?: string;
  readonly kernel?: string;
  readonly requireKvm?: boolean;
  readonly insecure?: boolean;
}

function parseWorkdir(text: string): string {
  if (!text.startsWith("/")) throw new UsageError(`--workdir '${text}' is not an absolute path`);
  return text;
}

function parseUser(text: string): string {
  if (!/^[^:\s]+(:[^:\s]+)?$/.test(text)) {
    throw new UsageError(
      `--user '${text}' is not a user`,
      "write NAME or UID, and a group behind a colon if you like",
    );
  }
  return text;
}

function parseGroup(text: string): string {
  if (!/^[^:\s]+$/.test(text)) throw new UsageError(`--group-add '${text}' is not a group name or number`);
  return text;
}

/** `fileEntries` are those of the env files; a variable given by `--env` wins over them. */
function environmentOf(flags: RunFlags, fileEntries: readonly EnvEntry[], environment: Environment) {
  const given = (flags.env ?? []).map((argument) => parseEnv(argument, environment));
  const entries = [...fileEntries, ...given.filter((entry) => entry !== undefined)];
  // A null prototype, so that a variable named __proto__ is a variable.
  const env = Object.create(null) as Record<string, string>;
  for (const [name, value] of entries) env[name] = value;
  return entries.length === 0 ? {} : { env };
}

/** Leaves out what was not given, so that the library's defaults are the only ones. */
function given<K extends string, T>(key: K, value: T | undefined): { readonly [P in K]?: T } {
  return (value === undefined ? {} : { [key]: value }) as { readonly [P in K]?: T };
}

function optional<T>(text: string | undefined, parse: (text: string) => T): T | undefined {
  return text === undefined ? undefined : parse(text);
}

function machineOptions(flags: RunFlags) {
  return {
    ...given("cpus", optional(flags.cpus, parseCpus)),
    ...given("memoryMib", optional(flags.memory, parseMemoryMib)),
    ...given(
      "storageBytes",
      optional(flags.storageSize, (text) => parseSize(text, "--storage-size")),
    ),
    ...given(
      "kernel",
      optional(flags.kernel, (path) => resolve(path)),
    ),
    ...given("requireKvm", flags.requireKvm),
  };
}

export function containerOptions(
  flags: RunFlags,
  command: readonly string[],
  fileEntries: readonly EnvEntry[],
  environment: Environment,
): ContainerOptions {
  if (flags.network === "none" && (flags.publish?.length ?? 0) > 0) {
    throw new UsageError("--publish needs a network", "leave out --network none");
  }
  return {
    ...pullOptionsFrom(flags, environment),
    ...machineOptions(flags),
    ...given("pull", flags.pull),
    ...(command.length === 0 ? {} : { command }),
    // As in Docker, --entrypoint '' takes the image's away.
    ...given(
      "entrypoint",
      optional(flags.entrypoint, (text) => (text === "" ? [] : [text])),
    ),
    ...environmentOf(flags, fileEntries, environment),
    ...given("workdir", optional(flags.workdir, parseWorkdir)),
    ...given("user", optional(flags.user, parseUser)),
    ...given("groupAdd", flags.groupAdd?.map(parseGroup)),
    ...given("hostname", optional(flags.hostname, parseHostname)),
    ...given("addHosts", flags.addHost?.map(parseAddHost)),
    ...given("dns", flags.dns?.map(parseDns)),
    ...given("network", flags.network),
    ...given("publish", flags.publish?.flatMap(parsePublish)),
    ...given("binds", flags.volume?.map(parseVolume)),
    ...given("interactive", flags.interactive),
  };
}
