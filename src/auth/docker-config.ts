/**
 * Docker's client configuration, `config.json`: the parts that hold or find credentials.
 * https://docs.docker.com/reference/cli/docker/login/#credential-stores
 */
import { open } from "node:fs/promises";
import * as v from "valibot";
import { systemCode } from "../util/error.ts";
import { quote } from "../util/printable.ts";
import { Secret, passwordCredentials } from "./credentials.ts";
import type { Credentials } from "./credentials.ts";
import { AuthError } from "./error.ts";

export const MAX_DOCKER_CONFIG_BYTES = 4 * 1024 * 1024;

export interface DockerConfig {
  /** By registry, spelled as `registryKey` gives it. */
  readonly credentials: ReadonlyMap<string, Credentials>;
  /** By `REGISTRY/PATH`, in the files of podman and skopeo, where an entry may be for a part of a registry. */
  readonly namespaces?: ReadonlyMap<string, Credentials> | undefined;
  /** Name of the helper (`pass` is the program `docker-credential-pass`) by registry. */
  readonly helpers: ReadonlyMap<string, string>;
  /** The helper for registries that have none of their own. */
  readonly store?: string | undefined;
}

/** The name under which Docker's tools keep the credentials for Docker Hub. */
export const DOCKER_HUB_SERVER = "https://index.docker.io/v1/";

export const emptyDockerConfig: DockerConfig = { credentials: new Map(), helpers: new Map() };

const entrySchema = v.object({
  auth: v.optional(v.string()),
  username: v.optional(v.string()),
  password: v.optional(v.string()),
  identitytoken: v.optional(v.string()),
  registrytoken: v.optional(v.string()),
});

/** A helper's name becomes part of a program's name, so that it must not be a path. */
const helperSchema = v.pipe(v.string(), v.regex(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/, "no helper name"));

const configSchema = v.object({
  auths: v.optional(v.record(v.string(), entrySchema)),
  credHelpers: v.optional(v.record(v.string(), helperSchema)),
  credsStore: v.optional(v.union([v.literal(""), helperSchema])),
});

const DOCKER_HUB_NAMES = new Set(["docker.io", "index.docker.io", "registry-1.docker.io"]);

/**
 * The registry that a name in the file stands for: `https://index.docker.io/v1/` is `docker.io`,
 * `https://Ghcr.io/` is `ghcr.io`. A path behind the host is dropped, as Docker does.
 */
