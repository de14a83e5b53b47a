/**
 * Blobs as streams: verified, resumed, and never more than a read-ahead in memory.
 *
 *     GET blob ─► chunks ─► count, hash ─► one chunk is held back ─► consumer
 *        ▲                     │
 *        └── Range: bytes=N- ◄─┘ connection broke, N bytes were received
 *
 * The last chunk is handed out only when size and digest are right, so that a consumer that sees the end
 * has seen the blob.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { chunksOf } from "../../formats/compression/output.ts";
import type { Descriptor } from "../../oci/descriptor.ts";
import { algorithmOf, digestFrom, hashFor } from "../../reference/digest.ts";
import { FlameBoxError } from "../../util/error.ts";
import { quote } from "../../util/printable.ts";
import { SourceError } from "../error.ts";
import type { BlobOptions } from "../source.ts";
import type { RegistryClient } from "./client.ts";
import { networkError } from "./http-error.ts";
import { paced } from "./pace.ts";
import { headerOf } from "./transport.ts";
import type { HttpResponse } from "./transport.ts";

/** So much progress makes up for all failures before it: a bad line gets there, a trickle of resets does not. */
const PROGRESS_BYTES = 1024 * 1024;
const BASE_DELAY_MS = 200;
const MAX_BACKOFF_MS = 10_000;
const PROGRESS_INTERVAL_MS = 100;
/** What may wait for a consumer that is slow. */
const READ_AHEAD_BYTES = 1024 * 1024;

interface ContentRange {
  readonly first: number;
  readonly last: number;
  /** Undefined when the server does not tell (`*`). */
  readonly total: number | undefined;
}

/** RFC 9110 section 14.4; undefined for anything that is not a satisfied byte range. */
export function parseContentRange(header: string | undefined): ContentRange | undefined {
  const match = /^bytes ([0-9]{1,15})-([0-9]{1,15})\/([0-9]{1,15}|\*)$/i.exec(header ?? "");
  if (!match) return undefined;
  const total = match[3] === "*" ? undefined : Number(match[3]);
  return { first: Number(match[1]), last: Number(match[2]), total };
}

function invalid(descriptor: Descriptor, problem: string): SourceError {
  return new SourceError("invalid-response", `blob ${descriptor.digest}: ${problem}`);
}

function sizeMismatch(descriptor: Descriptor, got: string, temporary = false): SourceError {
  const message = `blob ${descriptor.digest} has the wrong size: got ${got}, want ${descriptor.size} bytes`;
  return new SourceError("size-mismatch", message, {
    temporary,
    hint: "the registry or something before it damages the image; pull again or tell its keeper",
  });
}

/**
 * Checks an answer against what was asked, and says how many bytes of its body are to be skipped.
 * @throws SourceError `invalid-response`, `size-mismatch`
 */
function bytesToSkip(response: HttpResponse, descriptor: Descriptor, offset: number): number {
  const encoding = headerOf(response, "content-encoding");
  if (encoding !== undefined && encoding.toLowerCase() !== "identity") {
    throw invalid(
      descriptor,
      `delivered with Content-Encoding ${quote(encoding, 40)}, so it cannot be verified`,
    );
  }
  // The blob ends where we stand, and that is too early.
  if (response.status === 416) throw sizeMismatch(descriptor, `${offset}`);
  const length = headerOf(response, "content-length");
  if (response.status === 200) {
    if (length !== undefined && Number(length) !== descriptor.size) {
      throw sizeMismatch(descriptor, `${quote(length, 40)} announced`);
    }
    return offset;
  }
  const header = headerOf(response, "content-range");
  const range = parseContentRange(header);
  const total = range?.total ?? descriptor.size;
  const right =
    range !== undefined &&
    range.first === offset &&
    range.last >= range.first &&
    range.last < descriptor.size &&
    total === descriptor.size &&
    (length === undefined || Number(length) === range.last - range.first + 1);
  if (!right || offset === 0) {
    const want = offset === 0 ? "the whole" : `bytes ${offset}-${descriptor.size - 1}/${descriptor.size}`;
    throw invalid(descriptor, `asked for ${want}, got Content-Range ${quote(header ?? "", 80)}`);
  }
  return 0;
}

