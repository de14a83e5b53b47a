/**
 * zstd by Node's own decoder, in the calling thread. https://www.rfc-editor.org/rfc/rfc8878
 *
 *     source ─► frames walked through ─► decoder, one buffer ─► reader
 *
 * The decoder says neither that the data ends within a frame nor, in all releases, that something else stands between
 * two of them. So the walker says both.
 */
import { messageOf } from "../../util/error.ts";
import { CHUNK_BYTES, decodeHere } from "./decode-here.ts";
import type { DecodeHereOptions } from "./decode-here.ts";
import { CompressionError } from "./error.ts";
import { syncUnzstd } from "./sync-decoder.ts";
import type { Step, SyncDecoder } from "./sync-decoder.ts";
import { onlyFrames, FrameWalker } from "./zstd-frame.ts";

/**
 * A chunk is the reader's until it asks for the next one.
 * @throws CompressionError, and what the source throws
 */
export async function* unzstdHere(
  source: AsyncIterable<Uint8Array>,
  options: DecodeHereOptions = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  using decoder = syncUnzstd(CHUNK_BYTES);
  const walker = new FrameWalker();
  yield* decodeHere(onlyFrames(source, walker), (input) => stepOf(decoder, input), options);
  if (!walker.isBetweenFrames) throw corrupt("it ends within a frame");
}

function stepOf(decoder: SyncDecoder, input: Uint8Array): Step {
  let step: Step;
  try {
    step = decoder.step(input);
  } catch (error) {
    throw corrupt(messageOf(error), error);
  }
  if (input.length > 0 && step.taken === 0 && !step.isFull) throw corrupt("the decoder takes no more of it");
  return step;
}

function corrupt(reason: string, cause?: unknown): CompressionError {
  return new CompressionError("zstd-corrupt", `zstd data is corrupt: ${reason}`, { cause });
}
