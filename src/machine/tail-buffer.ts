/** Keeps the last `capacityBytes` of what is written: a console can be flooded by the guest without end. */
export class TailBuffer {
  readonly #capacityBytes: number;
  #chunks: Buffer[] = [];
  #sizeBytes = 0;

  constructor(capacityBytes: number) {
    this.#capacityBytes = capacityBytes;
  }

  write(chunk: Uint8Array): void {
    this.#chunks.push(Buffer.from(chunk));
    this.#sizeBytes += chunk.length;
    // Compacting only at twice the capacity makes a flood of one-byte chunks cheap.
    if (this.#sizeBytes > 2 * this.#capacityBytes || this.#chunks.length > 4096) this.#compact();
  }

  #compact(): void {
    const all = Buffer.concat(this.#chunks);
    const kept = all.subarray(Math.max(0, all.length - this.#capacityBytes));
    // A copy, so that the flood's larger buffer can go.
    this.#chunks = [Buffer.from(kept)];
    this.#sizeBytes = kept.length;
  }

  toString(): string {
    this.#compact();
    return Buffer.concat(this.#chunks).toString("utf8");
  }
}
