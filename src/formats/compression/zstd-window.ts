/**
 * The framing of zstd, without what it frames, for a decoder that takes the memory a frame's header asks for, whatever
 * it is: a dozen bytes may ask for gigabytes. https://www.rfc-editor.org/rfc/rfc8878#section-3.1
 *
 *     28 b5 2f fd │ descriptor │ [window] [dictionary] [content size] ─ blocks: head 3, data ─ [checksum 4]
 *     5x 2a 4d 18 │ size 4 │ skipped
 */
import { CompressionError } from "./error.ts";

const MAGIC = 0xfd2f_b528;
const SKIPPABLE = 0x184d_2a50;
const MAGIC_BYTES = 4;
const BLOCK_HEAD_BYTES = 3;
const DICTIONARY_BYTES = [0, 1, 2, 4] as const;
const CONTENT_SIZE_BYTES = [0, 2, 4, 8] as const;
/** A byte is repeated. */
const REPEATED = 1;

type Part = "magic" | "skippable" | "descriptor" | "header" | "block";

/** Follows the frames through bytes that come cut anywhere. What it does not understand is left to the decoder. */
export class WindowGuard {
  readonly #maxWindowBytes: number;
  #part: Part | "lost" = "magic";
  /** The part's bytes so far, at most 14, and how many it has. */
  #head: number[] = [];
  #wanted = MAGIC_BYTES;
  /** Bytes to pass over before the next part. */
  #skip = 0;
  #descriptor = 0;

  constructor(maxWindowBytes: number) {
    this.#maxWindowBytes = maxWindowBytes;
  }

  /** @throws CompressionError `zstd-corrupt` for a frame that asks for more */
  push(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length && this.#part !== "lost"; ) {
      const skipped = Math.min(this.#skip, bytes.length - at);
      this.#skip -= skipped;
      at += skipped;
      const byte = bytes[at];
      if (skipped > 0 || byte === undefined) continue;
      at++;
      this.#head.push(byte);
      if (this.#head.length === this.#wanted) this.#finish(this.#head);
    }
  }

  #enter(part: Part, wanted: number): void {
    this.#part = part;
    this.#wanted = wanted;
    this.#head = [];
  }

  #finish(head: readonly number[]): void {
    switch (this.#part) {
      case "magic":
        return this.#magic(number(head, 0, MAGIC_BYTES));
      case "skippable":
        this.#enter("magic", MAGIC_BYTES);
        this.#skip = number(head, 0, 4);
        return;
      case "descriptor":
        this.#descriptor = head[0] ?? 0;
        return this.#enterHeader();
      case "header":
        return this.#header(head);
      default:
        return this.#block(number(head, 0, BLOCK_HEAD_BYTES));
    }
  }

  #magic(magic: number): void {
    if (magic === MAGIC) this.#enter("descriptor", 1);
    else if ((magic & ~0xf) >>> 0 === SKIPPABLE) this.#enter("skippable", 4);
    else this.#part = "lost";
  }

  /** A frame of a single segment has no window of its own: its content is. */
  get #isSingle(): boolean {
    return (this.#descriptor & 0x20) !== 0;
  }

  get #contentSizeBytes(): number {
    const bytes = CONTENT_SIZE_BYTES[(this.#descriptor >> 6) & 3] ?? 0;
    return bytes === 0 && this.#isSingle ? 1 : bytes;
  }

  #enterHeader(): void {
    const dictionary = DICTIONARY_BYTES[this.#descriptor & 3] ?? 0;
    const wanted = (this.#isSingle ? 0 : 1) + dictionary + this.#contentSizeBytes;
    this.#enter("header", wanted);
  }

  #header(head: readonly number[]): void {
    const size = this.#contentSizeBytes;
    // Of two bytes, 256 are not counted: a smaller content has one.
    const content = number(head, head.length - size, size) + (size === 2 ? 256 : 0);
    const window = 2 ** (10 + ((head[0] ?? 0) >> 3)) * (1 + ((head[0] ?? 0) & 7) / 8);
    const wanted = this.#isSingle ? content : window;
    if (wanted > this.#maxWindowBytes) {
      const what = `a frame asks for a window of ${wanted} bytes, more than the ${this.#maxWindowBytes} allowed`;
      throw new CompressionError("zstd-corrupt", `zstd data is refused: ${what}`);
    }
    this.#enter("block", BLOCK_HEAD_BYTES);
  }

  #block(head: number): void {
    const isLast = (head & 1) !== 0;
    const dataBytes = ((head >> 1) & 3) === REPEATED ? 1 : head >>> 3;
    if (isLast) this.#enter("magic", MAGIC_BYTES);
    else this.#enter("block", BLOCK_HEAD_BYTES);
    this.#skip = dataBytes + (isLast && (this.#descriptor & 4) !== 0 ? 4 : 0);
  }
}

/** Little-endian; exact up to 53 bits, which is beyond every bound. */
function number(bytes: readonly number[], at: number, count: number): number {
  let value = 0;
  for (let i = count - 1; i >= 0; i--) value = value * 256 + (bytes[at + i] ?? 0);
  return value;
}
