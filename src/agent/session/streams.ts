/**
 * The two ends of a protocol stream as Node streams, with credit both ways. PROTOCOL.md, "Streams".
 *
 *     process ◄─ guest ◄─ DATA ◄─ OutgoingStream (Writable)      the guest's CREDIT lets writes go on
 *     process ─► guest ─► DATA ─► IncomingStream (Readable)      reads send CREDIT
 *
 * Both also wait for the connection itself: a guest that takes nothing from it gets neither data nor credit.
 */
import { Readable, Writable } from "node:stream";
import { INITIAL_CREDIT_BYTES, MAX_CREDIT_BYTES, MAX_DATA_BYTES, ProtocolError } from "../protocol/frame.ts";
import { AgentError } from "../protocol/messages.ts";

export interface StreamPort {
  /** The guest does not read: nothing more should be sent before `wake` is called. */
  isCrowded(): boolean;
  data(id: number, bytes: Uint8Array): void;
  credit(id: number, bytes: number): void;
  eof(id: number): void;
  reset(id: number, reason: string): void;
}

/** A guest that gives back its window in small pieces must not cost a frame for each. */
const CREDIT_BATCH_BYTES = INITIAL_CREDIT_BYTES / 4;

/**
 * Payloads that wait to be read. Small ones are copied together: as they come, each would keep the chunk that it
 * arrived in, and a window full of single bytes would be a quarter of a million of them.
 */
class PayloadQueue {
  static readonly #smallBytes = 16_384;
  readonly #whole: Buffer[] = [];
  /** Small payloads behind the last whole one, in the first `#tailBytes` bytes. */
  #tail: Buffer | undefined;
  #tailBytes = 0;

  push(payload: Buffer): void {
    if (payload.length >= PayloadQueue.#smallBytes) {
      this.#closeTail();
      this.#whole.push(payload);
      return;
    }
    if (this.#tail !== undefined && this.#tailBytes + payload.length > this.#tail.length) this.#closeTail();
    this.#tail ??= Buffer.allocUnsafeSlow(PayloadQueue.#smallBytes);
    this.#tailBytes += payload.copy(this.#tail, this.#tailBytes);
  }

  shift(): Buffer | undefined {
    if (this.#whole.length === 0) this.#closeTail();
    return this.#whole.shift();
  }

  clear(): void {
    this.#tail = undefined;
    this.#tailBytes = 0;
    this.#whole.length = 0;
  }

  #closeTail(): void {
    if (this.#tail !== undefined) this.#whole.push(this.#tail.subarray(0, this.#tailBytes));
    this.#tail = undefined;
    this.#tailBytes = 0;
  }
}

export interface IncomingOptions {
  /** What is read, when a part of it is of no use: a RESET is an error then, and not an end like another. */
  readonly errorOnReset?: string | undefined;
}

export class IncomingStream extends Readable {
  readonly #id: number;
  readonly #port: StreamPort;
  readonly #errorOnReset: string | undefined;
  readonly #queue = new PayloadQueue();
  #allowedBytes = INITIAL_CREDIT_BYTES;
  #owedBytes = 0;
  /** The guest has said EOF or RESET. */
  #ended = false;
  #brokenOff = false;
  #wanted = false;

  constructor(id: number, port: StreamPort, { errorOnReset }: IncomingOptions = {}) {
    super({ highWaterMark: MAX_DATA_BYTES });
    this.#id = id;
    this.#port = port;
    this.#errorOnReset = errorOnReset;
  }

  /** Nothing more can come that counts: the guest has ended it, or this side has broken it off. */
  get isOver(): boolean {
    return this.#ended || this.#brokenOff;
  }

  /** What a guest may rightly still send for a stream that this side broke off. */
  get lateBytes(): number {
    return this.#ended ? 0 : this.#allowedBytes;
  }

  /** @throws ProtocolError when the guest sends more than it was allowed, or after its own EOF */
  accept(payload: Buffer): void {
    if (this.#ended) throw new ProtocolError(`stream ${this.#id} went on after its end`);
    if (payload.length > this.#allowedBytes)
      throw new ProtocolError(`stream ${this.#id} sent more than its credit`);
    this.#allowedBytes -= payload.length;
    if (this.#brokenOff) return;
    // Straight on where nothing waits: the queue is for what the consumer has not asked for.
    if (!this.#wanted) this.#queue.push(payload);
    else this.#hand(payload);
  }

  /** False when the stream was over already. */
  finish(): boolean {
    if (this.#ended) return false;
    this.#ended = true;
    if (this.#wanted) this.#deliver();
    return true;
  }

  /** As `finish`, for a stream that the guest cannot go on with. */
  breakOff(reason: Buffer): boolean {
    if (this.#ended || this.#errorOnReset === undefined) return this.finish();
    this.#ended = true;
    this.destroy(
      new AgentError("failed", `${this.#errorOnReset} was broken off: ${reason.toString("utf8")}`),
    );
    return true;
  }

  /** The connection takes frames again. */
  wake(): void {
    this.#giveCredit();
  }

  override _read(): void {
    this.#wanted = true;
    this.#deliver();
  }

  #deliver(): void {
    while (this.#wanted) {
      const chunk = this.#queue.shift();
      if (chunk !== undefined) {
        this.#hand(chunk);
        continue;
      }
      if (this.#ended) {
        this.#wanted = false;
        this.push(null);
      }
      return;
    }
  }

  #hand(chunk: Buffer): void {
    this.#owedBytes += chunk.length;
    this.#giveCredit();
    // Before the push: a consumer that reads from within it asks for more.
    this.#wanted = false;
    if (this.push(chunk)) this.#wanted = true;
  }

  #giveCredit(): void {
    if (this.isOver || this.#owedBytes < CREDIT_BATCH_BYTES || this.#port.isCrowded()) return;
    this.#allowedBytes += this.#owedBytes;
    this.#port.credit(this.#id, this.#owedBytes);
    this.#owedBytes = 0;
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    if (!this.isOver) this.#port.reset(this.#id, "no longer read");
    this.#brokenOff = true;
    this.#queue.clear();
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
    this.wake();
  }

  /** There is credit, or room on the connection, again. */
  wake(): void {
    const resume = this.#resume;
    this.#resume = undefined;
    resume?.();
  }

  /** The process takes no more: what is written from now on vanishes, as it would in a closed pipe. */
  close(): void {
    this.#open = false;
    this.wake();
    if (!this.destroyed) this.destroy();
  }

  override _write(chunk: Buffer, _encoding: string, callback: (error?: Error | null) => void): void {
    let offset = 0;
    const step = (): void => {
      while (this.#open && offset < chunk.length && this.#creditBytes > 0 && !this.#port.isCrowded()) {
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
