/** The writing side of a decoder: source in, at the speed of the decoder. */
import type { Writable } from "node:stream";
import { release } from "./release.ts";

export class Feeder {
  private readonly ownsInput: boolean;
  private stopped = false;

  /** With `ownsInput`, chunks are nobody else's, and freed as soon as the decoder has taken them in. */
  constructor(ownsInput = false) {
    this.ownsInput = ownsInput;
  }

  /** Nobody wants the output any more: the source is ended instead of being read on. */
  stop(): void {
    this.stopped = true;
  }

  /** Reads the source to its end, whether or not the decoder wants the last of it. Rejects with the source's error. */
  async run(source: AsyncIterable<Uint8Array>, decoder: Writable): Promise<void> {
    for await (const chunk of source) {
      if (this.stopped) return;
      if (decoder.destroyed) continue;
      if (!this.give(decoder, chunk)) await drained(decoder);
    }
    if (!decoder.destroyed) decoder.end();
  }

  private give(decoder: Writable, chunk: Uint8Array): boolean {
    if (!this.ownsInput) return decoder.write(chunk);
    return decoder.write(chunk, (error) => {
      if (!error) release(chunk);
    });
  }
}

function drained(stream: Writable): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      stream.off("drain", done).off("close", done);
      resolve();
    };
    stream.on("drain", done).on("close", done);
  });
}
