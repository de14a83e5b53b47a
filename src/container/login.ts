/** Logging in to registries: credentials are tried before they are kept. */
import { passwordCredentials } from "../auth/credentials.ts";
import { AuthError } from "../auth/error.ts";
import { loginsIn, removeLogin, saveLogin } from "../auth/login.ts";
import { fixedKeychain } from "../auth/keychain.ts";
import { DEFAULT_REGISTRY, parse } from "../reference/reference.ts";
import type { Reference } from "../reference/reference.ts";
import { checkLogin } from "../source/registry/login.ts";
import { FlameBoxError } from "../util/error.ts";
import { connectionTo, loginFiles, ownEndpoint } from "./access.ts";
import type { LoginFile } from "./access.ts";
import type { OperationOptions, RegistryAccess } from "./options.ts";

export interface LoginOptions extends OperationOptions, Omit<RegistryAccess, "credentials"> {}

export interface LoginReport {
  readonly registry: string;
  /** The file that knows it now. */
  readonly path: string;
  /** The helper that keeps the secret; undefined when the file itself does. */
  readonly helper?: string | undefined;
}

export interface LogoutReport {
  readonly registry: string;
  /** The file that it was removed from, or would have been. */
  readonly path: string;
  readonly wasThere: boolean;
  /** What is still used: a registry or a part of one, and the file that knows it. */
  readonly remaining: readonly { readonly name: string; readonly path: string }[];
}

/** `docker.io/` and what Docker's files call Docker Hub have no part of a registry in them. */
const WHOLE = /^(?:[^/]*|(?:index\.)?docker\.io\/v[12])\/*$/i;

/** As people write it: `ghcr.io`, `https://localhost:5000/`, nothing for Docker Hub. */
function registryReference(text: string | undefined): Reference {
  const place = (text ?? DEFAULT_REGISTRY).replace(/^https?:\/\//i, "");
  const host = place.replace(/\/.*$/s, "");
  if (!WHOLE.test(place)) {
    const message = `${JSON.stringify(text)} is a part of a registry: logins here are for all of one`;
    throw new FlameBoxError("invalid-registry", message, {
      hint: `write ${host}; what podman and skopeo know of a part is used as well`,
    });
  }
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

function filesOf(options: LoginOptions): readonly [LoginFile, ...LoginFile[]] {
  const [first, ...others] = loginFiles(options);
  if (first !== undefined) return [first, ...others];
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
  const [{ path, hasNamespaces }] = filesOf(options);
  const connection = await connectionTo(endpoint, { ...options, dockerConfig: null });
  const keychain = fixedKeychain(endpoint.reference.registry, credentials);
  await checkLogin(endpoint.reference.registry, { ...connection, keychain }, options.signal);
  const where = await saveLogin(path, registry, credentials, {
    signal: options.signal,
    hasNamespaces,
  });
  return { registry, path, ...(where === "file" ? {} : { helper: where }) };
}

/**
 * Forgets what was kept by `login`; where that is nothing, what the first of the other files knows. What others of them
 * know is theirs, and told.
 */
export async function logout(text: string | undefined, options: LoginOptions = {}): Promise<LogoutReport> {
  const reference = registryReference(text);
  requireHost(reference, text);
  const { registry } = reference;
  const { signal } = options;
  const files = filesOf(options);
  const known = async ({ path, hasNamespaces }: LoginFile) => {
    try {
      return await loginsIn(path, registry, { signal, hasNamespaces });
    } catch (error) {
      // One that cannot be read knows nothing; ours is complained of when it is written.
      if (error instanceof AuthError) return [];
      throw error;
    }
  };
  let [{ path }] = files;
  let wasThere = false;
  for (const file of files) {
    const knew = (await known(file)).includes(registry);
    // Ours may have an entry without a secret, and a helper that it was taken from.
    if (!knew && file !== files[0]) continue;
    const { hasNamespaces } = file;
    wasThere = (await removeLogin(file.path, registry, { signal, hasNamespaces })) || knew;
    if (!wasThere) continue;
    ({ path } = file);
    break;
  }
  const remaining = [];
  for (const file of files) remaining.push(...(await known(file)).map((name) => ({ name, path: file.path })));
  return { registry, path, wasThere, remaining };
}
