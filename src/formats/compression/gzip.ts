/**
 * gzip through node:zlib. https://www.rfc-editor.org/rfc/rfc1952
 *
 * Output chunks of 1 MiB: with Node's default of 16 KiB the same data takes 2.9 times as long. zlib runs on
 * libuv's pool and is let run up to 4 MiB ahead of the reader, so that inflating and what is done with the
 * output overlap.
 *
 * Several members behind each other are one stream, and a zero byte behind the last begins
 * padding, which is not looked at; anything else there is an error, as it is to Go and so to Docker.
 */
import type { TransformOptions } from "node:stream";
import { createGunzip, type ZlibOptions } from "node:zlib";
import { messageOf, systemCode } from "../../util/error.ts";
import { CompressionError } from "./error.ts";
import { Feeder } from "./feed.ts";
import { chunksOf } from "./output.ts";

const CHUNK_BYTES = 1024 * 1024;
const AHEAD_BYTES = 4 * CHUNK_BYTES;
const INPUT_BYTES = CHUNK_BYTES;

export async function* gunzip(
  source: AsyncIterable<Uint8Array>,
  signal: AbortSignal | undefined,
  ownsInput = false,
): AsyncGenerator<Uint8Array, void, undefined> {
  const options: ZlibOptions & TransformOptions = {
    chunkSize: CHUNK_BYTES,
    readableHighWaterMark: AHEAD_BYTES,
    // Input must be waiting when a piece is done, or the pool stands still until more has been read.
    writableHighWaterMark: INPUT_BYTES,
  };
  const inflater = createGunzip(options);
  const stop = (): void => void inflater.destroy(signal?.reason as Error);
  signal?.addEventListener("abort", stop, { once: true });
  const head = { isGzip: false };
  const feeder = new Feeder(ownsInput);
  const fed = feeder.run(watched(source, head), inflater);
  fed.catch((error: unknown) => void inflater.destroy(error as Error));
  try {
    yield* chunksOf(inflater, AHEAD_BYTES);
    // The compressed stream is over; the source must be, too, and has not spoken its last word before.
    await fed;
  } catch (error) {
    throw translated(error, head);
  } finally {
    signal?.removeEventListener("abort", stop);
    // The feeder wakes and ends the source; it is not waited for, as the source may be stuck.
    feeder.stop();
    inflater.destroy();
  }
}

/** Notes whether the data begins as gzip: what tells a wrong format from garbage behind a good member. */
async function* watched(source: AsyncIterable<Uint8Array>, head: { isGzip: boolean }) {
  let first = true;
  for await (const chunk of source) {
    if (first) head.isGzip = chunk[0] === 0x1f && chunk[1] === 0x8b;
    first = false;
    yield chunk;
  }
}

function translated(error: unknown, head: { isGzip: boolean }): unknown {
  const code = systemCode(error);
  const details = { cause: error };
  if (code === "Z_BUF_ERROR")
    return new CompressionError("gzip-truncated", "gzip data ends too early", details);
  if (!code?.startsWith("Z_")) return error;
  const reason = messageOf(error);
  if (reason === "incorrect header check" && head.isGzip) {
    const what = "gzip data is followed by bytes that are not gzip";
    return new CompressionError("gzip-trailing-garbage", what, details);
  }
  return new CompressionError("gzip-corrupt", `gzip data is corrupt: ${reason}`, details);
}
