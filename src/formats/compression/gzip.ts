/**
 * gzip through node:zlib. https://www.rfc-editor.org/rfc/rfc1952
 *
 * Output chunks of 1 MiB: with Node's default of 16 KiB the same data takes 2.9 times as long. zlib runs on
 * libuv's pool and is let run up to 4 MiB ahead of the reader, so that inflating and what is done with the
 * output overlap.
 *
 * Several members behind each other are one stream, and zero bytes behind the last are padding; anything
 * else behind it is an error, as it is to Go and so to Docker.
 */
import { once } from "node:events";
import { createGunzip, type Gunzip } from "node:zlib";
import { systemCode } from "../../util/error.ts";
import { CompressionError } from "./error.ts";

const CHUNK_BYTES = 1024 * 1024;
const AHEAD_BYTES = 4 * CHUNK_BYTES;

export async function* gunzip(
  source: AsyncIterable<Uint8Array>,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, void, undefined> {
  const inflater = createGunzip({ chunkSize: CHUNK_BYTES, readableHighWaterMark: AHEAD_BYTES } as object);
  const feeding = new AbortController();
  const stop = (): void => void inflater.destroy(signal?.reason as Error);
  signal?.addEventListener("abort", stop, { once: true });
  const fed = feed(source, inflater, feeding.signal).catch((error: unknown) => {
    inflater.destroy(error as Error);
    throw error;
  });
  fed.catch(() => {});
  try {
    for await (const chunk of inflater as AsyncIterable<Buffer>) yield chunk;
    // The compressed stream is over; the source must be, too, and has not spoken its last word before.
    await fed;
  } catch (error) {
    throw translated(error);
  } finally {
    signal?.removeEventListener("abort", stop);
    feeding.abort();
    inflater.destroy();
    await fed.catch(() => {});
  }
}

/** Writes the source into the inflater, as fast as that takes it, and reads the source to its end. */
async function feed(source: AsyncIterable<Uint8Array>, inflater: Gunzip, signal: AbortSignal): Promise<void> {
  for await (const chunk of source) {
    if (signal.aborted) return;
    if (inflater.readableEnded || inflater.destroyed) {
      requireZeros(chunk);
      continue;
    }
    if (!inflater.write(chunk)) await drained(inflater, signal);
  }
  if (!inflater.destroyed) inflater.end();
}

async function drained(inflater: Gunzip, signal: AbortSignal): Promise<void> {
  const waiting = new AbortController();
  const any = AbortSignal.any([signal, waiting.signal]);
  try {
    await Promise.race([
      once(inflater, "drain", { signal: any }),
      once(inflater, "end", { signal: any }),
      once(inflater, "close", { signal: any }),
    ]);
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    waiting.abort();
  }
}

function requireZeros(chunk: Uint8Array): void {
  if (chunk.some((byte) => byte !== 0)) throw trailingGarbage();
}

function trailingGarbage(cause?: unknown): CompressionError {
  return new CompressionError("gzip-trailing-garbage", "gzip data is followed by bytes that are not gzip", { cause });
}

function translated(error: unknown): unknown {
  const code = systemCode(error);
  if (code === "Z_BUF_ERROR") {
    return new CompressionError("gzip-truncated", "gzip data ends too early", { cause: error });
  }
  if (code?.startsWith("Z_")) {
    return new CompressionError("gzip-corrupt", `gzip data is corrupt: ${(error as Error).message}`, { cause: error });
  }
  return error;
}
