/**
 * The framing of gzip, without what it frames: a header before and a trailer behind each deflate stream.
 * https://www.rfc-editor.org/rfc/rfc1952#section-2.3
 *
 *     1f 8b │ CM 8 │ FLG │ MTIME 4 │ XFL │ OS │ [XLEN 2, extra] [name 0] [comment 0] [CRC16] ─ deflate ─ CRC32 4 │ ISIZE 4
 *
 * Both parsers take bytes as they come, cut anywhere. Neither keeps what it skips.
 */
import { CompressionError } from "./error.ts";

/** Names and comments have no bound of their own. */
export const MAX_HEADER_BYTES = 256 * 1024;

const FIXED_BYTES = 10;
const TRAILER_BYTES = 8;

const FHCRC = 2;
const FEXTRA = 4;
const FNAME = 8;
const FCOMMENT = 16;
const RESERVED = 0xe0;

type Field = "fixed" | "extra-length" | "extra" | "name" | "comment" | "crc" | "over";

/** In the order of the file; a field whose flag is not set is not there. */
const OPTIONAL: readonly (readonly [flag: number, field: Field])[] = [
  [FEXTRA, "extra-length"],
  [FNAME, "name"],
  [FCOMMENT, "comment"],
  [FHCRC, "crc"],
];

export class HeaderParser {
  private readonly isFirst: boolean;
  private field: Field = "fixed";
  private headerBytes = 0;
  private flags = 0;
  private extraBytes = 0;
  /** Of OPTIONAL: how many have been dealt with. */
  private optional = 0;
  /** Within the field. */
  private at = 0;

  /** `isFirst`: at the beginning of the data; behind another member, what is no header is garbage. */
  constructor(isFirst: boolean) {
    this.isFirst = isFirst;
  }

  get isOver(): boolean {
    return this.field === "over";
  }

  /**
   * How many of `bytes` are the header's: all of them until it is over.
   * @throws CompressionError `gzip-corrupt`, `gzip-trailing-garbage`
   */
  push(bytes: Uint8Array): number {
    let taken = 0;
    while (taken < bytes.length && this.field !== "over") {
      if (this.headerBytes === MAX_HEADER_BYTES) throw corrupt(`a header of over ${MAX_HEADER_BYTES} bytes`);
      this.step(bytes[taken] as number);
      this.headerBytes++;
      taken++;
    }
    return taken;
  }

  private step(byte: number): void {
    const at = this.at++;
    switch (this.field) {
      case "fixed":
        this.fixed(at, byte);
        if (at === FIXED_BYTES - 1) this.next();
        break;
      case "extra-length":
        this.extraBytes |= byte << (8 * at);
        if (at === 0) break;
        if (this.extraBytes === 0) this.next();
        else this.enter("extra");
        break;
      case "extra":
        if (at === this.extraBytes - 1) this.next();
        break;
      case "crc":
        // Over a header of which nothing is used.
        if (at === 1) this.next();
        break;
      default:
        if (byte === 0) this.next();
    }
  }

  private fixed(at: number, byte: number): void {
    if ((at === 0 && byte !== 0x1f) || (at === 1 && byte !== 0x8b)) {
      if (this.isFirst) throw corrupt("it does not begin like gzip");
      const what = "gzip data is followed by bytes that are not gzip";
      throw new CompressionError("gzip-trailing-garbage", what);
    }
    if (at === 2 && byte !== 8) throw corrupt(`unknown compression method ${byte}, want 8`);
    if (at !== 3) return;
    // "must give an error indication if any reserved bit is non-zero": section 2.3.1.2.
    if ((byte & RESERVED) !== 0) throw corrupt("reserved flags are set");
    this.flags = byte;
  }

  private next(): void {
    for (let entry = OPTIONAL[this.optional++]; entry !== undefined; entry = OPTIONAL[this.optional++]) {
      if ((this.flags & entry[0]) !== 0) return this.enter(entry[1]);
    }
    this.enter("over");
  }

  private enter(field: Field): void {
    this.field = field;
    this.at = 0;
  }
}

/**
 * The CRC-32 is passed over: computing it takes a tenth of the time that inflating does, and the inflated bytes
 * of a layer are held against the SHA-256 in the image's config (the diff ID), which finds all that a CRC does.
 */
export class TrailerParser {
  private taken = 0;
  private uncompressedSize = 0;

  get isOver(): boolean {
    return this.taken === TRAILER_BYTES;
  }

  /** How many of `bytes` are the trailer's: all of them until it is over. */
  push(bytes: Uint8Array): number {
    const count = Math.min(bytes.length, TRAILER_BYTES - this.taken);
    for (let i = 0; i < count; i++) {
      const at = this.taken++;
      if (at >= 4) this.uncompressedSize |= (bytes[i] as number) << (8 * (at - 4));
    }
    return count;
  }

  /** @throws CompressionError `gzip-corrupt` */
  check(inflatedBytes: number): void {
    const want = this.uncompressedSize >>> 0;
    const got = inflatedBytes % 2 ** 32;
    if (got !== want) throw corrupt(`incorrect length check: ${got} bytes (modulo 2^32), want ${want}`);
  }
}

export function corrupt(reason: string, cause?: unknown): CompressionError {
  return new CompressionError("gzip-corrupt", `gzip data is corrupt: ${reason}`, { cause });
}
