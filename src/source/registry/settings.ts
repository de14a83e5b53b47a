/**
 * Settings for registries, as containers' registries.conf has them, in a JSON file of FlameBox's:
 *
 *     { "registries": [
 *         { "prefix": "docker.io", "mirrors": [{ "location": "mirror.example:5000/hub", "insecure": true }] },
 *         { "prefix": "*.internal.example", "ca": "/etc/ssl/internal.pem" },
 *         { "prefix": "registry.example/old", "location": "registry.example/new" },
 *         { "prefix": "bad.example", "blocked": true } ] }
 *
 * The entry with the longest prefix counts. Its mirrors are asked in turn, and the place itself last; what is
 * pushed goes to the place itself.
 */
import * as v from "valibot";
import { open } from "node:fs/promises";
import { isAbsolute } from "node:path";
import { format, parse } from "../../reference/reference.ts";
import type { Reference } from "../../reference/reference.ts";
import { messageOf, systemCode } from "../../util/error.ts";
import { printable, quote } from "../../util/printable.ts";
import { SourceError } from "../error.ts";

const MAX_SETTINGS_BYTES = 1024 * 1024;

const path = v.pipe(v.string(), v.maxLength(4096), v.check(isAbsolute, "not an absolute path"));
/** `HOST[:PORT][/PATH]`, lower case. */
const PLACE =
  /^(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:]+\])(?::\d{1,5})?(?:\/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*$/;

/** As in references: a first part without a dot or a port is no host, but for `localhost`. */
function isPlace(text: string): boolean {
  const [host = ""] = text.split("/", 1);
  return PLACE.test(text) && (/[.:]/.test(host) || host === "localhost");
}

const place = v.pipe(v.string(), v.maxLength(512), v.check(isPlace, "not HOST[:PORT][/PATH]"));
const prefix = v.pipe(
  v.string(),
  v.maxLength(512),
  v.check(
    (text) => isPlace(text) || (text.startsWith("*.") && PLACE.test(text.slice(2))),
    "not HOST[:PORT][/PATH] or *.DOMAIN",
  ),
);

const accessEntries = {
  /** http, and certificates that nobody vouches for. */
  insecure: v.optional(v.boolean()),
  /** Absolute paths of PEM files. */
  ca: v.optional(path),
  cert: v.optional(path),
  key: v.optional(path),
};

const mirrorSchema = v.strictObject({
  location: place,
  /** Only for references by digest, which a mirror cannot make mean something else. */
  digestOnly: v.optional(v.boolean()),
  ...accessEntries,
});

const registrySchema = v.pipe(
  v.strictObject({
    prefix,
    location: v.optional(place),
    blocked: v.optional(v.boolean()),
    mirrors: v.optional(v.pipe(v.array(mirrorSchema), v.maxLength(32))),
    ...accessEntries,
  }),
  v.check(({ cert, key }) => (cert === undefined) === (key === undefined), "cert and key go together"),
);

const settingsSchema = v.strictObject({
  registries: v.optional(v.pipe(v.array(registrySchema), v.maxLength(1000))),
});

export type RegistrySettings = Readonly<v.InferOutput<typeof registrySchema>>;

/** Where to ask, in turn. */
export interface Endpoint {
  readonly reference: Reference;
  readonly isMirror: boolean;
  readonly insecure: boolean;
  readonly ca?: string | undefined;
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
}

function invalid(problem: string, cause?: unknown): SourceError {
  return new SourceError("invalid-settings", `the settings for registries are not acceptable: ${problem}`, {
    cause,
    hint: "docs/registries.md shows what may be there",
  });
}

/** @throws SourceError `invalid-settings` */
export function parseRegistrySettings(text: string): RegistrySettings[] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw invalid(printable(messageOf(error)), error);
  }
  // To the schema a list is an object as well.
  if (Array.isArray(value)) throw invalid("they are a list");
  const parsed = v.safeParse(settingsSchema, value);
  if (parsed.success) return parsed.output.registries ?? [];
  const [issue] = parsed.issues;
  const where = v.getDotPath(issue);
  throw invalid(printable(`${where === null ? "" : `${where}: `}${issue.message}`));
}

/** The entries of all files, those of earlier ones first; a file that is not there has none. */
export async function loadRegistrySettings(paths: readonly string[]): Promise<RegistrySettings[]> {
  const all: RegistrySettings[] = [];
  for (const one of paths) {
    try {
      await using handle = await open(one, "r");
      const found = await handle.stat();
      if (!found.isFile() || found.size > MAX_SETTINGS_BYTES)
        throw invalid(`it is no file of at most ${MAX_SETTINGS_BYTES} bytes`);
      all.push(...parseRegistrySettings(await handle.readFile("utf8")));
    } catch (error) {
      const code = systemCode(error);
      if (code === "ENOENT" || code === "ENOTDIR") continue;
      if (!(error instanceof SourceError)) throw error;
      throw new SourceError(error.code, `${quote(one)}: ${error.message}`, {
        hint: error.hint,
        cause: error,
      });
    }
  }
  return all;
}

/** How much of `REGISTRY/REPOSITORY` the prefix is; undefined when it is none. */
function lengthOf(name: string, prefixText: string): number | undefined {
  if (prefixText.startsWith("*.")) {
    const [host = ""] = name.split("/", 1);
    return host.replace(/:\d+$/, "").endsWith(prefixText.slice(1)) ? prefixText.length : undefined;
  }
  const isPrefix = name === prefixText || name.startsWith(`${prefixText}/`);
  return isPrefix ? prefixText.length : undefined;
}

function moved(reference: Reference, from: string, to: string): Reference {
  const name = `${reference.registry}/${reference.repository}`;
  // The tail behind `*.DOMAIN` is the whole path.
  const tail = from.startsWith("*.") ? `/${reference.repository}` : name.slice(from.length);
  const { tag, digest } = reference;
  return parse(format({ ...parse(`${to}${tail}`), tag, digest }));
}

/**
 * Where to ask for `reference`: mirrors first.
 * @throws SourceError `registry-blocked`
 */
export function endpointsOf(reference: Reference, settings: readonly RegistrySettings[]): Endpoint[] {
  const name = `${reference.registry}/${reference.repository}`;
  let best: RegistrySettings | undefined;
  for (const one of settings) {
    const length = lengthOf(name, one.prefix);
    if (length !== undefined && length > (best?.prefix.length ?? 0)) best = one;
  }
  if (best === undefined) return [{ reference, isMirror: false, insecure: false }];
  if (best.blocked === true) {
    const message = `registry ${reference.registry} is blocked by the settings for ${best.prefix}`;
    throw new SourceError("registry-blocked", message, { hint: "the settings are this machine's keeper's" });
  }
  const { mirrors = [], location = best.prefix, prefix: from } = best;
  const usable = mirrors.filter(({ digestOnly }) => digestOnly !== true || reference.digest !== undefined);
  const own = best.location === undefined ? reference : moved(reference, from, location);
  return [
    ...usable.map((mirror) => ({
      reference: moved(reference, from, mirror.location),
      isMirror: true,
      ...accessOf(mirror),
    })),
    { reference: own, isMirror: false, ...accessOf(best) },
  ];
}

function accessOf({ insecure = false, ca, cert, key }: Omit<RegistrySettings, "prefix">) {
  return { insecure, ca, cert, key };
}
