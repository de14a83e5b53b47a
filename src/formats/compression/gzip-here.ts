/**
 * gzip, inflated in the calling thread: for threads that do nothing else. What is taken and refused is the same as
 * with gzip.ts, which says why; the two have one suite of tests.
 *
 *     source ─► header ─► inflater, one buffer ─► reader ─► … ─► trailer ─► header …
 */
import { messageOf } from "../../util/error.ts";
import { CHUNK_BYTES, decodeHere } from "./decode-here.ts";
import type { DecodeHereOptions } from "./decode-here.ts";
import { CompressionError } from "./error.ts";
import { corrupt, HeaderParser, TrailerParser } from "./gzip-frame.ts";
import { syncInflater } from "./sync-decoder.ts";
import type { Step, SyncDecoder } from "./sync-decoder.ts";

/** Each costs a few microseconds, whatever it unpacks to. */
const MAX_MEMBERS = 500_000;

export interface GunzipHereOptions extends DecodeHereOptions {
  readonly maxMembers?: number | undefined;
}

/**
 * A chunk is the reader's until it asks for the next one.
 * @throws CompressionError, and what the source throws
 */
export async function* gunzipHere(
  source: AsyncIterable<Uint8Array>,
  { maxMembers = MAX_MEMBERS, ...options }: GunzipHereOptions = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  using inflater = syncInflater(CHUNK_BYTES);
  const frames = new Frames(inflater, maxMembers);
  yield* decodeHere(source, (input) => frames.step(input), options);
  if (!frames.mayEnd) throw new CompressionError("gzip-truncated", "gzip data ends too early");
}

const NOTHING = new Uint8Array(0);

function passedOver(taken: number): Step {
  return { output: NOTHING, taken, isFull: false };
}

/** Where in the data it stands. */
class Frames {
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
  step(input: Uint8Array): Step {
    switch (this.part) {
      case "header":
        return passedOver(this.takeHeader(input));
      case "deflate":
        return this.takeDeflate(input);
      case "trailer":
        return passedOver(this.takeTrailer(input));
      default:
        return passedOver(input.length);
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
  private takeDeflate(input: Uint8Array): Step {
    const step = this.inflate(input);
    this.inflatedBytes += step.output.length;
    if (!step.isFull && step.taken < input.length) this.part = "trailer";
    return step;
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
