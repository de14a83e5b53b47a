/** Sinks that are streams: the VMM's, passt's, another member's of a network. */
import type { Duplex } from "node:stream";
import type { FrameSink } from "./reader.ts";

/** A frame in pieces, and its neighbours, in one call of the system. */
function write(stream: Duplex, pieces: readonly Buffer[]): void {
  if (pieces.length > 1) stream.cork();
  for (const piece of pieces) stream.write(piece);
  if (pieces.length > 1) stream.uncork();
}

/** Everything is written; whoever reads the source looks at `isFull` and waits. */
export class StreamSink implements FrameSink {
  readonly #stream: Duplex;

  constructor(stream: Duplex) {
    this.#stream = stream;
  }

  get isFull(): boolean {
    return this.#stream.writableNeedDrain;
  }

  deliver(pieces: readonly Buffer[]): void {
    if (!this.#stream.destroyed && !this.#stream.writableEnded) write(this.#stream, pieces);
  }

  /** For frames that nobody waits for: they are lost rather than kept. */
  offer(pieces: readonly Buffer[], maxQueuedBytes: number): void {
    if (this.#stream.writableLength < maxQueuedBytes) this.deliver(pieces);
  }

  whenDrained(then: () => void): void {
    this.#stream.once("drain", then);
  }
}
