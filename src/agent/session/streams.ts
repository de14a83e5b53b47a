/**
 * The two ends of a protocol stream as Node streams, with credit both ways. PROTOCOL.md, "Streams".
 *
 *     process ◄─ guest ◄─ DATA ◄─ OutgoingStream (Writable)      the guest's CREDIT lets writes go on
 *     process ─► guest ─► DATA ─► IncomingStream (Readable)      reads send CREDIT
 */
import { Readable, Writable } from "node:stream";
import { INITIAL_CREDIT_BYTES, MAX_CREDIT_BYTES, MAX_DATA_BYTES, ProtocolError } from "../protocol/frame.ts";

export interface StreamPort {
  data(id: number, bytes: Uint8Array): void;
  credit(id: number, bytes: number): void;
  eof(id: number): void;
  reset(id: number, reason: string): void;
}

/** A guest that gives back its window in small pieces must not cost a frame for each. */
const CREDIT_BATCH_BYTES = INITIAL_CREDIT_BYTES / 4;

export class IncomingStream extends Readable {
  readonly #id: number;
  readonly #port: StreamPort;
  readonly #queue: Buffer[] = [];
  #allowedBytes = INITIAL_CREDIT_BYTES;
  #owedBytes = 0;
  #ended = false;
  #wanted = false;

  constructor(id: number, port: StreamPort) {
    super({ highWaterMark: MAX_DATA_BYTES });
    this.#id = id;
    this.#port = port;
  }

  /** @throws ProtocolError when the guest sends more than it was allowed */
  accept(payload: Buffer): void {
    if (this.#ended) return;
    if (payload.length > this.#allowedBytes)
      throw new ProtocolError(`stream ${this.#id} sent more than its credit`);
    this.#allowedBytes -= payload.length;
    this.#queue.push(Buffer.from(payload));
    if (this.#wanted) this.#deliver();
  }

  finish(): void {
    if (this.#ended) return;
    this.#ended = true;
    if (this.#wanted) this.#deliver();
  }

  override _read(): void {
    this.#wanted = true;
    this.#deliver();
  }

  #deliver(): void {
    while (this.#wanted) {
      const chunk = this.#queue.shift();
      if (chunk === undefined) {
        if (this.#ended) {
          this.#wanted = false;
          this.push(null);
        }
        return;
      }
      this.#owe(chunk.length);
      this.#wanted = this.push(chunk);
    }
  }

  #owe(bytes: number): void {
    this.#owedBytes += bytes;
    if (this.#ended || this.#owedBytes < CREDIT_BATCH_BYTES) return;
    this.#allowedBytes += this.#owedBytes;
    this.#port.credit(this.#id, this.#owedBytes);
    this.#owedBytes = 0;
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    if (!this.#ended) {
      this.#ended = true;
      this.#port.reset(this.#id, "no longer read");
    }
    this.#queue.length = 0;
    callback(error);
  }
}

export class OutgoingStream extends Writable {
  readonly #id: number;
  readonly #port: StreamPort;
  #creditBytes = INITIAL_CREDIT_BYTES;
  #resume: (() => void) | undefined;
  #open = true;

  constructor(id: number, port: StreamPort) {
    super({ highWaterMark: MAX_DATA_BYTES, decodeStrings: true });
    this.#id = id;
    this.#port = port;
  }

  /** @throws ProtocolError when the guest allows absurdly much */
  grant(bytes: number): void {
    this.#creditBytes += bytes;
    if (this.#creditBytes > MAX_CREDIT_BYTES)
      throw new ProtocolError(`stream ${this.#id} was given too much credit`);
    const resume = this.#resume;
    this.#resume = undefined;
    resume?.();
  }

  /** The process takes no more: what is written from now on vanishes, as it would in a closed pipe. */
  close(): void {
    this.#open = false;
    const resume = this.#resume;
    this.#resume = undefined;
    resume?.();
    if (!this.destroyed) this.destroy();
  }

  override _write(chunk: Buffer, _encoding: string, callback: (error?: Error | null) => void): void {
    let offset = 0;
    const step = (): void => {
      while (this.#open && offset < chunk.length && this.#creditBytes > 0) {
        const size = Math.min(chunk.length - offset, this.#creditBytes, MAX_DATA_BYTES);
        this.#port.data(this.#id, chunk.subarray(offset, offset + size));
        this.#creditBytes -= size;
        offset += size;
      }
      if (!this.#open || offset === chunk.length) callback();
      else this.#resume = step;
    };
    step();
  }

  override _final(callback: (error?: Error | null) => void): void {
    if (this.#open) this.#port.eof(this.#id);
    this.#open = false;
    callback();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    if (this.#open) this.#port.reset(this.#id, "broken off");
    this.#open = false;
    callback(error);
  }
}
