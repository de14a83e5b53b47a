/**
 * The reading side of a decoder: its chunks, one at a time and as they are. (`for await` over a stream joins
 * whatever has gathered into one new buffer, which at these sizes costs a copy of everything.)
 */
import type { Readable } from "node:stream";

/** A chunk of a few bytes may keep a whole buffer alive: their number is bounded as well. */
const AHEAD_CHUNKS = 256;

/** Ends with the stream, throws its error. The stream runs ahead by `aheadBytes` at most. */
export function chunksOf(stream: Readable, aheadBytes: number): AsyncGenerator<Uint8Array, void, undefined> {
  const queue = new ChunkQueue(aheadBytes);
  queue.add(stream).then(
    () => queue.end(),
    (error: unknown) => queue.fail(error),
  );
  return queue.chunks();
}

/** The output of streams that follow each other. */
export class ChunkQueue {
  private readonly aheadBytes: number;
  private readonly queue: Uint8Array[] = [];
  private queuedBytes = 0;
  private stream: Readable | undefined;
  private isOver = false;
  private failure: { readonly error: unknown } | undefined;
  private wake: () => void = () => {};

  constructor(aheadBytes: number) {
    this.aheadBytes = aheadBytes;
  }

  /**
   * Takes in a stream, behind one that has ended. Resolves with its size in bytes when it ends or is destroyed,
   * and rejects with its error.
   */
  add(stream: Readable): Promise<number> {
    this.stream = stream;
    let sizeBytes = 0;
    if (this.isFull) stream.pause();
    stream.on("data", (chunk: Buffer) => {
      sizeBytes += chunk.length;
      this.queue.push(chunk);
      this.queuedBytes += chunk.length;
      if (this.isFull) stream.pause();
      this.wake();
    });
    return new Promise((resolve, reject) => {
      const done = (): void => resolve(sizeBytes);
      stream.on("error", reject).on("end", done).on("close", done);
    });
  }

  /** There will be no more streams. */
  end(): void {
    this.isOver = true;
    this.wake();
  }

  /** What is queued still comes out, then the error. */
  fail(error: unknown): void {
    this.failure ??= { error };
    this.wake();
  }

  async *chunks(): AsyncGenerator<Uint8Array, void, undefined> {
    for (;;) {
      const chunk = this.queue.shift();
      if (chunk !== undefined) {
        this.queuedBytes -= chunk.length;
        if (this.stream?.isPaused() && !this.isFull) this.stream.resume();
        yield chunk;
      } else if (this.failure !== undefined) throw this.failure.error;
      else if (this.isOver) return;
      else await new Promise<void>((resolve) => (this.wake = resolve));
    }
  }

  private get isFull(): boolean {
    return this.queuedBytes >= this.aheadBytes || this.queue.length >= AHEAD_CHUNKS;
  }
}
