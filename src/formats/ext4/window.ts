/** Neighbouring small writes gathered into one of up to a MiB. */
import { BLOCK_SIZE } from "./format.ts";

export interface Piece {
  readonly offset: number;
  /** Valid until the next piece is asked for. */
  readonly bytes: Uint8Array;
}

const WINDOW_BYTES = 1024 * 1024;

export class Window {
  readonly bytes = Buffer.alloc(WINDOW_BYTES);
  #start = 0;
  #end = 0;

  /**
   * Makes room for a range behind the last one. What was gathered comes back as a piece when it cannot grow to it: over
   * a gap of a block or more, where something else may be. It has to be written before `place` is called.
   */
  reach(offset: number, length: number): Piece | undefined {
    const fits = offset - this.#end < BLOCK_SIZE && offset + length - this.#start <= WINDOW_BYTES;
    if (fits && this.#end > this.#start) {
      this.#end = offset + length;
      return undefined;
    }
    const done = this.finish();
    this.#start = offset;
    this.#end = offset + length;
    this.#stale = true;
    return done;
  }

  #stale = true;

  /** Where in `bytes`, which are zero there, an offset is. */
  place(offset: number): number {
    if (this.#stale) this.bytes.fill(0);
    this.#stale = false;
    return offset - this.#start;
  }

  finish(): Piece {
    return { offset: this.#start, bytes: this.bytes.subarray(0, this.#end - this.#start) };
  }
}
