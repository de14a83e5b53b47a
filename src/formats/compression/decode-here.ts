/** Decoding in the calling thread: the source's chunks through a decoder, step by step. */
import { setImmediate as turn } from "node:timers/promises";
import { release } from "./release.ts";
import type { Step } from "./sync-decoder.ts";

export const CHUNK_BYTES = 1024 * 1024;
/** A bomb makes thousands of bytes of one: others in this thread have their turn in between. */
const TURN_BYTES = 16 * CHUNK_BYTES;

export interface DecodeHereOptions {
  readonly signal?: AbortSignal | undefined;
  /** The source's chunks are nobody else's, and freed. */
  readonly ownsInput?: boolean | undefined;
}

/**
 * A chunk is the reader's until it asks for the next one.
 * @param step takes some of its input, all of it in the end; asked without input while its output was full
 */
export async function* decodeHere(
  source: AsyncIterable<Uint8Array>,
  step: (input: Uint8Array) => Step,
  { signal, ownsInput = false }: DecodeHereOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  let sinceTurn = 0;
  for await (const chunk of source) {
    let isFull = false;
    for (let rest = chunk; rest.length > 0 || isFull; ) {
      signal?.throwIfAborted();
      const done = step(rest);
      rest = rest.subarray(done.taken);
      isFull = done.isFull;
      if (done.output.length === 0) continue;
      yield done.output;
      sinceTurn += done.output.length;
      if (sinceTurn < TURN_BYTES) continue;
      sinceTurn = 0;
      await turn();
    }
    if (ownsInput) release(chunk);
  }
}
