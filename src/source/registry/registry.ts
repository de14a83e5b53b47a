/**
 * Images from registries: the pull half of the distribution specification.
 * https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md#pull
 *
 *     reference ─► manifests/TAG ─► index? choose(platform) ─► manifests/DIGEST ─► ResolvedImage
 *                                                                                    │ openBlob
 *                              config and layers, verified while streaming ◄─────────┘
 *
 *     client.ts        one repository: scheme, statuses          authorization.ts   tokens and basic auth
 *     transport.ts     requests, deadlines, redirects            blob.ts            streaming and resuming
 *     everything.ts    all that a reference leads to
 */
import type { Keychain } from "../../auth/credentials.ts";
import { choose, requirePlatform } from "../../oci/choose.ts";
import { parseConfig } from "../../oci/config.ts";
import type { Descriptor } from "../../oci/descriptor.ts";
import { MAX_MANIFEST_BYTES, parseDocument, parsePointers } from "../../oci/manifest.ts";
import type { Pointers } from "../../oci/manifest.ts";
import { ACCEPTED_DOCUMENTS } from "../../oci/media-type.ts";
import type { Platform } from "../../oci/platform.ts";
import { algorithmOf, digestOf } from "../../reference/digest.ts";
import type { Digest } from "../../reference/digest.ts";
import { format } from "../../reference/reference.ts";
import type { Reference } from "../../reference/reference.ts";
import { quote } from "../../util/printable.ts";
import { SourceError } from "../error.ts";
import type { OutgoingImage } from "../sink.ts";
import type { BlobOptions, ImageSource, ResolvedImage, ResolveOptions } from "../source.ts";
import { streamBlob } from "./blob.ts";
import { RegistryClient } from "./client.ts";
import type { ClientOptions } from "./client.ts";
import { fetchEverything } from "./everything.ts";
import type { Proxies } from "./proxy.ts";
import { headerOf, readBody } from "./transport.ts";
import type { Addressing } from "./guard.ts";
import type { ClientCertificate, HttpResponse, Timeouts } from "./transport.ts";
import type { TrustStore } from "./trust.ts";

export interface RegistrySourceOptions {
  /** Who knows credentials; none means anonymous. */
  readonly keychain?: Keychain | undefined;
  /** Accepts any certificate of the registry's host, and plain http where it does not speak TLS. */
  readonly insecure?: boolean | undefined;
  /** Certificates of further authorities, PEM. */
  readonly ca?: string | undefined;
  /** What the system trusts is trusted here. Default: the usual places. */
  readonly trustStore?: TrustStore | undefined;
  readonly clientCertificate?: ClientCertificate | undefined;
  readonly proxies?: Proxies | undefined;
  readonly timeouts?: Timeouts | undefined;
  /** What names and addresses mean. Default: what the system says. */
  readonly addressing?: Addressing | undefined;
  /** Tries in all for a request, and for a blob between two stretches of progress. Default 5. */
  readonly attempts?: number | undefined;
  /** The longest Retry-After that is waited for. Default 60,000. */
  readonly maxRetryAfterMs?: number | undefined;
  readonly userAgent?: string | undefined;
}

/** Disposing closes the connections, and breaks blobs that are still being read. */
export interface RegistrySource extends ImageSource, AsyncDisposable {
  /**
   * Every platform's image, with the index where there is one and all that it leads to, attestations as well.
   * @throws SourceError `image-too-large`, and what `resolve` throws
   */
  resolveAll(options?: {
    readonly signal?: AbortSignal | undefined;
  }): Promise<Omit<OutgoingImage, "references">>;
  /** Any blob of the repository. */
  readonly openBlob: ResolvedImage["openBlob"];
}

interface Fetched<Document> {
  readonly bytes: Uint8Array;
  readonly digest: Digest;
  readonly document: Document;
}

/** From the bytes, and the Content-Type that they came with. */
type Parse<Document> = (bytes: Uint8Array, contentType: string | undefined) => Document;

function checkDigest(bytes: Uint8Array, want: Digest, name: string): void {
  const got = digestOf(bytes, algorithmOf(want));
  if (got === want) return;
  const message = `manifest of ${name} has the wrong digest: got ${got}, want ${want}`;
  throw new SourceError("digest-mismatch", message, {
    hint: "the registry or something before it damages the image; pull again or tell its keeper",
  });
}

