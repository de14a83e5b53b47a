/**
 * One deflate stream: takes input at the speed of the inflater, and finds its end to the byte.
 *
 * zlib takes no byte behind the end, and `bytesWritten` counts those taken. So a chunk that has been dealt with
 * but not wholly taken is the one in which the stream ended; of all others behind it nothing was taken. An end
 * that falls between two chunks shows with the next one: a trailer must follow.
 */
import type { TransformOptions } from "node:stream";
import { createInflateRaw, type ZlibOptions } from "node:zlib";
import { release } from "./release.ts";

/** Input must be waiting when a piece is done, or the pool stands still until more has been read. */
const INPUT_BYTES = 1024 * 1024;

interface Given {
  readonly chunk: Uint8Array;
  /** Where the chunk ends, in bytes from the beginning of the deflate stream. */
  readonly end: number;
}

export class Member {
  readonly inflater;
  private readonly ownsInput: boolean;
  /** Given, and not known to be wholly taken. */
  private readonly given: Given[] = [];
  private givenBytes = 0;
  /** Writes that have not been dealt with, and their bytes. */
  private pending = 0;
  private pendingBytes = 0;
  private isFirstWrite = true;
  private foundEnd = false;
  private isClosed = false;
  private wake: () => void = () => {};

  /** With `ownsInput`, chunks are nobody else's, and freed as soon as all of them has been taken. */
  constructor(chunkBytes: number, aheadBytes: number, ownsInput: boolean) {
    const options: ZlibOptions & TransformOptions = {
      chunkSize: chunkBytes,
      readableHighWaterMark: aheadBytes,
    };
    this.inflater = createInflateRaw(options);
    this.ownsInput = ownsInput;
    this.inflater.once("close", () => {
      this.isClosed = true;
      this.wake();
    });
  }

  /** The stream's last byte has been found: `leftover` has what is behind it. */
  get isOver(): boolean {
    return this.foundEnd;
  }

  /**
   * Gives a chunk, and waits until another one is wanted, the stream is over, or the inflater is destroyed. The
   * first one is waited for: where members are small, it holds the end, and more would be given in vain.
   */
  async give(chunk: Uint8Array): Promise<void> {
    if (this.isClosed || this.inflater.destroyed) return;
    const end = (this.givenBytes += chunk.length);
    this.given.push({ chunk, end });
    this.pending++;
    this.pendingBytes += chunk.length;
    this.inflater.write(chunk, (error) => this.dealtWith(chunk, end, error));
    const bound = this.isFirstWrite ? 1 : INPUT_BYTES;
    this.isFirstWrite = false;
    while (this.pendingBytes >= bound && !this.isClosed) await this.change();
    if (this.foundEnd) await this.idle();
  }

  /** Waits until all that was given has been dealt with, or the inflater is destroyed. */
  async idle(): Promise<void> {
    while (this.pending > 0 && !this.isClosed) await this.change();
  }

  /** What was given beyond the stream's end. */
  leftover(): Uint8Array[] {
    const taken = this.inflater.bytesWritten;
    return this.given.map(({ chunk, end }) => chunk.subarray(Math.max(0, taken - (end - chunk.length))));
  }

  private dealtWith(chunk: Uint8Array, end: number, error: Error | null | undefined): void {
    this.pending--;
    this.pendingBytes -= chunk.length;
    if (!error && !this.inflater.destroyed) {
      if (this.inflater.bytesWritten < end) this.foundEnd = true;
      else {
        this.given.shift();
        if (this.ownsInput) release(chunk);
      }
    }
    this.wake();
  }

  private change(): Promise<void> {
    return new Promise((resolve) => (this.wake = resolve));
  }
}
