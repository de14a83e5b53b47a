/** An image from its registry, with the credentials that Docker would use. */
import { homedir } from "node:os";
import { join } from "node:path";
import type { Keychain } from "../auth/credentials.ts";
import { passwordCredentials } from "../auth/credentials.ts";
import { loadDockerConfig } from "../auth/docker-config.ts";
import { dockerConfigKeychain, firstOf, fixedKeychain } from "../auth/keychain.ts";
import type { Image } from "../images/images.ts";
import { pullImage } from "../images/pull.ts";
import type { Platform } from "../oci/platform.ts";
import type { Reference } from "../reference/reference.ts";
import { registrySource } from "../source/registry/registry.ts";
import type { Store } from "../store/layout.ts";
import type { PullOptions } from "./options.ts";

type Request = Omit<PullOptions, "platform"> & { readonly platform: Platform };

async function keychainOf(
  reference: Reference,
  options: Pick<PullOptions, "credentials" | "dockerConfig">,
): Promise<Keychain> {
  const { credentials, dockerConfig } = options;
  const explicit =
    credentials &&
    fixedKeychain(reference.registry, passwordCredentials(credentials.username, credentials.password));
  if (dockerConfig === null) return explicit ?? firstOf();
  const config = await loadDockerConfig(dockerConfig ?? join(homedir(), ".docker", "config.json"));
  return firstOf(...(explicit ? [explicit] : []), dockerConfigKeychain(config));
}

/** @throws as pullImage, and what a registry and its credentials do wrong */
export async function pullFrom(store: Store, reference: Reference, options: Request): Promise<Image> {
  const { platform, insecure, ca, signal, onProgress } = options;
  await using source = registrySource(reference, {
    keychain: await keychainOf(reference, options),
    insecure,
    ca,
  });
  return await pullImage(store, reference, source, {
    platform,
    signal,
    onProgress,
  });
}
