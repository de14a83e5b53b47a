/**
 * The framing of zstd, without what it frames. https://www.rfc-editor.org/rfc/rfc8878#section-3.1
 *
 *     28 b5 2f fd │ descriptor │ window 0-1 │ dictionary 0-4 │ content size 0-8 ─ blocks ─ [checksum 4]
 *     5? 2a 4d 18 │ size 4 │ anything                                                      a skippable frame
 *     block: last 1 bit, type 2, size 21 │ size bytes (one, where the type is RLE)
 *
 * The zstd program also unpacks gzip, xz, LZ4 and its own formats of before 1.0, wherever a frame may begin. A layer
 * that says zstd has no business with those decoders, so it is not shown to the program before its frames have
 * been walked through.
 */
import { CompressionError } from "./error.ts";

const FRAME = 0xfd2fb528;
const SKIPPABLE = 0x184d2a50;
const DICTIONARY_BYTES = [0, 1, 2, 4] as const;
const CONTENT_SIZE_BYTES = [0, 2, 4, 8] as const;
const BLOCK_RLE = 1;
const BLOCK_RESERVED = 3;

type Part = "magic" | "skippable-size" | "descriptor" | "block";

const LENGTH_OF: Readonly<Record<Part, number>> = { magic: 4, "skippable-size": 4, descriptor: 1, block: 3 };

/** Takes bytes as they come, cut anywhere. */
export class FrameWalker {
  private part: Part = "magic";
  private value = 0;
  private taken = 0;
  private skipBytes = 0;
  private checksumBytes = 0;

  /** Whether the data may end here. */
  get isBetweenFrames(): boolean {
    return this.part === "magic" && this.taken === 0 && this.skipBytes === 0;
  }

  /** @throws CompressionError `zstd-corrupt` */
  push(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) {
      const skipped = Math.min(this.skipBytes, bytes.length - at);
      this.skipBytes -= skipped;
      at += skipped;
      if (at === bytes.length) return;
      // Not by shifting: four bytes are more than a signed number of 32 bits.
      this.value += (bytes[at++] as number) * 2 ** (8 * this.taken++);
      if (this.taken < LENGTH_OF[this.part]) continue;
      const { value } = this;
      this.value = this.taken = 0;
      this.part = this.next(value);
    }
  }

  private next(value: number): Part {
    switch (this.part) {
      case "magic":
        if (value === FRAME) return "descriptor";
        if (value - (value % 16) === SKIPPABLE) return "skippable-size";
        throw new CompressionError("zstd-corrupt", "zstd data is corrupt: a frame does not begin like zstd");
      case "skippable-size":
        this.skipBytes = value;
        return "magic";
      case "descriptor": {
        const isSingleSegment = (value & 0x20) !== 0;
        const sizeBytes = CONTENT_SIZE_BYTES[value >>> 6] ?? 0;
        this.checksumBytes = (value & 4) === 0 ? 0 : 4;
        this.skipBytes = (isSingleSegment ? 0 : 1) + (DICTIONARY_BYTES[value & 3] ?? 0);
        this.skipBytes += isSingleSegment ? Math.max(1, sizeBytes) : sizeBytes;
        return "block";
      }
      default: {
        const type = (value >>> 1) & 3;
        if (type === BLOCK_RESERVED)
          throw new CompressionError("zstd-corrupt", "zstd data is corrupt: a block of no known type");
        const isLast = (value & 1) !== 0;
        this.skipBytes = (type === BLOCK_RLE ? 1 : value >>> 3) + (isLast ? this.checksumBytes : 0);
        return isLast ? "magic" : "block";
      }
    }
  }
}

/** The same bytes, as far as they are frames of zstd. @throws CompressionError `zstd-corrupt` */
export async function* onlyFrames(
  source: AsyncIterable<Uint8Array>,
  walker = new FrameWalker(),
): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const chunk of source) {
    walker.push(chunk);
    yield chunk;
  }
}
