/**
 * Compressed bytes in, plain bytes out, with backpressure both ways.
 *
 *     source ──► batched (256 KiB) ──► gzip: node:zlib, on libuv's pool or here ──► capped ──► caller
 *                                 ├──► zstd: the `zstd` program, or fzstd
 *                                 └──► none
 *
 * The source is always read to its end, also behind the end of the compressed stream, because sources verify
 * size and digest there. A caller that stops early ends the source and whatever was started.
 */
import { batched } from "./batch.ts";
import { CompressionError } from "./error.ts";
import { gunzipHere } from "./gzip-here.ts";
import { gunzip } from "./gzip.ts";
import { canInflateHere } from "./sync-decoder.ts";
import { unzstd } from "./zstd.ts";

export type Compression = "none" | "gzip" | "zstd";

export interface DecompressOptions {
  readonly signal?: AbortSignal | undefined;
  /** Against bombs: more output than this is an error. Default: no bound. */
  readonly maxOutputBytes?: number | undefined;
  /** The zstd program to use; false = only the decoder in JavaScript. Default `zstd`, from the PATH. */
  readonly zstdProgram?: string | false | undefined;
  /** The source's chunks are nobody else's: the gzip decoder frees them as it takes them in. */
  readonly ownsInput?: boolean | undefined;
  /**
   * For a thread that does nothing else: gzip and zstd are decoded here where Node lets us, and a chunk is the caller's
   * only until it asks for the next one.
   */
  readonly inThisThread?: boolean | undefined;
}

/**
 * What compressed data begins like. Layers should say by their media type; archives often do not.
 * https://www.rfc-editor.org/rfc/rfc1952#section-2.3.1 and https://www.rfc-editor.org/rfc/rfc8878#section-3.1
 */
export function detectCompression(head: Uint8Array): Compression {
  const [a, b, c, d] = head;
  if (a === 0x1f && b === 0x8b) return "gzip";
  if (a === 0x28 && b === 0xb5 && c === 0x2f && d === 0xfd) return "zstd";
  // A zstd stream may open with a skippable frame (as zstd:chunked and pzstd write).
  if (a !== undefined && (a & 0xf0) === 0x50 && b === 0x2a && c === 0x4d && d === 0x18) return "zstd";
  return "none";
}

/**
 * The plain bytes. Chunks are the caller's to keep, but with `inThisThread`.
 * @throws CompressionError, and what the source throws
 */
export async function* decompress(
  source: AsyncIterable<Uint8Array>,
  compression: Compression,
  options: DecompressOptions = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  const {
    signal,
    maxOutputBytes = Number.POSITIVE_INFINITY,
    zstdProgram = "zstd",
    ownsInput = false,
    inThisThread = false,
  } = options;
  signal?.throwIfAborted();
  let outputBytes = 0;
  for await (const chunk of opened(source, compression, { zstdProgram, signal, ownsInput, inThisThread })) {
    signal?.throwIfAborted();
    outputBytes += chunk.length;
    if (outputBytes > maxOutputBytes) {
      throw new CompressionError(
        "decompressed-too-large",
        `${compression} data unpacks to more than the ${maxOutputBytes} bytes allowed`,
      );
    }
    yield chunk;
  }
}

function opened(
  source: AsyncIterable<Uint8Array>,
  compression: Compression,
  options: Required<Pick<DecompressOptions, "ownsInput" | "inThisThread">> & {
    readonly zstdProgram: string | false;
    readonly signal: AbortSignal | undefined;
  },
): AsyncIterable<Uint8Array> {
  const { zstdProgram, signal, ownsInput, inThisThread } = options;
  if (compression === "gzip" && inThisThread && canInflateHere())
    return gunzipHere(source, { signal, ownsInput });
  if (compression === "gzip") return gunzip(batched(source), signal, ownsInput);
  if (compression === "zstd")
    return unzstd(batched(source), { program: zstdProgram, signal, ownsInput, inThisThread });
  return source;
}