async function readDocument<Document>(
  response: HttpResponse,
  name: string,
  want: Digest | undefined,
  parse: Parse<Document>,
  signal: AbortSignal | undefined,
): Promise<Fetched<Document>> {
  const encoding = headerOf(response, "content-encoding");
  if (encoding !== undefined && encoding.toLowerCase() !== "identity") {
    const message = `manifest of ${name} came with Content-Encoding ${quote(encoding, 40)}, so it cannot be verified`;
    response.body.destroy();
    throw new SourceError("invalid-response", message);
  }
  const bytes = await readBody(response, MAX_MANIFEST_BYTES, `the manifest of ${name}`, signal);
  // Docker-Content-Digest is only what the registry says; what was asked for is what must be there.
  if (want !== undefined) checkDigest(bytes, want, name);
  const document = parse(bytes, headerOf(response, "content-type"));
  return { bytes, digest: want ?? digestOf(bytes), document };
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

async function* blobOf(
  client: RegistryClient,
  descriptor: Descriptor,
  options: BlobOptions | undefined,
): AsyncGenerator<Uint8Array> {
  try {
    yield* streamBlob(client, descriptor, options);
  } catch (error) {
    throw await client.conceal(error);
  }
}

/**
 * The image that `reference` names, in its registry. Nothing is asked before `resolve`.
 */
export function registrySource(reference: Reference, options: RegistrySourceOptions = {}): RegistrySource {
  const name = format(reference);
  const { registry, repository } = reference;
  const clientOptions: ClientOptions = { ...options, registry, repository };
  const client = new RegistryClient(clientOptions);

  const fetchDocument = <Document>(
    pointer: string,
    want: Digest | undefined,
    parse: Parse<Document>,
    signal: AbortSignal | undefined,
  ): Promise<Fetched<Document>> =>
    client.getWithRetry(
      {
        path: `manifests/${pointer}`,
        headers: { accept: ACCEPTED_DOCUMENTS.join(", ") },
        signal,
        what: `image ${name}`,
        notFound: "image-not-found",
        accepted: [200],
      },
      (response) => readDocument(response, name, want, parse, signal),
    );

  /** What an index points at, as it says. */
  const fetchEntry = async <Document extends Pick<Pointers, "kind" | "mediaType">>(
    entry: Descriptor,
    parse: Parse<Document>,
    signal: AbortSignal | undefined,
  ): Promise<Fetched<Document>> => {
    const fetched = await fetchDocument(entry.digest, entry.digest, parse, signal);
    const { bytes, document } = fetched;
    if (bytes.length !== entry.size) {
      const message = `manifest ${entry.digest} of ${name} has the wrong size: got ${bytes.length}, want ${entry.size} bytes`;
      throw new SourceError("size-mismatch", message);
    }
    if (document.mediaType !== entry.mediaType) {
      const message = `index of ${name} promises ${entry.mediaType}, got ${document.mediaType}`;
      throw new SourceError("invalid-manifest", message);
    }
    return fetched;
  };

  /**
   * An image without an index tells its platform in its config. That is fetched here, and kept so that
   * `openBlob` need not fetch it again.
   */
  const fetchConfig = async (descriptor: Descriptor, platform: Platform, signal: AbortSignal | undefined) => {
    const chunks: Uint8Array[] = [];
    for await (const chunk of streamBlob(client, descriptor, { signal })) chunks.push(chunk);
    const bytes = Buffer.concat(chunks);
    requirePlatform(parseConfig(bytes), platform, name);
    return bytes;
  };

  const pointer = reference.digest ?? reference.tag ?? "latest";
  const openBlob: RegistrySource["openBlob"] = (descriptor, blobOptions) =>
    blobOf(client, descriptor, blobOptions);

  const resolve = async ({ platform, signal }: ResolveOptions): Promise<ResolvedImage> => {
    const top = await fetchDocument(pointer, reference.digest, parseDocument, signal);
    const chosen = top.document.kind === "index" ? choose(top.document, platform, name) : undefined;
    const image = chosen ? await fetchEntry(chosen, parseDocument, signal) : top;
    const { bytes, digest, document } = image;
    if (document.kind !== "manifest")
      throw new SourceError("invalid-manifest", `${name} is an index of indexes`);
    const { config } = document;
    const kept = chosen?.platform ? undefined : await fetchConfig(config, platform, signal);
    return {
      descriptor: chosen ?? { mediaType: document.mediaType, digest, size: bytes.length },
      manifestBytes: bytes,
      referenceDigest: top.digest,
      openBlob: (descriptor, blobOptions) =>
        kept && descriptor.digest === config.digest && descriptor.size === kept.length
          ? once(kept)
          : blobOf(client, descriptor, blobOptions),
    };
  };

  return {
    name,
    openBlob,
    async resolveAll({ signal } = {}) {
      try {
        const top = await fetchDocument(pointer, reference.digest, parsePointers, signal);
        const fetch = async (entry: Descriptor) => await fetchEntry(entry, parsePointers, signal);
        return await fetchEverything(name, top, fetch, openBlob);
      } catch (error) {
        throw await client.conceal(error);
      }
    },
    async resolve(options: ResolveOptions): Promise<ResolvedImage> {
      try {
        return await resolve(options);
      } catch (error) {
        throw await client.conceal(error);
      }
    },
    [Symbol.asyncDispose]: () => client[Symbol.asyncDispose](),
  };
}
