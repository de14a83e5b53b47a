/**
 * Keychains: who knows the credentials for a registry.
 *
 *     explicit credentials ──► Docker's config.json: credHelpers ─► credsStore ─► auths ──► none (anonymous)
 */
import { askHelper } from "./credential-helper.ts";
import type { HelperOptions } from "./credential-helper.ts";
import type { Credentials, Keychain } from "./credentials.ts";
import { registryKey } from "./docker-config.ts";
import type { DockerConfig } from "./docker-config.ts";

/** The name under which Docker's tools keep the credentials for Docker Hub. */
const DOCKER_HUB_SERVER = "https://index.docker.io/v1/";

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
      const inFile = config.credentials.get(key);
      if (helper === undefined) return inFile;
      const server = key === "docker.io" ? DOCKER_HUB_SERVER : key;
      return (await askHelper(helper, server, { ...options, signal: query.signal })) ?? inFile;
    },
  };
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
