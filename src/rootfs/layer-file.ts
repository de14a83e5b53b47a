/**
 * An output file of the converter: written front to back, in pieces of any size, synchronously (a write to
 * the page cache is shorter than the way to libuv's pool and back, and needs no second buffer).
 */
import { writeSync } from "node:fs";
import { messageOf, systemCode } from "../util/error.ts";
import { ConversionError } from "./conversion-error.ts";

/** Stays in a core's cache between being filled and being written. */
const BUFFER_BYTES = 512 * 1024;
/** Small layers are many: their buffers grow with them. */
const FIRST_BUFFER_BYTES = 64 * 1024;
/** Runs of this size go to the kernel as they are. */
const DIRECT_BYTES = 32 * 1024;
/** Shorter gaps are written as zeros, longer ones left as holes. */
const HOLE_BYTES = 64 * 1024;

const ZEROS = new Uint8Array(HOLE_BYTES);

function isZero(bytes: Uint8Array, start: number, end: number): boolean {
  for (let at = start; at < end; at += HOLE_BYTES) {
    const length = Math.min(HOLE_BYTES, end - at);
    if (Buffer.compare(bytes.subarray(at, at + length), ZEROS.subarray(0, length)) !== 0) return false;
  }
  return true;
}

/** Sees all of the file, in its order. */
export interface FileObserver {
  push(bytes: Uint8Array): void;
  /** Zeros. */
  skip(count: number): void;
}

const UNOBSERVED: FileObserver = { push: () => {}, skip: () => {} };

export class LayerFile {
  private readonly fd: number;
  /** Where the buffer's first byte goes. */
  private flushedTo: number;
  private buffer = Buffer.alloc(FIRST_BUFFER_BYTES);
  private buffered = 0;
  private readonly observer: FileObserver;

  constructor(fd: number, startsAt: number, observer: FileObserver = UNOBSERVED) {
    this.fd = fd;
    this.flushedTo = startsAt;
    this.observer = observer;
  }

  get position(): number {
    return this.flushedTo + this.buffered;
  }

  write(bytes: Uint8Array, start: number, end: number): void {
    const length = end - start;
    // A few kilobytes of archive may unpack to gigabytes of zeros: those cost no disk.
    if (length >= HOLE_BYTES && isZero(bytes, start, end)) return this.skipTo(this.position + length);
    if (length >= DIRECT_BYTES) {
      this.flush();
      this.put(bytes, start, length);
      return;
    }
    if (this.buffered + length > this.buffer.length) this.makeRoom(length);
    // Through the native copy, which makes no view object for each of a million small files.
    Buffer.prototype.copy.call(bytes, this.buffer, this.buffered, start, end);
    this.buffered += length;
  }

  /** Zeros from here to `position`, as a hole where it is long enough. */
  skipTo(position: number): void {
    const gap = position - this.position;
    if (gap >= HOLE_BYTES) {
      this.flush();
      this.observer.skip(position - this.flushedTo);
      this.flushedTo = position;
      return;
    }
    if (this.buffered + gap > this.buffer.length) this.makeRoom(gap);
    this.buffer.fill(0, this.buffered, this.buffered + gap);
    this.buffered += gap;
  }

  flush(): void {
    const length = this.buffered;
    this.buffered = 0;
    if (length > 0) this.put(this.buffer, 0, length);
  }

  private makeRoom(length: number): void {
    if (this.buffer.length === BUFFER_BYTES) return this.flush();
    const grown = Math.min(BUFFER_BYTES, Math.max(this.buffer.length * 4, this.buffered + length));
    const larger = Buffer.allocUnsafeSlow(grown);
    this.buffer.copy(larger, 0, 0, this.buffered);
    this.buffer = larger;
    if (this.buffered + length > this.buffer.length) this.flush();
  }

  private put(bytes: Uint8Array, start: number, length: number): void {
    this.observer.push(bytes.subarray(start, start + length));
    for (let done = 0; done < length; ) {
      const written = this.writeOnce(bytes, start + done, length - done);
      done += written;
      this.flushedTo += written;
    }
  }

  private writeOnce(bytes: Uint8Array, start: number, length: number): number {
    try {
      return writeSync(this.fd, bytes, start, length, this.flushedTo);
    } catch (error) {
      throw writeFailure(error);
    }
  }
}

/** What a failed write, sync or close of an output file becomes. */
export function writeFailure(error: unknown): ConversionError {
  const code = systemCode(error);
  const isFull = code === "ENOSPC" || code === "EDQUOT";
  return new ConversionError("layer-write-failed", `cannot write the converted layer: ${messageOf(error)}`, {
    cause: error,
    hint: isFull ? "free some space on the disk, for example by removing unused images" : undefined,
  });
}
