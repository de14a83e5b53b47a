/** An image that is here to a registry, with whatever its origins can still give. */
import { requireImage } from "../images/images.ts";
import { canonical } from "../images/names.ts";
import { pushImage } from "../images/push.ts";
import type { Origin, PushedImage } from "../images/push.ts";
import { format, parse } from "../reference/reference.ts";
import type { Reference } from "../reference/reference.ts";
import { registryTarget } from "../source/registry/push.ts";
import { registrySource } from "../source/registry/registry.ts";
import type { Store } from "../store/layout.ts";
import { readRecord, writeRecord } from "../store/records.ts";
import { CleanupStack } from "../util/cleanup.ts";
import { FlameBoxError } from "../util/error.ts";
import { connectionTo, originEndpoint, ownEndpoint } from "./access.ts";
import type { PullOptions } from "./options.ts";

/** Those that the record keeps; the latest first. */
const MAX_ORIGINS = 16;

export interface PushReport extends PushedImage {
  /** In full: `ghcr.io/owner/app:1`. */
  readonly reference: string;
}

function splitOrigin(origin: string): { readonly registry: string; readonly repository: string } {
  const { registry, repository } = parse(origin);
  return { registry, repository };
}

/** A registry that is asked only when a blob is wanted. */
function lazyOrigin(
  name: string,
  destination: Reference,
  options: PullOptions,
  cleanup: CleanupStack,
): Origin {
  const open = async () => {
    const { tag: _, ...reference } = parse(name);
    const endpoint = await originEndpoint(reference, options);
    const isNamed = endpoint.reference.registry === destination.registry;
    return cleanup.use(registrySource(endpoint.reference, await connectionTo(endpoint, options, isNamed)));
  };
  let opened: ReturnType<typeof open> | undefined;
  return {
    name,
    async *openBlob(descriptor, blobOptions) {
      const source = await (opened ??= open());
      yield* source.openBlob(descriptor, blobOptions);
    },
  };
}

/** What has been pushed can be mounted from there the next time. */
async function remember(store: Store, reference: string, origin: string): Promise<void> {
  const image = await readRecord(store, reference);
  if (!image) return;
  const { version: _, origins = [], ...fields } = image;
  const all = [origin, ...origins.filter((one) => one !== origin)].slice(0, MAX_ORIGINS);
  await writeRecord(store, { ...fields, origins: all });
}

function destinationOf(text: string): Reference {
  const destination = parse(text);
  if (destination.digest === undefined) return destination;
  throw new FlameBoxError("invalid-reference", "an image is pushed by a name with a tag, not by a digest", {
    hint: "flamebox tag IMAGE NAME:TAG gives it one",
  });
}

/**
 * @throws ImageError `image-not-found`, SourceError, LayerHeadersError
 */
export async function pushTo(store: Store, text: string, options: PullOptions): Promise<PushReport> {
  const { signal, onProgress, onNotice } = options;
  const destination = destinationOf(text);
  const image = await requireImage(store, canonical(destination));
  const endpoint = await ownEndpoint(destination, options);
  const { registry, repository, tag = "latest" } = endpoint.reference;
  const origins = image.origins ?? [];
  const mountFrom = origins
    .map(splitOrigin)
    .filter((one) => one.registry === registry && one.repository !== repository)
    .map((one) => one.repository);
  await using cleanup = new CleanupStack();
  const target = cleanup.use(
    registryTarget(endpoint.reference, { ...(await connectionTo(endpoint, options)), mountFrom }),
  );
  const pushed = await pushImage(store, image, target, tag, {
    signal,
    onProgress,
    onNotice,
    mountFrom,
    // Blobs that were here before would have been found; what is left may be in another registry.
    origins: origins.map((name) => lazyOrigin(name, endpoint.reference, options, cleanup)),
  });
  if (pushed.rebuiltLayers === 0) await remember(store, image.reference, `${registry}/${repository}`);
  else if (image.origins !== undefined)
    onNotice?.(
      `${pushed.rebuiltLayers} layers were compressed anew, so that the digest is another one; the image's id is the same`,
    );
  return { ...pushed, reference: format(destination) };
}
