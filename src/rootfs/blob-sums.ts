/**
 * Checksums of a layer blob, one a MiB, made while it is written front to back: so a flipped bit is found without the
 * archive that the blob was made from, and told where it is. CRC-32, because it finds what disks and programs do to
 * a file at the speed of reading it; nothing finds what the owner of the store does on purpose.
 */
import { crc32 } from "node:zlib";
import { PIECE_BYTES } from "../util/piece.ts";

const ZEROS = new Uint8Array(PIECE_BYTES);

export class BlobSums {
  private readonly sums: number[] = [];
  private sum = 0;
  /** Of the current piece. */
  private length = 0;
  private zeroSum: number | undefined;

  push(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) {
      const end = Math.min(bytes.length, at + PIECE_BYTES - this.length);
      this.sum = crc32(bytes.subarray(at, end), this.sum);
      this.length += end - at;
      at = end;
      if (this.length === PIECE_BYTES) this.endPiece();
    }
  }

  /** Zeros. A hole may be a TiB: whole pieces of it are not looked at one by one. */
  skip(count: number): void {
    let left = count;
    while (left > 0) {
      const inPiece = Math.min(left, PIECE_BYTES - this.length);
      left -= inPiece;
      if (inPiece === PIECE_BYTES) this.sums.push((this.zeroSum ??= crc32(ZEROS)));
      else this.push(ZEROS.subarray(0, inPiece));
    }
  }

  finish(): Uint32Array {
    if (this.length > 0) this.endPiece();
    return new Uint32Array(this.sums);
  }

  private endPiece(): void {
    this.sums.push(this.sum);
    this.sum = this.length = 0;
  }
}