export function registryKey(name: string): string {
  const host = name.replace(/^https?:\/\//i, "").replace(/\/.*$/s, "");
  const lower = host.toLowerCase();
  return DOCKER_HUB_NAMES.has(lower) ? "docker.io" : lower;
}

type Entry = v.InferOutput<typeof entrySchema>;

/** RFC 7617 section 2: the name ends at the first colon; the password may hold more of them. */
function decodeBasic(auth: string, name: string): Credentials {
  const text = Buffer.from(auth, "base64").toString("utf8");
  const colon = text.indexOf(":");
  if (colon < 1 || !/^[A-Za-z0-9+/_-]*={0,2}\s*$/.test(auth)) {
    const message = `the entry for ${quote(name)} in the Docker configuration does not hold base64 of name:password`;
    throw new AuthError("invalid-docker-config", message, { hint: `log in to ${name} again` });
  }
  // Docker's own reader drops NULs at the end, which some of its versions wrote.
  return passwordCredentials(text.slice(0, colon), text.slice(colon + 1).replace(/\0+$/, ""));
}

function credentialsOf(name: string, entry: Entry): Credentials | undefined {
  const { auth, username, password, identitytoken, registrytoken } = entry;
  if (identitytoken) return { kind: "identity-token", token: new Secret(identitytoken) };
  if (registrytoken) return { kind: "registry-token", token: new Secret(registrytoken) };
  if (auth) return decodeBasic(auth, name);
  if (username) return passwordCredentials(username, password ?? "");
  // `{}` marks a registry whose credentials are in the store.
  return undefined;
}

/** Puts exact host names before names with a scheme or path, so that the plain spelling wins. */
function byRegistry<T, U>(
  record: Readonly<Record<string, T>>,
  convert: (name: string, value: T) => U,
): Map<string, U> {
  const map = new Map<string, U>();
  for (const [name, value] of Object.entries(record)) {
    const key = registryKey(name);
    if (!map.has(key) || key === name) map.set(key, convert(name, value));
  }
  return map;
}

export interface ParseOptions {
  /** Entries such as `quay.io/team` are for that part of the registry only, as in podman's auth.json. */
  readonly hasNamespaces?: boolean | undefined;
}

/** `quay.io/team`, and nothing with a scheme, as Docker's names have it. */
export function isNamespace(name: string): boolean {
  return /^[^/]+\/[^/]/.test(name) && !/^https?:/i.test(name);
}

/** @throws AuthError `invalid-docker-config`; the message never quotes a value of the file */
export function parseDockerConfig(text: string, { hasNamespaces = false }: ParseOptions = {}): DockerConfig {
  let value: unknown;
  try {
    value = JSON.parse(text, (_, member: unknown) => (member === null ? undefined : member));
  } catch {
    // Without the cause: V8's message quotes the text around the mistake, which may be a secret.
    throw new AuthError("invalid-docker-config", "the Docker configuration is not JSON");
  }
  const parsed = v.safeParse(configSchema, value);
  if (!parsed.success || Array.isArray(value)) {
    const path = (parsed.issues && v.getDotPath(parsed.issues[0])?.split(".")[0]) ?? "its top";
    const message = `the Docker configuration is not acceptable at ${quote(path)}`;
    throw new AuthError("invalid-docker-config", message);
  }
  const { auths = {}, credHelpers = {}, credsStore } = parsed.output;
  const credentials = new Map<string, Credentials>();
  const entries = Object.entries(auths);
  const whole = entries.filter(([name]) => !hasNamespaces || !isNamespace(name));
  for (const [key, found] of byRegistry(Object.fromEntries(whole), credentialsOf))
    if (found) credentials.set(key, found);
  const namespaces = new Map<string, Credentials>();
  for (const [name, entry] of hasNamespaces ? entries : []) {
    const found = isNamespace(name) ? credentialsOf(name, entry) : undefined;
    if (found) namespaces.set(`${registryKey(name)}/${name.slice(name.indexOf("/") + 1)}`, found);
  }
  return {
    credentials,
    namespaces,
    helpers: byRegistry(credHelpers, (_, helper) => helper),
    ...(credsStore ? { store: credsStore } : {}),
  };
}

export async function readBounded(path: string): Promise<string> {
  const handle = await open(path, "r");
  try {
    const stat = await handle.stat();
    // A device has size 0 and no end.
    if (!stat.isFile() || stat.size > MAX_DOCKER_CONFIG_BYTES) {
      const message = `the Docker configuration ${quote(path)} is no file of at most ${MAX_DOCKER_CONFIG_BYTES} bytes`;
      throw new AuthError("invalid-docker-config", message);
    }
    return await handle.readFile("utf8");
  } finally {
    await handle.close();
  }
}

/**
 * Reads the file; one that does not exist is an empty configuration.
 * @throws AuthError `invalid-docker-config`
 */
export async function loadDockerConfig(path: string, options: ParseOptions = {}): Promise<DockerConfig> {
  try {
    return parseDockerConfig(await readBounded(path), options);
  } catch (error) {
    if (systemCode(error) === "ENOENT" || systemCode(error) === "ENOTDIR") return emptyDockerConfig;
    const problem =
      error instanceof AuthError ? error.message : `cannot read it (${systemCode(error) ?? "?"})`;
    const hint = error instanceof AuthError && error.hint ? error.hint : `look at ${quote(path)}`;
    throw new AuthError("invalid-docker-config", `${quote(path)}: ${problem}`, { hint });
  }
}
