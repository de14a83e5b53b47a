/**
 * `--volume`, `--mount`, `--tmpfs`, with Docker's grammar.
 * https://docs.docker.com/engine/storage/bind-mounts/#syntax
 *
 *     -v /host/dir:/data[:ro]     a folder of this host      -v /data     a volume of the container's own
 *     --mount type=bind|volume|tmpfs,source=…,target=…,readonly,…
 */
import { resolve } from "node:path";
import { UsageError } from "../failure.ts";
import type { BindMount, TmpfsMount, Volume } from "../library.ts";
import { parseSize } from "./size.ts";

export type ParsedMount =
  | { readonly kind: "bind"; readonly mount: BindMount }
  | { readonly kind: "volume"; readonly mount: Volume }
  | { readonly kind: "tmpfs"; readonly mount: TmpfsMount };

const VOLUME_HINT = "write HOST-PATH:PATH[:ro], or PATH alone for a volume of the container's own";
const NAMED_HINT =
  "name a folder of this host with its path (./data:/data), or leave the name out for a volume that ends with the container";
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;

/** Words that change nothing here: SELinux is not in the way, and there is one host. */
const WITHOUT_EFFECT = new Set([
  "z",
  "Z",
  "consistent",
  "cached",
  "delegated",
  "default",
  "private",
  "rprivate",
]);
const SELINUX = new Set(["z", "Z"]);
const PROPAGATIONS = new Set(["shared", "rshared", "slave", "rslave"]);

interface Mode {
  readonly readonly: boolean;
  readonly nocopy: boolean;
}

function parseMode(text: string | undefined, fail: (reason: string) => UsageError): Mode {
  const words = text === undefined ? [] : text.split(",");
  for (const word of words) {
    if (PROPAGATIONS.has(word)) throw fail(`${word}: mounts do not pass between this host and a machine`);
    if (!["ro", "rw", "nocopy"].includes(word) && !WITHOUT_EFFECT.has(word))
      throw fail(`'${word}' is none of ro, rw, nocopy, z, Z`);
  }
  if (words.includes("ro") && words.includes("rw")) throw fail("ro and rw exclude each other");
  return { readonly: words.includes("ro"), nocopy: words.includes("nocopy") };
}

/** A mode that can be nothing else: a path begins with a slash. */
function isMode(text: string): boolean {
  return !text.startsWith("/") && text.split(",").every((word) => /^[a-zA-Z]+$/.test(word));
}

function requireAbsolute(path: string, fail: (reason: string) => UsageError): string {
  if (!path.startsWith("/")) throw fail(`'${path}' is not an absolute path in the container`);
  return path;
}

export function parseVolume(argument: string): ParsedMount {
  const fail = (reason: string) => new UsageError(`--volume '${argument}': ${reason}`, VOLUME_HINT);
  const [first = "", second, third, ...rest] = argument.split(":");
  if (rest.length > 0) throw fail("there are too many colons");
  if (first === "") throw fail("there is nothing before the colon");
  if (second === undefined) return { kind: "volume", mount: { target: requireAbsolute(first, fail) } };
  if (third === undefined && isMode(second)) throw fail("a mode needs a source and a path before it");
  const target = requireAbsolute(second, fail);
  const { readonly, nocopy } = parseMode(third, fail);
  if (/^[/.]/.test(first)) {
    if (nocopy) throw fail("nocopy is for volumes");
    return { kind: "bind", mount: { source: resolve(first), target, readonly, createSource: true } };
  }
  if (!NAME.test(first)) throw fail(`'${first}' is neither a path, which begins with / or ., nor a name`);
  throw namedVolume(`--volume '${argument}'`, first);
}

function namedVolume(what: string, name: string): UsageError {
  return new UsageError(`${what}: there are no named volumes yet ('${name}')`, NAMED_HINT);
}

/** What `:z` and `:Z` ask for is not there; somebody may want to know. */
export function volumeNotices(list: readonly string[] = []): string[] {
  return list
    .filter((argument) => (argument.split(":")[2] ?? "").split(",").some((word) => SELINUX.has(word)))
    .map((argument) => `--volume '${argument}': z and Z do nothing: a machine needs no SELinux label`);
}

/** One line of comma-separated values: a field with a comma or a quote stands in quotes. RFC 4180, section 2 */
function splitCsv(text: string, fail: (reason: string) => UsageError): string[] {
  const fields: string[] = [];
  const field = /(?:"((?:[^"]|"")*)"|([^,"]*))(,|$)/y;
  for (;;) {
    const match = field.exec(text);
    if (match === null) throw fail("a quote is out of place");
    const [, quoted, plain = "", end] = match;
    fields.push(quoted === undefined ? plain : quoted.replaceAll('""', '"'));
    if (end === "") return fields;
  }
}

const ALIASES: Readonly<Record<string, string>> = {
  src: "source",
  dst: "target",
  destination: "target",
  ro: "readonly",
};

const KEYS: Readonly<Record<string, readonly string[]>> = {
  bind: [
    "source",
    "target",
    "readonly",
    "bind-propagation",
    "bind-recursive",
    "bind-create-src",
    "consistency",
  ],
  volume: ["source", "target", "readonly", "volume-nocopy"],
  tmpfs: ["target", "readonly", "tmpfs-size", "tmpfs-mode", "tmpfs-options"],
};
const SWITCHES = new Set(["readonly", "volume-nocopy", "bind-create-src"]);

type Fields = ReadonlyMap<string, string>;

