/**
 * The reading side of a decoder: its chunks, one at a time and as they are. (`for await` over a stream joins
 * whatever has gathered into one new buffer, which at these sizes costs a copy of everything.)
 */
import type { Readable } from "node:stream";

/** Ends with the stream, throws its error. The stream runs ahead by `aheadBytes` at most. */
export async function* chunksOf(
  stream: Readable,
  aheadBytes: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  const queue: Uint8Array[] = [];
  let queuedBytes = 0;
  let isOver = false;
  let failure: { readonly error: unknown } | undefined;
  let wake: () => void = () => {};
  stream.on("data", (chunk: Buffer) => {
    queue.push(chunk);
    queuedBytes += chunk.length;
    if (queuedBytes >= aheadBytes) stream.pause();
    wake();
  });
  stream.on("error", (error) => {
    failure = { error };
    wake();
  });
  stream.on("close", () => {
    isOver = true;
    wake();
  });
  stream.on("end", () => {
    isOver = true;
    wake();
  });
  for (;;) {
    const chunk = queue.shift();
    if (chunk !== undefined) {
      queuedBytes -= chunk.length;
      if (stream.isPaused() && queuedBytes < aheadBytes) stream.resume();
      yield chunk;
    } else if (failure !== undefined) throw failure.error;
    else if (isOver) return;
    else await new Promise<void>((resolve) => (wake = resolve));
  }
}
