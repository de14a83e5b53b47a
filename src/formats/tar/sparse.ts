/**
 * Sparse files: a map of the runs of data, whichever way it was stored, checked into ordered segments.
 *
 *     old GNU   pairs in the header and in blocks behind it     PAX 0.0   a pair of records a run
 *     PAX 1.0   lines of text at the start of the file's data   PAX 0.1   one record with all pairs
 */
import { GnuSparse, MAX_SPARSE_SEGMENTS } from "./format.ts";
import { numberField } from "./fields.ts";

/** Thrown with a reason; the reader adds the entry and the offset. */
export class SparseSyntaxError extends Error {}

/**
 * Start and length of each run in turn, without the empty ones.
 * @throws SparseSyntaxError unless the runs are in order, apart, within the file, and have exactly the stored bytes
 */
export function checkedSegments(
  map: readonly number[],
  sizeBytes: number,
  storedBytes: number,
  maxSizeBytes: number,
): number[] {
  if (sizeBytes > maxSizeBytes) {
    throw new SparseSyntaxError(
      `a sparse file claims ${sizeBytes} bytes, more than the ${maxSizeBytes} allowed`,
    );
  }
  if (map.length % 2 !== 0) throw new SparseSyntaxError("a sparse map has an offset without a length");
  if (map.length / 2 > MAX_SPARSE_SEGMENTS) throw tooMany();
  const segments: number[] = [];
  let end = 0;
  let sum = 0;
  for (let i = 0; i < map.length; i += 2) {
    const start = map[i] as number;
    const length = map[i + 1] as number;
    if (start < end) throw new SparseSyntaxError("a sparse map overlaps or is out of order");
    if (length > sizeBytes - start) throw new SparseSyntaxError("a sparse map reaches beyond the file");
    end = start + length;
    sum += length;
    if (length > 0) segments.push(start, length);
  }
  if (sum !== storedBytes) {
    throw new SparseSyntaxError(`a sparse map describes ${sum} bytes where ${storedBytes} are stored`);
  }
  return segments;
}

function tooMany(): SparseSyntaxError {
  return new SparseSyntaxError(`a sparse map has more than ${MAX_SPARSE_SEGMENTS} runs`);
}

/**
 * Adds the pairs of an old GNU header or extension block to `map`.
 * @returns whether another extension block follows
 */
export function addGnuPairs(map: number[], block: Uint8Array, at: number, isHeader: boolean): boolean {
  const count = isHeader ? GnuSparse.headerPairs : GnuSparse.blockPairs;
  const base = at + (isHeader ? GnuSparse.headerPairsOffset : 0);
  for (let i = 0; i < count; i++) {
    const pair = base + i * GnuSparse.pairBytes;
    // A pair without an offset ends the list.
    if (block[pair] === 0) break;
    const start = numberField(block, pair, [0, 12]);
    const length = numberField(block, pair, [12, 12]);
    if (start === undefined || length === undefined || start < 0 || length < 0) {
      throw new SparseSyntaxError("a sparse map has a malformed number");
    }
    map.push(start, length);
  }
  if (map.length / 2 > MAX_SPARSE_SEGMENTS) throw tooMany();
  return block[at + (isHeader ? GnuSparse.headerExtendedOffset : GnuSparse.blockExtendedOffset)] !== 0;
}

/** The map of PAX 1.0: decimal lines, first the number of runs; blocks are pushed until it is complete. */
export class SparseTextMap {
  readonly map: number[] = [];
  private count: number | undefined;
  private value = 0;
  private digits = 0;

  /** @returns whether the map ended in this block; the rest of the block is padding */
  push(block: Uint8Array, at: number): boolean {
    for (let i = at; i < at + 512; i++) {
      const byte = block[i] as number;
      if (byte === 0x0a) {
        this.endOfLine();
        if (this.count !== undefined && this.map.length === this.count * 2) return true;
        continue;
      }
      if (byte < 0x30 || byte > 0x39) throw new SparseSyntaxError("a sparse map has a malformed number");
      this.value = this.value * 10 + (byte - 0x30);
      if (++this.digits > 20 || this.value > Number.MAX_SAFE_INTEGER) {
        throw new SparseSyntaxError("a sparse map has a number out of range");
      }
    }
    return false;
  }

  private endOfLine(): void {
    if (this.digits === 0) throw new SparseSyntaxError("a sparse map has an empty line");
    if (this.count !== undefined) this.map.push(this.value);
    else if (this.value > MAX_SPARSE_SEGMENTS) throw tooMany();
    else this.count = this.value;
    this.value = 0;
    this.digits = 0;
  }
}
