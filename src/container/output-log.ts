/**
 * What a process says, kept for whoever asks later: the last of it, in memory.
 *
 *     stdout ─┐           ┌─► entries, the oldest of which go when there are too many bytes
 *             ├─► pieces ─┤
 *     stderr ─┘           └─► followers, which see each piece once, and hold nothing up
 *
 * Except for those that follow exactly: a process whose output they have not taken waits (back pressure).
 */
import type { Readable } from "node:stream";
import type { LogStream } from "./log/format.ts";

/** A piece as it came, not a line. */
export interface OutputEvent {
  readonly stream: LogStream;
  readonly bytes: Buffer;
  /** When it came, by this host's clock. */
  readonly at: Date;
}

export interface OutputLogOptions {
  /** Goes on until the process has ended. Default false. */
  readonly follow?: boolean | undefined;
  /** As many of the last lines as are kept; default all. */
  readonly tail?: number | undefined;
  /** Nothing that came before. */
  readonly since?: Date | undefined;
  readonly signal?: AbortSignal | undefined;
}

interface Follower {
  readonly isExact: boolean;
  readonly waiting: Pieces;
  /** Resolves what the follower waits for. */
  wake: () => void;
  /** Resolves what the process waits for. */
  taken: () => void;
}

const LINE_FEED = 0x0a;
/** What a piece takes besides its bytes, about: a process that writes byte by byte must not fill memory. */
const PIECE_BYTES = 256;

/** The oldest go when there are too many. */
class Pieces {
  readonly list: OutputEvent[];
  #bytes: number;

  constructor(pieces: readonly OutputEvent[] = []) {
    this.list = [...pieces];
    this.#bytes = this.list.reduce((sum, piece) => sum + costOf(piece), 0);
  }

  /** The piece that is added stays, however large it is. */
  add(piece: OutputEvent, maxBytes: number): void {
    this.list.push(piece);
    this.#bytes += costOf(piece);
    while (this.#bytes > maxBytes && this.list.length > 1) this.take();
  }

  take(): OutputEvent | undefined {
    const piece = this.list.shift();
    if (piece !== undefined) this.#bytes -= costOf(piece);
    return piece;
  }
}

function costOf({ bytes }: OutputEvent): number {
  return bytes.length + PIECE_BYTES;
}

export class OutputLog {
  readonly #maxBytes: number;
  readonly #pieces = new Pieces();
  readonly #followers = new Set<Follower>();
  #isOver = false;
  #failure: Error | undefined;

  /** @param maxBytes of what is kept, and what it takes to keep it: at least its last piece */
  constructor(sources: Readonly<Record<LogStream, Readable>>, maxBytes: number) {
    this.#maxBytes = maxBytes;
    const both = (["stdout", "stderr"] as const).map(async (stream) => {
      // Copied: a few bytes may be a view of all that came with them.
      for await (const bytes of sources[stream] as AsyncIterable<Buffer>)
        await this.#add({ stream, bytes: Buffer.from(bytes), at: new Date() });
    });
    // What breaks it is told to those who read it.
    Promise.all(both).then(
      () => this.#end(),
      (error: unknown) => this.#end(error instanceof Error ? error : new Error(String(error))),
    );
  }

  async #add(piece: OutputEvent): Promise<void> {
    this.#pieces.add(piece, this.#maxBytes);
    const exact: Promise<void>[] = [];
    for (const follower of this.#followers) {
      follower.waiting.add(piece, follower.isExact ? Number.POSITIVE_INFINITY : this.#maxBytes);
      if (follower.isExact) exact.push(takenBy(follower));
      follower.wake();
    }
    await Promise.all(exact);
  }

  #end(failure?: Error): void {
    this.#isOver = true;
    this.#failure = failure;
    for (const follower of this.#followers) follower.wake();
  }

  /** All that is kept, and with `follow` what comes until the end. One that is too slow misses what is not kept. */
  async *read(options: OutputLogOptions = {}): AsyncGenerator<OutputEvent, void, undefined> {
    const { follow = false, tail, since, signal } = options;
    const recent = this.#pieces.list.filter(({ at }) => since === undefined || at >= since);
    const kept = tail === undefined ? recent : lastLines(recent, tail);
    if (follow) yield* this.#follow(kept, false, signal);
    else yield* kept;
  }

  /** All that is kept, and then every piece; the process waits for whoever reads. */
  async *exactly(signal?: AbortSignal): AsyncGenerator<OutputEvent, void, undefined> {
    yield* this.#follow(this.#pieces.list, true, signal);
  }

  async *#follow(
    begin: readonly OutputEvent[],
    isExact: boolean,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<OutputEvent, void, undefined> {
    const follower: Follower = { isExact, waiting: new Pieces(begin), wake: () => {}, taken: () => {} };
    const abort = (): void => follower.wake();
    this.#followers.add(follower);
    signal?.addEventListener("abort", abort);
    try {
      for (;;) {
        signal?.throwIfAborted();
        const piece = follower.waiting.take();
        if (piece !== undefined) yield piece;
        else if (this.#isOver) break;
        else {
          follower.taken();
          follower.taken = () => {};
          await new Promise<void>((resolve) => (follower.wake = resolve));
        }
      }
      if (this.#failure !== undefined) throw this.#failure;
    } finally {
      signal?.removeEventListener("abort", abort);
      this.#followers.delete(follower);
      follower.taken();
    }
  }
}

/** Both streams may wait for the same follower. */
async function takenBy(follower: Follower): Promise<void> {
  const { taken } = follower;
  await new Promise<void>((resolve) => {
    follower.taken = () => {
      taken();
      resolve();
    };
  });
}

/** From where the last lines begin, which may be in the middle of a piece. The streams' lines are counted together. */
function lastLines(pieces: readonly OutputEvent[], count: number): OutputEvent[] {
  const kept: OutputEvent[] = [];
  let lines = 0;
  for (const piece of pieces.toReversed()) {
    // A line feed at the very end is the last line's own.
    let at = piece.bytes.length - (kept.length === 0 && piece.bytes.at(-1) === LINE_FEED ? 1 : 0);
    let start = 0;
    while (at > 0 && start === 0) {
      const found = piece.bytes.lastIndexOf(LINE_FEED, at - 1);
      if (found === -1) break;
      if (++lines === count) start = found + 1;
      at = found;
    }
    if (count > 0) kept.unshift({ ...piece, bytes: piece.bytes.subarray(start) });
    if (lines >= count) break;
  }
  return kept.filter(({ bytes }) => bytes.length > 0);
}