/** The blob's bytes from `offset` on, as far as one answer goes. */
async function* readFrom(
  client: RegistryClient,
  descriptor: Descriptor,
  offset: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  const response = await client.get({
    path: `blobs/${descriptor.digest}`,
    headers: offset === 0 ? {} : { range: `bytes=${offset}-` },
    signal,
    what: `blob ${descriptor.digest}`,
    notFound: "blob-not-found",
    accepted: [200, 206, 416],
  });
  try {
    let skip = bytesToSkip(response, descriptor, offset);
    const body = chunksOf(response.body, READ_AHEAD_BYTES);
    for await (const chunk of paced(body, response.pace, response.url.host)) {
      if (skip >= chunk.length) {
        skip -= chunk.length;
        continue;
      }
      yield skip === 0 ? chunk : chunk.subarray(skip);
      skip = 0;
    }
  } catch (error) {
    signal?.throwIfAborted();
    throw networkError(error, response.url.host);
  } finally {
    response.body.destroy();
  }
}

/** Counts failures between stretches of progress, and waits before the next try. */
class Patience {
  readonly #client: RegistryClient;
  #failures = 0;
  #receivedAtFailure = 0;

  constructor(client: RegistryClient) {
    this.#client = client;
  }

  /** Returns after a pause when another try makes sense. @throws the error when not */
  async pause(error: unknown, received: number, signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted();
    const { attempts = 5, delayOf, maxDelayMs = MAX_BACKOFF_MS } = this.#client.retryOptions;
    if (received - this.#receivedAtFailure >= PROGRESS_BYTES) this.#failures = 0;
    this.#receivedAtFailure = received;
    this.#failures++;
    if (!(error instanceof FlameBoxError) || !error.temporary || this.#failures >= attempts) throw error;
    const backoffMs = Math.random() * Math.min(MAX_BACKOFF_MS, BASE_DELAY_MS * 2 ** (this.#failures - 1));
    const askedMs = Math.min(delayOf?.(error) ?? 0, maxDelayMs);
    await sleep(Math.max(backoffMs, askedMs), undefined, { signal });
  }
}

/** Tells of progress, not more often than a person can see. */
function reporter(descriptor: Descriptor, options: BlobOptions) {
  const { onProgress, progressId: id = `blob:${descriptor.digest}` } = options;
  const label = options.progressLabel ?? descriptor.digest.slice(0, 19);
  const total = descriptor.size;
  let nextAtMs = 0;
  return (current: number, note?: string) => {
    if (!onProgress) return;
    const nowMs = performance.now();
    if (note === undefined && nowMs < nextAtMs && current < total) return;
    nextAtMs = nowMs + PROGRESS_INTERVAL_MS;
    const state = "running";
    onProgress({ id, label, state, current, total, unit: "bytes", ...(note === undefined ? {} : { note }) });
  };
}

/**
 * The blob from its start to its end.
 * @throws SourceError `size-mismatch` and `digest-mismatch` before the last chunk, others at any point
 */
export async function* streamBlob(
  client: RegistryClient,
  descriptor: Descriptor,
  options: BlobOptions = {},
): AsyncGenerator<Uint8Array> {
  const { signal } = options;
  const hash = hashFor(descriptor.digest);
  const patience = new Patience(client);
  const report = reporter(descriptor, options);
  let received = 0;
  let held: Uint8Array | undefined;
  for (let complete = false; !complete; ) {
    try {
      for await (const chunk of readFrom(client, descriptor, received, signal)) {
        received += chunk.length;
        if (received > descriptor.size) throw sizeMismatch(descriptor, "more");
        hash.update(chunk);
        if (held) yield held;
        held = chunk;
        report(received);
      }
      // An answer may give less than was asked for, or break without saying so; the next one continues.
      complete = received === descriptor.size;
      if (!complete) throw sizeMismatch(descriptor, `${received}`, true);
    } catch (error) {
      signal?.throwIfAborted();
      // All bytes are here: how the connection ended does not matter.
      const enough = received === descriptor.size && received > 0;
      complete = enough && error instanceof FlameBoxError && error.temporary;
      if (complete) break;
      await patience.pause(error, received, signal);
      const shown = client.conceal(error);
      report(received, `resumed after: ${shown instanceof FlameBoxError ? shown.message : "an error"}`);
    }
  }
  const got = digestFrom(hash, algorithmOf(descriptor.digest));
  if (got !== descriptor.digest) {
    throw new SourceError(
      "digest-mismatch",
      `blob has the wrong digest: got ${got}, want ${descriptor.digest}`,
      {
        hint: "the registry or something before it damages the image; pull again or tell its keeper",
      },
    );
  }
  if (held) yield held;
}
