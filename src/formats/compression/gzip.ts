/**
 * gzip: framing of our own around node:zlib's raw inflate. https://www.rfc-editor.org/rfc/rfc1952
 *
 *     source ─► header ─► inflater (libuv's pool) ─► queue ─► reader
 *                 ▲          └─► trailer ─┬─► padding: read, not looked at
 *                 └───────────────────────┘
 *
 * `createGunzip` would do all of it, and a CRC-32 over all that it inflates: a tenth of the time, for a check that
 * the diff ID makes better. So a wrong CRC-32 alone passes here; a wrong length does not.
 *
 * Output chunks of 1 MiB: with Node's default of 16 KiB the same data takes 2.9 times as long. zlib is let run up
 * to 4 MiB ahead of the reader, so that inflating and what is done with the output overlap.
 *
 * Several members behind each other are one stream, and a zero byte behind the last begins
 * padding, which is not looked at; anything else there is an error, as it is to Go and so to Docker.
 */
import { messageOf, systemCode } from "../../util/error.ts";
import { CompressionError } from "./error.ts";
import { corrupt, HeaderParser, TrailerParser } from "./gzip-frame.ts";
import { Member } from "./gzip-member.ts";
import { ChunkQueue } from "./output.ts";

const CHUNK_BYTES = 1024 * 1024;
const AHEAD_BYTES = 4 * CHUNK_BYTES;
/** Each inflater has an output buffer to itself: where one member was small, the next one's is. */
const SMALL_CHUNK_BYTES = 128 * 1024;
/**
 * Layers made for lazy pulling have a member a file. Each costs an inflater, 40 µs, whatever it unpacks to: without
 * a bound, a small layer of empty members would keep a processor busy for half an hour.
 */
const MAX_MEMBERS = 500_000;

export async function* gunzip(
  source: AsyncIterable<Uint8Array>,
  signal: AbortSignal | undefined,
  ownsInput = false,
  maxMembers = MAX_MEMBERS,
): AsyncGenerator<Uint8Array, void, undefined> {
  const output = new ChunkQueue(AHEAD_BYTES);
  const members = new Members(output, ownsInput, maxMembers);
  const fail = (error: unknown): void => {
    output.fail(error);
    members.stop();
  };
  const abort = (): void => fail(signal?.reason);
  signal?.addEventListener("abort", abort, { once: true });
  // The end of the output is that of the source, which has not spoken its last word before.
  members.run(source).then(() => output.end(), fail);
  try {
    yield* output.chunks();
  } catch (error) {
    throw translated(error);
  } finally {
    signal?.removeEventListener("abort", abort);
    // The feeder wakes and ends the source; it is not waited for, as the source may be stuck.
    members.stop();
  }
}

type Part = "header" | "deflate" | "trailer" | "padding";

/** The writing side: takes the source apart, and has its members inflated one after the other. */
class Members {
  private readonly output: ChunkQueue;
  private readonly ownsInput: boolean;
  private membersLeft: number;
  private part: Part = "header";
  private header = new HeaderParser(true);
  private trailer = new TrailerParser();
  private member: Member | undefined;
  /** The size of what the member unpacks to, once all of it is with the reader or queued. */
  private inflated: Promise<number> = Promise.resolve(0);
  private chunkBytes = CHUNK_BYTES;
  private isBetween = false;
  private stopped = false;

  constructor(output: ChunkQueue, ownsInput: boolean, maxMembers: number) {
    this.output = output;
    this.ownsInput = ownsInput;
    this.membersLeft = maxMembers;
  }

  /** Nobody wants the output any more: the source is ended instead of being read on. */
  stop(): void {
    this.stopped = true;
    this.member?.inflater.destroy();
  }

  /** Reads the source to its end, also behind the last member. Rejects with its error, zlib's or our own. */
  async run(source: AsyncIterable<Uint8Array>): Promise<void> {
    for await (const chunk of source) {
      await this.takeAll([chunk]);
      if (this.stopped) return;
    }
    // Members may have ended, and begun, in what was given last.
    while (this.part === "deflate") {
      await this.member?.idle();
      if (this.stopped) return;
      if (!this.member?.isOver) break;
      await this.takeAll(this.endOfDeflate(this.member));
    }
    if (this.stopped || this.part === "padding" || this.isBetween) return;
    // What is wrong with what is there comes first.
    if (this.member?.inflater.destroyed) await this.inflated;
    throw new CompressionError("gzip-truncated", "gzip data ends too early");
  }

  private async takeAll(input: Uint8Array[]): Promise<void> {
    for (let bytes = input.shift(); bytes !== undefined && !this.stopped; bytes = input.shift()) {
      if (bytes.length > 0) input.unshift(...(await this.take(bytes)));
    }
  }

  /** What is left of `bytes`, and of what was given before, for the part that follows. */
  private async take(bytes: Uint8Array): Promise<Uint8Array[]> {
    switch (this.part) {
      case "header":
        return this.takeHeader(bytes);
      case "deflate":
        return this.takeDeflate(bytes);
      case "trailer":
        return this.takeTrailer(bytes);
      default:
        return [];
    }
  }

  private takeHeader(bytes: Uint8Array): Uint8Array[] {
    if (this.isBetween && bytes[0] === 0) {
      this.part = "padding";
      return [];
    }
    this.isBetween = false;
    const taken = this.header.push(bytes);
    if (!this.header.isOver) return [];
    if (--this.membersLeft < 0)
      throw new CompressionError("gzip-too-many-members", "gzip data has absurdly many members");
    this.member = new Member(this.chunkBytes, AHEAD_BYTES, this.ownsInput);
    this.inflated = this.output.add(this.member.inflater);
    // At once, and not only when more input has come: the reader waits for nothing else.
    this.inflated.catch((error: unknown) => this.output.fail(error));
    this.part = "deflate";
    return [bytes.subarray(taken)];
  }

  private async takeDeflate(bytes: Uint8Array): Promise<Uint8Array[]> {
    const member = this.member as Member;
    await member.give(bytes);
    return member.isOver ? this.endOfDeflate(member) : [];
  }

  private endOfDeflate(member: Member): Uint8Array[] {
    this.part = "trailer";
    return member.leftover();
  }

  private async takeTrailer(bytes: Uint8Array): Promise<Uint8Array[]> {
    const taken = this.trailer.push(bytes);
    if (!this.trailer.isOver) return [];
    const inflatedBytes = await this.inflated;
    if (this.stopped) return [];
    this.trailer.check(inflatedBytes);
    // Not left to the garbage collector: each has a window of 32 KiB.
    this.member?.inflater.destroy();
    this.member = undefined;
    this.chunkBytes = inflatedBytes < SMALL_CHUNK_BYTES ? SMALL_CHUNK_BYTES : CHUNK_BYTES;
    this.header = new HeaderParser(false);
    this.trailer = new TrailerParser();
    this.part = "header";
    this.isBetween = true;
    return [bytes.subarray(taken)];
  }
}

function translated(error: unknown): unknown {
  const isZlib = !(error instanceof CompressionError) && systemCode(error)?.startsWith("Z_");
  return isZlib ? corrupt(messageOf(error), error) : error;
}
