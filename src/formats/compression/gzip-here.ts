/**
 * gzip, inflated in the calling thread: for threads that do nothing else. What is taken and refused is the same as
 * with gzip.ts, which says why; the two have one suite of tests.
 *
 *     source ─► header ─► inflater, one buffer ─► reader ─► … ─► trailer ─► header …
 */
import { setImmediate as turn } from "node:timers/promises";
import { messageOf } from "../../util/error.ts";
import { CompressionError } from "./error.ts";
import { corrupt, HeaderParser, TrailerParser } from "./gzip-frame.ts";
import { release } from "./release.ts";
import { syncInflater } from "./sync-decoder.ts";
import type { Step, SyncDecoder } from "./sync-decoder.ts";

const CHUNK_BYTES = 1024 * 1024;
/** A bomb makes a thousand bytes of one: others in this thread have their turn in between. */
const TURN_BYTES = 16 * CHUNK_BYTES;
/** Each costs a few microseconds, whatever it unpacks to. */
const MAX_MEMBERS = 500_000;

export interface GunzipHereOptions {
  readonly signal?: AbortSignal | undefined;
  /** The source's chunks are nobody else's, and freed. */
  readonly ownsInput?: boolean | undefined;
  readonly maxMembers?: number | undefined;
}

/**
 * A chunk is the reader's until it asks for the next one.
 * @throws CompressionError, and what the source throws
 */
export async function* gunzipHere(
  source: AsyncIterable<Uint8Array>,
  { signal, ownsInput = false, maxMembers = MAX_MEMBERS }: GunzipHereOptions = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  using inflater = syncInflater(CHUNK_BYTES);
  const frames = new Frames(inflater, maxMembers);
  let sinceTurn = 0;
  for await (const chunk of source) {
    for (let rest = chunk; rest.length > 0 || frames.isFull; ) {
      signal?.throwIfAborted();
      const { output, taken } = frames.step(rest);
      rest = rest.subarray(taken);
      if (output.length === 0) continue;
      yield output;
      sinceTurn += output.length;
      if (sinceTurn < TURN_BYTES) continue;
      sinceTurn = 0;
      await turn();
    }
    if (ownsInput) release(chunk);
  }
  if (!frames.mayEnd) throw new CompressionError("gzip-truncated", "gzip data ends too early");
}

const NOTHING = new Uint8Array(0);

/** Where in the data it stands. */
class Frames {
  /** The last step has filled its buffer: the next one may have output without more input. */
  isFull = false;
  private readonly inflater: SyncDecoder;
  private membersLeft: number;
  private part: "header" | "deflate" | "trailer" | "padding" = "header";
  private header = new HeaderParser(true);
  private trailer = new TrailerParser();
  private inflatedBytes = 0;
  private isBetween = false;

  constructor(inflater: SyncDecoder, maxMembers: number) {
    this.inflater = inflater;
    this.membersLeft = maxMembers;
  }

  get mayEnd(): boolean {
    return this.part === "padding" || this.isBetween;
  }

  /** Takes some of the input, all of it in the end. */
  step(input: Uint8Array): Pick<Step, "output" | "taken"> {
    switch (this.part) {
      case "header":
        return { output: NOTHING, taken: this.takeHeader(input) };
      case "deflate":
        return this.takeDeflate(input);
      case "trailer":
        return { output: NOTHING, taken: this.takeTrailer(input) };
      default:
        return { output: NOTHING, taken: input.length };
    }
  }

  private takeHeader(input: Uint8Array): number {
    if (this.isBetween && input[0] === 0) {
      this.part = "padding";
      return input.length;
    }
    this.isBetween = false;
    const taken = this.header.push(input);
    if (!this.header.isOver) return taken;
    if (--this.membersLeft < 0)
      throw new CompressionError("gzip-too-many-members", "gzip data has absurdly many members");
    this.part = "deflate";
    this.inflatedBytes = 0;
    return taken;
  }

  /** What is left when there is room for more output is behind the stream's end. */
  private takeDeflate(input: Uint8Array): Pick<Step, "output" | "taken"> {
    const { output, taken, isFull } = this.inflate(input);
    this.isFull = isFull;
    this.inflatedBytes += output.length;
    if (!isFull && taken < input.length) this.part = "trailer";
    return { output, taken };
  }

  private inflate(input: Uint8Array): Step {
    try {
      return this.inflater.step(input);
    } catch (error) {
      throw corrupt(messageOf(error), error);
    }
  }

  private takeTrailer(input: Uint8Array): number {
    const taken = this.trailer.push(input);
    if (!this.trailer.isOver) return taken;
    this.trailer.check(this.inflatedBytes);
    this.inflater.reset();
    this.header = new HeaderParser(false);
    this.trailer = new TrailerParser();
    this.part = "header";
    this.isBetween = true;
    return taken;
  }
}