function parseFields(
  argument: string,
  fail: (reason: string) => UsageError,
): { type: string; fields: Fields } {
  const pairs = splitCsv(argument, fail).map((text) => {
    const equals = text.indexOf("=");
    const key = (equals === -1 ? text : text.slice(0, equals)).toLowerCase();
    const value = equals === -1 ? undefined : text.slice(equals + 1);
    return [ALIASES[key] ?? key, value] as const;
  });
  const type = pairs.find(([key]) => key === "type")?.[1] ?? "volume";
  const keys = Object.hasOwn(KEYS, type) ? KEYS[type] : undefined;
  if (keys === undefined) throw fail(`the type '${type}' is none of ${Object.keys(KEYS).join(", ")}`);
  const fields = new Map<string, string>();
  for (const [key, value] of pairs) {
    if (key === "type") continue;
    if (!keys.includes(key)) throw fail(`'${key}' is not for the type ${type}, which has ${keys.join(", ")}`);
    if (fields.has(key)) throw fail(`'${key}' is there twice`);
    if (value === undefined && !SWITCHES.has(key)) throw fail(`'${key}' has no value`);
    if (SWITCHES.has(key) && !["true", "false", "1", "0", undefined].includes(value))
      throw fail(`'${key}' is neither true nor false`);
    fields.set(key, value ?? "true");
  }
  return { type, fields };
}

export function parseMount(argument: string): ParsedMount {
  const fail = (reason: string) =>
    new UsageError(
      `--mount '${argument}': ${reason}`,
      "write it as in type=bind,source=/host/dir,target=/data,readonly",
    );
  const { type, fields } = parseFields(argument, fail);
  const isOn = (key: string) => ["true", "1"].includes(fields.get(key) ?? "");
  const given = fields.get("target");
  if (given === undefined || given === "")
    throw fail("there is no target, an absolute path in the container");
  const target = requireAbsolute(given, fail);
  const source = fields.get("source");
  if (type === "tmpfs")
    return { kind: "tmpfs", mount: { target, options: tmpfsOptions(fields, isOn("readonly"), fail) } };
  if (type === "volume") {
    if (source !== undefined && source !== "") throw namedVolume(`--mount '${argument}'`, source);
    return { kind: "volume", mount: { target, readOnly: isOn("readonly"), copy: !isOn("volume-nocopy") } };
  }
  if (source === undefined || !/^[/.]/.test(source))
    throw fail("there is no source: a path of this host, which begins with / or .");
  const propagation = fields.get("bind-propagation") ?? "rprivate";
  if (!WITHOUT_EFFECT.has(propagation))
    throw fail(`bind-propagation ${propagation}: mounts do not pass between this host and a machine`);
  if (!["enabled", undefined].includes(fields.get("bind-recursive")))
    throw fail("bind-recursive can only be enabled");
  const createSource = isOn("bind-create-src");
  const mount = {
    source: resolve(source),
    target,
    readonly: isOn("readonly"),
    ...(createSource && { createSource }),
  };
  return { kind: "bind", mount };
}

function tmpfsOptions(fields: Fields, readonly: boolean, fail: (reason: string) => UsageError): string[] {
  const [size, mode] = [fields.get("tmpfs-size"), fields.get("tmpfs-mode")];
  if (mode !== undefined && !/^[0-7]{1,4}$/.test(mode))
    throw fail(`tmpfs-mode '${mode}' is not an octal mode`);
  return [
    ...(fields.get("tmpfs-options")?.split(",") ?? []),
    ...(size === undefined ? [] : [`size=${parseSize(size, "tmpfs-size")}`]),
    ...(mode === undefined ? [] : [`mode=${mode}`]),
    ...(readonly ? ["ro"] : []),
  ];
}

/** `/run`, `/run:size=64m,mode=755`. */
export function parseTmpfs(argument: string): ParsedMount {
  const fail = (reason: string) =>
    new UsageError(`--tmpfs '${argument}': ${reason}`, "write PATH[:OPTIONS], as in /run:size=64m,mode=755");
  const colon = argument.indexOf(":");
  const target = requireAbsolute(colon === -1 ? argument : argument.slice(0, colon), fail);
  const options =
    colon === -1
      ? []
      : argument
          .slice(colon + 1)
          .split(",")
          .filter((option) => option !== "");
  return { kind: "tmpfs", mount: { target, ...(options.length > 0 && { options }) } };
}

export interface MountFlags {
  readonly volume?: readonly string[];
  readonly mount?: readonly string[];
  readonly tmpfs?: readonly string[];
}

export function parseMounts(flags: MountFlags): {
  readonly binds?: readonly BindMount[];
  readonly volumes?: readonly Volume[];
  readonly tmpfs?: readonly TmpfsMount[];
} {
  const all = [
    ...(flags.volume ?? []).map(parseVolume),
    ...(flags.mount ?? []).map(parseMount),
    ...(flags.tmpfs ?? []).map(parseTmpfs),
  ];
  const binds = all.flatMap((parsed) => (parsed.kind === "bind" ? [parsed.mount] : []));
  const volumes = all.flatMap((parsed) => (parsed.kind === "volume" ? [parsed.mount] : []));
  const tmpfs = all.flatMap((parsed) => (parsed.kind === "tmpfs" ? [parsed.mount] : []));
  return {
    ...(binds.length > 0 && { binds }),
    ...(volumes.length > 0 && { volumes }),
    ...(tmpfs.length > 0 && { tmpfs }),
  };
}
