/**
 * A blob on its way into a repository.
 * https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md#pushing-blobs
 *
 *     POST blobs/uploads/ ─► Location ─┬─ small: PUT ?digest= with all of it
 *                                      ├─ large: PATCH chunk by chunk ─► PUT ?digest=
 *                                      │           broke? GET Location ─► Range ─► the rest of the chunk
 *                                      └─ chunks refused: PATCH with a stream of all of it ─► PUT ?digest=
 *
 * One chunk is in memory at a time, so what broke within it goes on from there; an upload that the registry has
 * forgotten begins again from the source. Docker's own registry (2.x) forgets each one whose request broke: the state
 * that it hands out names an offset, and what came after that makes it invalid.
 */
import { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { algorithmOf, digestFrom, hashFor } from "../../reference/digest.ts";
import type { Digest } from "../../reference/digest.ts";
import { FlameBoxError } from "../../util/error.ts";
import { retry } from "../../util/retry.ts";
import { SourceError } from "../error.ts";
import type { RegistryClient } from "./client.ts";
import { discard, headerOf } from "./transport.ts";
import type { HttpResponse } from "./transport.ts";

const DEFAULT_CHUNK_BYTES = 8 * 1024 * 1024;
/** A registry that wants larger ones than this gets a stream. */
const MAX_CHUNK_BYTES = 64 * 1024 * 1024;
const MAX_STARTS = 4;
const BASE_DELAY_MS = 200;
const SHA256 = `sha256:${"0".repeat(64)}` as Digest;

export interface UploadOptions {
  readonly signal?: AbortSignal | undefined;
  /** Bytes that the registry has. May go back, when an upload begins again. */
  readonly onSent?: ((bytes: number) => void) | undefined;
  readonly chunkBytes?: number | undefined;
}

export interface BlobToSend {
  /** When it is known before. */
  readonly digest?: Digest | undefined;
  /** From the start, each time. What it throws ends the upload. */
  open(): AsyncIterable<Uint8Array>;
}

export interface SentBlob {
  readonly digest: Digest;
  readonly size: number;
}

/** The registry does not take this upload's chunks, or has lost it. */
class UploadLost extends FlameBoxError {
  override readonly name = "UploadLost";
  readonly wantsStream: boolean;

  constructor(cause: unknown, wantsStream: boolean) {
    super("upload-lost", "the registry does not go on with an upload", { cause });
    this.wantsStream = wantsStream;
  }
}

/** @returns what the registry asks to wait, in milliseconds */
function waitOf(error: unknown): number | undefined {
  return error instanceof SourceError ? error.retryAfterMs : undefined;
}

function statusOf(error: unknown): number | undefined {
  return error instanceof SourceError ? error.status : undefined;
}

/** `0-1023` → 1024; undefined for anything else. */
export function parseUploadRange(header: string | undefined): number | undefined {
  const match = /^(?:bytes=)?0-(\d{1,15})$/.exec(header ?? "");
  return match?.[1] === undefined ? undefined : Number(match[1]) + 1;
}

/** Pieces of `chunkBytes`, the last one shorter; the buffer is used again. */
async function* cut(source: AsyncIterable<Uint8Array>, chunkBytes: number) {
  let buffer = Buffer.alloc(0);
  let used = 0;
  for await (const chunk of source) {
    for (let at = 0; at < chunk.length; ) {
      // Grows with the blob: most are small.
      if (used === buffer.length) {
        const larger = Buffer.allocUnsafeSlow(Math.min(chunkBytes, Math.max(64 * 1024, used * 4)));
        buffer.copy(larger, 0, 0, used);
        buffer = larger;
      }
      const taken = Math.min(buffer.length - used, chunk.length - at);
      Buffer.prototype.copy.call(chunk, buffer, used, at, at + taken);
      used += taken;
      at += taken;
      if (used < chunkBytes) continue;
      yield buffer;
      used = 0;
    }
  }
  if (used > 0) yield buffer.subarray(0, used);
}

class Upload {
  readonly #client: RegistryClient;
  readonly #options: UploadOptions;
  #location: URL | undefined;
  #sentBytes = 0;
  /** Why a chunk had to be sent again: what is told when the registry then has forgotten the upload. */
  #trouble: unknown;

  constructor(client: RegistryClient, options: UploadOptions) {
    this.#client = client;
    this.#options = options;
  }

  async send(blob: BlobToSend, asStream: boolean): Promise<SentBlob> {
    const { chunkBytes: wanted = DEFAULT_CHUNK_BYTES } = this.#options;
    const leastBytes = await this.#begin();
    const hash = hashFor(blob.digest ?? SHA256);
    const counted = this.#counted(blob.open(), hash);
    const chunkBytes = Math.max(wanted, leastBytes);
    if (asStream || chunkBytes > MAX_CHUNK_BYTES) await this.#stream(counted);
    else {
      const chunks = cut(counted, chunkBytes);
      const first = await chunks.next();
      const only = first.done ? Buffer.alloc(0) : first.value;
      // All of it in one request, which every registry takes.
      if (only.length < chunkBytes) {
        this.#sentBytes = only.length;
        return await this.#finish(this.#digestOf(hash, blob), only);
      }
      await this.#patch(only);
      for await (const chunk of chunks) await this.#patch(chunk);
    }
    return await this.#finish(this.#digestOf(hash, blob), undefined);
  }

  #digestOf(hash: ReturnType<typeof hashFor>, { digest }: BlobToSend): Digest {
    const got = digestFrom(hash, digest === undefined ? "sha256" : algorithmOf(digest));
    if (digest === undefined || got === digest) return got;
    const message = `what is to be sent has the wrong digest: got ${got}, want ${digest}`;
    throw new SourceError("digest-mismatch", message);
  }

  async *#counted(source: AsyncIterable<Uint8Array>, hash: ReturnType<typeof hashFor>) {
    for await (const chunk of source) {
      this.#options.signal?.throwIfAborted();
      hash.update(chunk);
      yield chunk;
    }
  }

  /** @returns the least size of a chunk that the registry takes */
  async #begin(): Promise<number> {
    const request = { method: "POST", path: "blobs/uploads/", accepted: [202] } as const;
    const response = await this.#patiently(() => this.#ask(request));
    this.#location = this.#client.nextOf(response);
    const least = Number(headerOf(response, "oci-chunk-min-length") ?? 0);
    return Number.isSafeInteger(least) && least > 0 ? least : 0;
  }

  /** Again while the error is temporary, after what the registry asks to wait. */
  #patiently<T>(job: (attempt: number) => Promise<T>): Promise<T> {
    return retry(job, { ...this.#client.retryOptions, signal: this.#options.signal });
  }

  async #ask(request: {
    readonly method: "GET" | "HEAD" | "POST" | "PUT" | "PATCH";
    readonly path?: string;
    readonly url?: URL | undefined;
    readonly headers?: Record<string, string>;
    readonly body?: Uint8Array | (() => Readable);
    readonly sent?: Digest;
    readonly accepted: readonly number[];
  }): Promise<HttpResponse> {
    const { signal } = this.#options;
    const response = await this.#client.get({
      ...request,
      path: request.path ?? "",
      signal,
      what: request.sent === undefined ? "an upload" : `blob ${request.sent}`,
      notFound: "upload-lost",
    });
    discard(response);
    return response;
  }

  /** Sends one chunk, going on within it where it broke. */
  async #patch(chunk: Buffer): Promise<void> {
    const start = this.#sentBytes;
    const end = start + chunk.length;
    await this.#patiently(async (attempt) => {
      if (attempt > 1) await this.#askHowFar(start, end);
      const at = this.#sentBytes;
      if (at === end) return;
      try {
        await this.#patchFrom(chunk.subarray(at - start), at);
      } catch (error) {
        this.#trouble = error;
        throw error;
      }
    });
    this.#options.onSent?.(this.#sentBytes);
  }

  async #patchFrom(body: Uint8Array, at: number): Promise<void> {
    const headers = {
      "content-type": "application/octet-stream",
      "content-length": `${body.length}`,
      "content-range": `${at}-${at + body.length - 1}`,
    };
    try {
      const request = {
        method: "PATCH",
        url: this.#location,
        headers,
        body,
        accepted: [201, 202, 204],
      } as const;
      const response = await this.#ask(request);
      this.#location = this.#client.nextOf(response);
      this.#sentBytes = at + body.length;
    } catch (error) {
      throw this.#lostBy(error);
    }
  }

  /** Refusals that speak of the chunk, not of us. */
  #lostBy(error: unknown): unknown {
    const status = statusOf(error);
    if (status === 404) return new UploadLost(error, false);
    const isOfChunks = status !== undefined && [400, 405, 411, 413, 416, 501].includes(status);
    return isOfChunks ? new UploadLost(error, true) : error;
  }

  async #askHowFar(start: number, end: number): Promise<void> {
    let response: HttpResponse;
    try {
      response = await this.#ask({ method: "GET", url: this.#location, accepted: [200, 202, 204] });
    } catch (error) {
      const lost = this.#lostBy(error);
      throw lost instanceof UploadLost ? new UploadLost(this.#trouble ?? error, lost.wantsStream) : lost;
    }
    if (headerOf(response, "location") !== undefined) this.#location = this.#client.nextOf(response);
    const range = headerOf(response, "range");
    // Nothing yet is told by no Range, or by `0-0`, which also means one byte.
    const got = range === undefined || (range.endsWith("0-0") && start === 0) ? 0 : parseUploadRange(range);
    if (got === undefined || got < start || got > end) throw new UploadLost(this.#trouble, false);
    this.#sentBytes = got;
  }

  async #stream(source: AsyncIterable<Uint8Array>): Promise<void> {
    const { onSent } = this.#options;
    let failure: { readonly error: unknown } | undefined;
    let sent = 0;
    let isSpent = false;
    const told = async function* () {
      try {
        for await (const chunk of source) {
          yield chunk;
          sent += chunk.length;
          onSent?.(sent);
        }
      } catch (error) {
        failure = { error };
        throw error;
      }
    };
    try {
      const response = await this.#ask({
        method: "PATCH",
        url: this.#location,
        headers: { "content-type": "application/octet-stream" },
        body: () => {
          // Asked for who we are in the middle of it: what has been read is gone.
          if (isSpent) throw new UploadLost(undefined, true);
          isSpent = true;
          return Readable.from(told(), { objectMode: false, highWaterMark: 1024 * 1024 });
        },
        accepted: [201, 202, 204],
      });
      this.#location = this.#client.nextOf(response);
      this.#sentBytes = sent;
    } catch (error) {
      // What was to be sent could not be read: the network only noticed.
      if (failure) throw failure.error;
      // Whoever asks for too long a wait is left alone.
      const isLeftAlone = waitOf(error) !== undefined && !(error as SourceError).temporary;
      throw isLeftAlone ? error : new UploadLost(error, true);
    }
  }

  async #finish(digest: Digest, body: Uint8Array | undefined): Promise<SentBlob> {
    const url = new URL(this.#location as URL);
    url.searchParams.set("digest", digest);
    const headers = { "content-type": "application/octet-stream", "content-length": `${body?.length ?? 0}` };
    const request = { method: "PUT", url, headers, sent: digest, accepted: [200, 201, 202, 204] } as const;
    let trouble: unknown;
    await this.#patiently(async () => {
      try {
        await this.#ask({ ...request, ...(body === undefined ? {} : { body }) });
      } catch (error) {
        const status = statusOf(error) ?? 0;
        const isForgotten = status === 404 || (trouble !== undefined && [400, 416].includes(status));
        // The answer may have been lost behind the deed.
        if (isForgotten && trouble !== undefined && (await this.#isThere(digest))) return;
        // With 500 a registry says that this upload, as it has it, does not become a blob.
        const isBroken = status === 500 && waitOf(error) === undefined;
        if (isForgotten || isBroken) throw new UploadLost(trouble ?? error, false);
        trouble = error;
        throw error;
      }
    });
    return { digest, size: this.#sentBytes };
  }

  async #isThere(digest: Digest): Promise<boolean> {
    const path = `blobs/${digest}`;
    return (await this.#ask({ method: "HEAD", path, accepted: [200, 404] })).status === 200;
  }
}

/**
 * Sends a blob, in chunks where it is large.
 * @throws SourceError; what the blob's source throws
 */
export async function uploadBlob(
  client: RegistryClient,
  blob: BlobToSend,
  options: UploadOptions = {},
): Promise<SentBlob> {
  let asStream = false;
  for (let start = 1; ; start++) {
    try {
      return await new Upload(client, options).send(blob, asStream);
    } catch (error) {
      options.signal?.throwIfAborted();
      if (!(error instanceof UploadLost)) throw error;
      if (start === MAX_STARTS) throw error.cause instanceof Error ? error.cause : error;
      asStream ||= error.wantsStream;
      const askedMs = Math.min(waitOf(error.cause) ?? 0, client.retryOptions.maxDelayMs ?? 0);
      const backoffMs = Math.random() * BASE_DELAY_MS * 2 ** start;
      await sleep(Math.max(askedMs, backoffMs), undefined, { signal: options.signal });
    }
  }
}
