/** From what a user wrote to an image that is here: found, or pulled from its registry. */
import type { Image } from "../images/images.ts";
import { findImage, fitsPlatform } from "../images/images.ts";
import type { Platform } from "../oci/platform.ts";
import { formatPlatform, hostPlatform, parsePlatform } from "../oci/platform.ts";
import { familiar, parse } from "../reference/reference.ts";
import { parseLocation, referenceText } from "../source/location.ts";
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

/**
 * Asks the source, whatever is here: a registry, or a place on this host. Most containers' images are here, and need
 * nothing of what a pull needs.
 */
export async function pullFromSource(
  store: Store,
  text: string,
  options: PullOptions & { readonly named?: boolean | undefined },
): Promise<Image> {
  const { pullFrom, pullLocation } = await import("./pull.ts");
  const request = { ...options, platform: platformOf(options) };
  const location = parseLocation(text);
  if (location === undefined) return await pullFrom(store, parse(referenceText(text)), request);
  const [image] = await pullLocation(store, location, { ...request, named: options.named ?? false });
  return image as Image;
}

/** @throws FlameBoxError `image-not-found` with `pull: "never"`, and what a pull throws */
export async function acquireImage(store: Store, text: string, options: ContainerOptions): Promise<Image> {
  const { pull = "missing" } = options;
  // What is on this host is looked at each time: it costs little, and nobody else is asked.
  if (parseLocation(text) !== undefined) return await pullFromSource(store, text, options);
  const found = pull === "always" ? undefined : await findImage(store, referenceText(text));
  if (found !== undefined && (options.platform === undefined || fitsPlatform(found, platformOf(options))))
    return found;
  if (pull === "never") {
    const name = familiar(parse(referenceText(text)));
    throw new FlameBoxError("image-not-found", `the image ${name} is not here, and it may not be pulled`, {
      hint: `pull it first: flamebox pull ${name}`,
    });
  }
  return await pullFromSource(store, text, options);
}
