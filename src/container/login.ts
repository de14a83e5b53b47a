/** Logging in to registries: credentials are tried before they are kept. */
import { passwordCredentials } from "../auth/credentials.ts";
import { removeLogin, saveLogin } from "../auth/login.ts";
import { fixedKeychain } from "../auth/keychain.ts";
import { DEFAULT_REGISTRY, parse } from "../reference/reference.ts";
import type { Reference } from "../reference/reference.ts";
import { checkLogin } from "../source/registry/login.ts";
import { FlameBoxError } from "../util/error.ts";
import { connectionTo, dockerConfigPath, ownEndpoint } from "./access.ts";
import type { OperationOptions, RegistryAccess } from "./options.ts";

export interface LoginOptions extends OperationOptions, Omit<RegistryAccess, "credentials"> {}

export interface LoginReport {
  readonly registry: string;
  /** The file that knows it now. */
  readonly path: string;
  /** The helper that keeps the secret; undefined when the file itself does. */
  readonly helper?: string | undefined;
}

/** As people write it: `ghcr.io`, `https://localhost:5000/`, nothing for Docker Hub. */
function registryReference(text: string | undefined): Reference {
  const host = (text ?? DEFAULT_REGISTRY).replace(/^https?:\/\//i, "").replace(/\/.*$/s, "");
  try {
    return parse(host === DEFAULT_REGISTRY || host === "index.docker.io" ? "docker.io/x" : `${host}/x`);
  } catch (cause) {
    throw new FlameBoxError("invalid-registry", `${JSON.stringify(text ?? "")} is no registry`, {
      hint: "write HOST or HOST:PORT",
      cause,
    });
  }
}

function requireHost({ registry }: Reference, text: string | undefined): void {
  // `team` would be a repository of Docker Hub's.
  if (text === undefined || registry !== DEFAULT_REGISTRY || /docker\.io/i.test(text)) return;
  throw new FlameBoxError("invalid-registry", `${JSON.stringify(text)} is no registry`, {
    hint: "write HOST or HOST:PORT; a host without a dot needs a port, or is localhost",
  });
}

function configPath(options: LoginOptions): string {
  if (options.dockerConfig !== null) return options.authFile ?? dockerConfigPath(options);
  throw new FlameBoxError("invalid-option", "there is no Docker configuration to keep credentials in");
}

/** @throws SourceError `unauthorized`, …; AuthError */
export async function login(
  text: string | undefined,
  { username, password }: { readonly username: string; readonly password: string },
  options: LoginOptions = {},
): Promise<LoginReport> {
  const reference = registryReference(text);
  requireHost(reference, text);
  const { registry } = reference;
  const credentials = passwordCredentials(username, password);
  const endpoint = await ownEndpoint(reference, options);
  const path = configPath(options);
  const connection = await connectionTo(endpoint, { ...options, dockerConfig: null });
  const keychain = fixedKeychain(endpoint.reference.registry, credentials);
  await checkLogin(endpoint.reference.registry, { ...connection, keychain }, options.signal);
  const where = await saveLogin(path, registry, credentials, options);
  return { registry, path, ...(where === "file" ? {} : { helper: where }) };
}

/** @returns whether there was anything to forget */
export async function logout(
  text: string | undefined,
  options: LoginOptions = {},
): Promise<{ readonly registry: string; readonly path: string; readonly wasThere: boolean }> {
  const reference = registryReference(text);
  requireHost(reference, text);
  const path = configPath(options);
  const { registry } = reference;
  return { registry, path, wasThere: await removeLogin(path, registry, { signal: options.signal }) };
}
