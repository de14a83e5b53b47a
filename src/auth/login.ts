/**
 * Logins: what `config.json` says afterwards. Everything in the file that is not the one entry stays as it is.
 *
 *     credHelpers or credsStore? ─► the helper keeps the secret, auths has an empty entry
 *     neither                    ─► auths has base64 of NAME:PASSWORD, in a file that only its owner reads
 */
import { mkdir, realpath } from "node:fs/promises";
import { dirname } from "node:path";
import { writeFileAtomic } from "../util/atomic-file.ts";
import { systemCode } from "../util/error.ts";
import { quote } from "../util/printable.ts";
import { eraseInHelper, storeInHelper } from "./credential-helper.ts";
import type { HelperOptions } from "./credential-helper.ts";
import type { PasswordCredentials } from "./credentials.ts";
import {
  DOCKER_HUB_SERVER,
  isNamespace,
  loadDockerConfig,
  parseDockerConfig,
  readBounded,
  registryKey,
} from "./docker-config.ts";
import type { DockerConfig, ParseOptions } from "./docker-config.ts";
import { AuthError } from "./error.ts";
import { dockerConfigKeychain } from "./keychain.ts";

type JsonObject = Record<string, unknown>;

/** What is there, as it is, and as it is understood. */
interface Opened {
  /** Behind symbolic links: a file of a person's own may be one. */
  readonly path: string;
  readonly document: JsonObject;
  readonly config: DockerConfig;
}

async function openConfig(path: string): Promise<Opened> {
  let text = "{}";
  let real = path;
  try {
    real = await realpath(path);
    text = await readBounded(real);
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw error;
  }
  const given = text.trim() === "" ? "{}" : text;
  const config = parseDockerConfig(given);
  const document = JSON.parse(given) as JsonObject;
  // A list is an object to the parser, which would only find nothing in it; written back it would be lost.
  if (Array.isArray(document) || Array.isArray(document["auths"])) {
    const message = `${quote(path)}: a list is where names and values belong`;
    throw new AuthError("invalid-docker-config", message, { hint: "look at the file" });
  }
  return { path: real, document, config };
}

async function save({ path, document }: Opened): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  // Docker's own indentation.
  await writeFileAtomic(path, `${JSON.stringify(document, undefined, "\t")}\n`, { mode: 0o600 });
}

function entriesOf(document: JsonObject): JsonObject {
  const { auths } = document;
  return typeof auths === "object" && auths !== null ? (auths as JsonObject) : {};
}

/** How Docker spells the registry in `auths`, and to helpers. */
function serverOf(registry: string): string {
  const key = registryKey(registry);
  return key === "docker.io" ? DOCKER_HUB_SERVER : key;
}

/** Where entries may be for a part of a registry, those stay. */
function withoutEntry(
  document: JsonObject,
  registry: string,
  { hasNamespaces = false }: ParseOptions,
): JsonObject {
  const key = registryKey(registry);
  const isKept = (name: string) => registryKey(name) !== key || (hasNamespaces && isNamespace(name));
  return Object.fromEntries(Object.entries(entriesOf(document)).filter(([name]) => isKept(name)));
}

/**
 * Keeps credentials that have been tried.
 * @returns where they are: `file`, or the helper's name
 * @throws AuthError `invalid-docker-config`, `credential-helper-failed`, `invalid-credentials`
 */
export async function saveLogin(
  path: string,
  registry: string,
  credentials: PasswordCredentials,
  options: HelperOptions & ParseOptions = {},
): Promise<string> {
  const { username, password } = credentials;
  if (username === "" || username.includes(":") || /[\0\r\n]/.test(username + password.reveal())) {
    const message =
      "a user name has at least one character and no colon; neither it nor a password a line break";
    throw new AuthError("invalid-credentials", message);
  }
  const opened = await openConfig(path);
  const helper = opened.config.helpers.get(registryKey(registry)) ?? opened.config.store;
  const server = serverOf(registry);
  if (helper !== undefined) await storeInHelper(helper, server, credentials, options);
  const auth = Buffer.from(`${username}:${password.reveal()}`).toString("base64");
  const auths = {
    ...withoutEntry(opened.document, registry, options),
    [server]: helper === undefined ? { auth } : {},
  };
  await save({ ...opened, document: { ...opened.document, auths } });
  return helper ?? "file";
}

/**
 * Forgets the credentials for a registry.
 * @returns whether there were any in the file
 * @throws AuthError `invalid-docker-config`, `credential-helper-failed`
 */
export async function removeLogin(
  path: string,
  registry: string,
  options: HelperOptions & ParseOptions = {},
): Promise<boolean> {
  const opened = await openConfig(path);
  const helper = opened.config.helpers.get(registryKey(registry)) ?? opened.config.store;
  if (helper !== undefined) await eraseInHelper(helper, serverOf(registry), options);
  const auths = withoutEntry(opened.document, registry, options);
  const had = Object.keys(auths).length !== Object.keys(entriesOf(opened.document)).length;
  if (had) await save({ ...opened, document: { ...opened.document, auths } });
  return had;
}

/**
 * What a file, or its helper, knows of a registry: `quay.io`, and `quay.io/team` where entries may be for a part.
 * @throws AuthError `invalid-docker-config`, `credential-helper-failed`
 */
export async function loginsIn(
  path: string,
  registry: string,
  options: HelperOptions & ParseOptions = {},
): Promise<string[]> {
  const config = await loadDockerConfig(path, options);
  const key = registryKey(registry);
  const whole = await dockerConfigKeychain(config, options).credentialsFor(registry, options);
  const parts = [...(config.namespaces?.keys() ?? [])].filter((name) => name.startsWith(`${key}/`));
  return [...(whole === undefined ? [] : [registry]), ...parts];
}
