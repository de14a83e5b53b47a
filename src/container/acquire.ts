/** From what a user wrote to an image that is here: found, or pulled from its registry. */
import type { Image } from "../images/images.ts";
import { findImage, fitsPlatform } from "../images/images.ts";
import type { Platform } from "../oci/platform.ts";
import { formatPlatform, hostPlatform, parsePlatform } from "../oci/platform.ts";
import { familiar, parse } from "../reference/reference.ts";
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

/** Asks the registry, whatever is here. Most containers' images are here, and need nothing of what a pull needs. */
export async function pullFromRegistry(store: Store, text: string, options: PullOptions): Promise<Image> {
  const { pullFrom } = await import("./pull.ts");
  return await pullFrom(store, parse(text), { ...options, platform: platformOf(options) });
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
