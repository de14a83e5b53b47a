/**
 * The push half of the distribution specification: one repository that takes blobs and manifests.
 * https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md#push
 */
import type { Descriptor } from "../../oci/descriptor.ts";
import type { Digest } from "../../reference/digest.ts";
import { format } from "../../reference/reference.ts";
import type { Reference } from "../../reference/reference.ts";
import { SourceError } from "../error.ts";
import { RegistryClient } from "./client.ts";
import type { RegistrySourceOptions } from "./registry.ts";
import { discard } from "./transport.ts";
import { isTakenAs } from "./taken.ts";
import { uploadBlob } from "./upload.ts";
import type { BlobToSend, SentBlob, UploadOptions } from "./upload.ts";

export interface RegistryTarget extends AsyncDisposable {
  readonly name: string;
  has(digest: Digest, signal?: AbortSignal): Promise<boolean>;
  /** Takes a blob from another repository of the same registry. @returns whether it did */
  mount(digest: Digest, fromRepository: string, signal?: AbortSignal): Promise<boolean>;
  upload(blob: BlobToSend, options?: UploadOptions): Promise<SentBlob>;
  /** @param pointer a tag or a digest */
  putManifest(
    pointer: string,
    manifest: { readonly bytes: Uint8Array; readonly descriptor: Descriptor },
    signal?: AbortSignal,
  ): Promise<void>;
}

export interface RegistryTargetOptions extends RegistrySourceOptions {
  /** Repositories of the same registry that blobs may be mounted from. */
  readonly mountFrom?: readonly string[] | undefined;
}

/** Answers to a mount that are about the other repository, or from a registry that knows no mounts. */
const NOT_MOUNTED = new Set([400, 401, 403, 404, 405]);

/** The repository of `reference`, to push to. Nothing is asked before it is used. */
export function registryTarget(reference: Reference, options: RegistryTargetOptions = {}): RegistryTarget {
  const { registry, repository } = reference;
  const { mountFrom = [], ...rest } = options;
  // One token for all: a registry gives what it grants of these.
  const furtherScopes = mountFrom
    .filter((from) => from !== repository)
    .map((from) => `repository:${from}:pull`);
  const scopes = [`repository:${repository}:pull,push`];
  const client = new RegistryClient({ ...rest, registry, repository, scopes, furtherScopes });
  /** Repositories that these credentials may not mount from. */
  const refused = new Set<string>();
  const name = format(reference);

  const head = async (path: string, what: string, signal?: AbortSignal) =>
    await client.getWithRetry(
      { method: "HEAD", path, signal, what, notFound: "blob-not-found", accepted: [200, 404] },
      async (response) => {
        discard(response);
        return response;
      },
    );

  return {
    name,
    async has(digest, signal) {
      return (await head(`blobs/${digest}`, `blob ${digest}`, signal)).status === 200;
    },
    async mount(digest, fromRepository, signal) {
      if (refused.has(fromRepository)) return false;
      const query = new URLSearchParams({ mount: digest, from: fromRepository });
      const request = {
        method: "POST",
        path: `blobs/uploads/?${query.toString()}`,
        signal,
        what: `repository ${repository}`,
        notFound: "repository-not-found",
        accepted: [201, 202],
      } as const;
      try {
        return await client.getWithRetry(request, (response) => {
          discard(response);
          // 202 is an upload that has begun instead; the registry forgets it.
          return response.status === 201 && isTakenAs(digest, response);
        });
      } catch (error) {
        // It is a shortcut: whether this repository may be written at all is what the upload will tell.
        const status = error instanceof SourceError ? error.status : undefined;
        if (status === undefined || !(NOT_MOUNTED.has(status) || status >= 500)) throw error;
        // 5xx: after all the tries that it was given, which it is not given for each blob.
        if (status === 401 || status === 403 || status >= 500) refused.add(fromRepository);
        return false;
      }
    },
    upload: async (blob, uploadOptions) => await uploadBlob(client, blob, uploadOptions),
    async putManifest(pointer, { bytes, descriptor }, signal) {
      await client.getWithRetry(
        {
          method: "PUT",
          path: `manifests/${pointer}`,
          headers: { "content-type": descriptor.mediaType, "content-length": `${bytes.length}` },
          body: bytes,
          sent: descriptor.digest,
          signal,
          what: `manifest ${descriptor.digest} of ${name}`,
          notFound: "repository-not-found",
          accepted: [200, 201, 202],
        },
        (response) => discard(response),
      );
    },
    [Symbol.asyncDispose]: () => client[Symbol.asyncDispose](),
  };
}
