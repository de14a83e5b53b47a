/**
 * zstd by Node's own decoder, in the calling thread. https://www.rfc-editor.org/rfc/rfc8878
 *
 *     source ─► frames walked through ─► decoder, one buffer ─► reader
 *
 * The decoder says neither that the data ends within a frame nor, in all releases, that something else stands between
 * two of them. So the walker says both.
 */
import { setImmediate as turn } from "node:timers/promises";
import { messageOf } from "../../util/error.ts";
import { CompressionError } from "./error.ts";
import { release } from "./release.ts";
import { syncUnzstd } from "./sync-decoder.ts";
import type { Step, SyncDecoder } from "./sync-decoder.ts";
import { FrameWalker } from "./zstd-frame.ts";

const CHUNK_BYTES = 1024 * 1024;
/** A bomb makes thirty thousand bytes of one: others in this thread have their turn in between. */
const TURN_BYTES = 16 * CHUNK_BYTES;

export interface UnzstdHereOptions {
  readonly signal?: AbortSignal | undefined;
  /** The source's chunks are nobody else's, and freed. */
  readonly ownsInput?: boolean | undefined;
}

/**
 * A chunk is the reader's until it asks for the next one.
 * @throws CompressionError, and what the source throws
 */
export async function* unzstdHere(
  source: AsyncIterable<Uint8Array>,
  { signal, ownsInput = false }: UnzstdHereOptions = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  using decoder = syncUnzstd(CHUNK_BYTES);
  const walker = new FrameWalker();
  let sinceTurn = 0;
  for await (const chunk of source) {
    walker.push(chunk);
    let isFull = false;
    for (let rest = chunk; rest.length > 0 || isFull; ) {
      signal?.throwIfAborted();
      const step = stepOf(decoder, rest);
      rest = rest.subarray(step.taken);
      isFull = step.isFull;
      if (step.output.length === 0) continue;
      yield step.output;
      sinceTurn += step.output.length;
      if (sinceTurn < TURN_BYTES) continue;
      sinceTurn = 0;
      await turn();
    }
    if (ownsInput) release(chunk);
  }
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
