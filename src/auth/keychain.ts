/**
 * Keychains: who knows the credentials for a registry.
 *
 *     explicit credentials ──► $REGISTRY_AUTH_FILE ──► Docker's config.json ──► podman's auth.json ──► anonymous
 *                              each: credHelpers ─► credsStore ─► auths
 */
import { askHelper } from "./credential-helper.ts";
import type { HelperOptions } from "./credential-helper.ts";
import type { Credentials, Keychain } from "./credentials.ts";
import { DOCKER_HUB_SERVER, registryKey } from "./docker-config.ts";
import type { DockerConfig } from "./docker-config.ts";

/** The same credentials for one registry, nothing for others. */
export function fixedKeychain(registry: string, credentials: Credentials): Keychain {
  const key = registryKey(registry);
  return {
    credentialsFor: async (asked) => (registryKey(asked) === key ? credentials : undefined),
  };
}

/** The registry's own helper, then the store, then what the file itself holds. */
export function dockerConfigKeychain(
  config: DockerConfig,
  options: Omit<HelperOptions, "signal"> = {},
): Keychain {
  return {
    async credentialsFor(registry, query = {}) {
      const key = registryKey(registry);
      const helper = config.helpers.get(key) ?? config.store;
      const inFile = inNamespace(config, key, query.repository) ?? config.credentials.get(key);
      if (helper === undefined) return inFile;
      const server = key === "docker.io" ? DOCKER_HUB_SERVER : key;
      return (await askHelper(helper, server, { ...options, signal: query.signal })) ?? inFile;
    },
  };
}

/** The entry for the longest part of `REGISTRY/REPOSITORY`. */
function inNamespace({ namespaces }: DockerConfig, key: string, repository = ""): Credentials | undefined {
  const parts = repository.split("/");
  for (let length = namespaces?.size ? parts.length : 0; length > 0; length--) {
    const found = namespaces?.get(`${key}/${parts.slice(0, length).join("/")}`);
    if (found) return found;
  }
  return undefined;
}

/** The first keychain that knows the registry. */
export function firstOf(...keychains: readonly Keychain[]): Keychain {
  return {
    async credentialsFor(registry, query) {
      for (const keychain of keychains) {
        const credentials = await keychain.credentialsFor(registry, query);
        if (credentials) return credentials;
      }
      return undefined;
    },
  };
}
