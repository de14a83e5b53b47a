/** From what a user wrote to an image that is here: found, or pulled from its registry. */
import { homedir } from "node:os";
import { join } from "node:path";
import { passwordCredentials } from "../auth/credentials.ts";
import { loadDockerConfig } from "../auth/docker-config.ts";
import type { Keychain } from "../auth/credentials.ts";
import { dockerConfigKeychain, firstOf, fixedKeychain } from "../auth/keychain.ts";
import type { Image } from "../images/images.ts";
import { findImage, fitsPlatform } from "../images/images.ts";
import { pullImage } from "../images/pull.ts";
import type { Platform } from "../oci/platform.ts";
import { formatPlatform, hostPlatform, parsePlatform } from "../oci/platform.ts";
import type { Reference } from "../reference/reference.ts";
import { familiar, parse } from "../reference/reference.ts";
import { registrySource } from "../source/registry/registry.ts";
import type { Store } from "../store/layout.ts";
import { FlameBoxError } from "../util/error.ts";
import type { ContainerOptions, PullOptions } from "./options.ts";

export function platformOf(options: PullOptions): Platform {
  return options.platform === undefined ? hostPlatform(process.arch) : parsePlatform(options.platform);
}

/** Machines run the host's own instruction set only. @throws FlameBoxError `platform-not-runnable` */
export function requireRunnable(platform: Platform): void {
  const host = hostPlatform(process.arch);
  if (platform.os === host.os && platform.architecture === host.architecture) return;
  throw new FlameBoxError(
    "platform-not-runnable",
    `this host runs ${formatPlatform(host)}, the image is for ${formatPlatform(platform)}`,
    { hint: "an image for another platform can be pulled, and written with flamebox rootfs, but not run" },
  );
}

async function keychainOf(reference: Reference, options: PullOptions): Promise<Keychain> {
  const { credentials, dockerConfig } = options;
  const explicit =
    credentials &&
    fixedKeychain(reference.registry, passwordCredentials(credentials.username, credentials.password));
  if (dockerConfig === null) return explicit ?? firstOf();
  const config = await loadDockerConfig(dockerConfig ?? join(homedir(), ".docker", "config.json"));
  return firstOf(...(explicit ? [explicit] : []), dockerConfigKeychain(config));
}

/** Asks the registry, whatever is here. */
export async function pullFromRegistry(store: Store, text: string, options: PullOptions): Promise<Image> {
  const reference = parse(text);
  const { insecure, ca, signal, onProgress } = options;
  await using source = registrySource(reference, {
    keychain: await keychainOf(reference, options),
    insecure,
    ca,
  });
  return await pullImage(store, reference, source, {
    platform: platformOf(options),
    signal,
    onProgress,
  });
}

/** @throws FlameBoxError `image-not-found` with `pull: "never"`, and what a pull throws */
export async function acquireImage(store: Store, text: string, options: ContainerOptions): Promise<Image> {
  const { pull = "missing" } = options;
  const found = pull === "always" ? undefined : await findImage(store, text);
  if (found !== undefined && (options.platform === undefined || fitsPlatform(found, platformOf(options))))
    return found;
  if (pull === "never") {
    const name = familiar(parse(text));
    throw new FlameBoxError("image-not-found", `the image ${name} is not here, and it may not be pulled`, {
      hint: `pull it first: flamebox pull ${name}`,
    });
  }
  return await pullFromRegistry(store, text, options);
}
