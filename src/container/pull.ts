/** An image from its registry or one of its mirrors, or from a place on this host. */
import type { Image } from "../images/images.ts";
import { loadImage } from "../images/load.ts";
import { pullImage } from "../images/pull.ts";
import type { Platform } from "../oci/platform.ts";
import { format } from "../reference/reference.ts";
import type { Reference } from "../reference/reference.ts";
import { pick } from "../source/local.ts";
import type { Location } from "../source/location.ts";
import { openLocation } from "../source/open.ts";
import { registrySource } from "../source/registry/registry.ts";
import type { Endpoint } from "../source/registry/settings.ts";
import { StoreError, explainDiskError } from "../store/error.ts";
import type { Store } from "../store/layout.ts";
import { FlameBoxError } from "../util/error.ts";
import { connectionTo, endpointsFor } from "./access.ts";
import type { PullOptions } from "./options.ts";

type Request = Omit<PullOptions, "platform"> & { readonly platform: Platform };

async function pullFromEndpoint(
  store: Store,
  reference: Reference,
  endpoint: Endpoint,
  options: Request,
): Promise<Image> {
  const { platform, signal, onProgress, imageLimits: limits } = options;
  const { registry, repository } = endpoint.reference;
  await using source = registrySource(endpoint.reference, await connectionTo(endpoint, options));
  const origin = `${registry}/${repository}`;
  return await pullImage(store, reference, source, { platform, signal, onProgress, origin, limits });
}

/** What this machine's keeper wrote wrongly: no other place makes it right. */
const OF_THE_CONFIGURATION = new Set(["invalid-settings", "invalid-proxy", "invalid-docker-config"]);

/** Whether another place may have what this one did not give; not when it is this machine that fails. */
function isOfThePlace(error: unknown, store: Store): error is FlameBoxError {
  if (!(error instanceof FlameBoxError) || OF_THE_CONFIGURATION.has(error.code)) return false;
  return !(explainDiskError(error, store.layout.dir) instanceof StoreError);
}

/** @throws as pullImage, and what a registry and its credentials do wrong */
export async function pullFrom(store: Store, reference: Reference, options: Request): Promise<Image> {
  for (const endpoint of await endpointsFor(reference, options)) {
    try {
      return await pullFromEndpoint(store, reference, endpoint, options);
    } catch (error) {
      options.signal?.throwIfAborted();
      if (!endpoint.isMirror || !isOfThePlace(error, store)) throw error;
      options.onNotice?.(`mirror ${format(endpoint.reference)}: ${error.message}; asking the next one`);
    }
  }
  throw new FlameBoxError("image-not-found", `there is nowhere to ask for ${format(reference)}`);
}

/**
 * The image at a location. It gets the names that it has there with `named`, and otherwise none, so that running
 * a file changes nothing that a name stands for.
 */
export async function pullLocation(
  store: Store,
  location: Location,
  options: Request & { readonly named: boolean; readonly anyPlatform?: boolean | undefined },
): Promise<Image[]> {
  const { signal, named, onNotice, onProgress } = options;
  const { workspace } = store;
  await using images = await openLocation(location, { workspace, signal, onNotice, onProgress });
  const image = pick(images, location.name);
  const pulling = { ...options, limits: options.imageLimits };
  if (named) return await loadImage(store, image, pulling);
  return [await pullImage(store, undefined, image, pulling)];
}
