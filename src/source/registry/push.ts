/**
 * The push half of the distribution specification: one repository that takes blobs and manifests.
 * https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md#push
 */
import type { Descriptor } from "../../oci/descriptor.ts";
import type { Digest } from "../../reference/digest.ts";
import { format } from "../../reference/reference.ts";
import type { Reference } from "../../reference/reference.ts";
import { quote } from "../../util/printable.ts";
import { retry } from "../../util/retry.ts";
import { SourceError } from "../error.ts";
import { RegistryClient } from "./client.ts";
import type { RegistrySourceOptions } from "./registry.ts";
import { discard, headerOf } from "./transport.ts";
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

/** The repository of `reference`, to push to. Nothing is asked before it is used. */
export function registryTarget(reference: Reference, options: RegistryTargetOptions = {}): RegistryTarget {
  const { registry, repository } = reference;
  const { mountFrom = [], ...rest } = options;
  // One token for all: a registry gives what it grants of these.
  const pulls = mountFrom.filter((from) => from !== repository).map((from) => `repository:${from}:pull`);
  const scopes = [`repository:${repository}:pull,push`, ...pulls];
  const client = new RegistryClient({ ...rest, registry, repository, scopes });
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
      const query = new URLSearchParams({ mount: digest, from: fromRepository });
      const response = await client.getWithRetry(
        {
          method: "POST",
          path: `blobs/uploads/?${query.toString()}`,
          signal,
          what: `repository ${repository}`,
          notFound: "repository-not-found",
          accepted: [201, 202],
        },
        async (answer) => {
          discard(answer);
          return answer;
        },
      );
      // 202 is an upload that has begun instead; the registry forgets it.
      return response.status === 201;
    },
    upload: async (blob, uploadOptions) => await uploadBlob(client, blob, uploadOptions),
    async putManifest(pointer, { bytes, descriptor }, signal) {
      await retry(
        async () => {
          const response = await client.get({
            method: "PUT",
            path: `manifests/${pointer}`,
            headers: { "content-type": descriptor.mediaType, "content-length": `${bytes.length}` },
            body: bytes,
            signal,
            what: `manifest ${descriptor.digest} of ${name}`,
            notFound: "repository-not-found",
            accepted: [200, 201, 202],
          });
          discard(response);
          const said = headerOf(response, "docker-content-digest");
          if (said === undefined || said === descriptor.digest) return;
          const message = `registry ${registry} took manifest ${descriptor.digest} as ${quote(said, 80)}`;
          throw new SourceError("digest-mismatch", message);
        },
        { ...client.retryOptions, signal },
      );
    },
    [Symbol.asyncDispose]: () => client[Symbol.asyncDispose](),
  };
}
