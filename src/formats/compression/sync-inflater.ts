/**
 * Inflates in the calling thread, into one buffer that is used again. On libuv's pool each MiB of output is a buffer of
 * its own, made by one core and read by another: a tenth of a pull's processor time.
 *
 * node:zlib has no such call; what its own one-shot functions use for it is there in every release since 2017, and is
 * tried before it is relied on. Where it is missing or does something else, there is no such inflater.
 */
import { constants, createInflateRaw, deflateRawSync } from "node:zlib";

/** Of lib/zlib.js: `writeSync` fills `_writeState` with what is left of the output's room, and of the input. */
interface Internals {
  readonly _handle: {
    writeSync(
      flush: number,
      input: Uint8Array,
      inputAt: number,
      inputBytes: number,
      output: Uint8Array,
      outputAt: number,
      outputBytes: number,
    ): void;
  };
  readonly _writeState: Uint32Array;
}

/** What one step has done. */
export interface Step {
  /** A part of the inflater's buffer, good until the next step. */
  readonly output: Uint8Array;
  /** Of the input. */
  readonly taken: number;
  /** More output is waiting, also without more input. */
  readonly isFull: boolean;
}

export class SyncInflater implements Disposable {
  private readonly stream = createInflateRaw();
  private readonly handle: Internals["_handle"];
  private readonly state: Uint32Array;
  private readonly buffer: Buffer;
  private problem: { readonly message: string; readonly code: string } | undefined;

  constructor(chunkBytes: number) {
    this.buffer = Buffer.allocUnsafeSlow(chunkBytes);
    const { _handle: handle, _writeState: state } = this.stream as unknown as Internals;
    this.handle = handle;
    this.state = state;
    const onerror = (message: string, _errno: number, code: string) => (this.problem = { message, code });
    Object.assign(handle, { onerror });
  }

  /**
   * Behind the stream's end nothing is taken, and nothing comes out.
   * @throws Error with zlib's message and code
   */
  step(input: Uint8Array): Step {
    const { buffer, handle, state } = this;
    const { length } = input;
    handle.writeSync(constants.Z_NO_FLUSH, input, 0, length, buffer, 0, buffer.length);
    if (this.problem !== undefined) {
      const { message, code } = this.problem;
      throw Object.assign(new Error(message), { code });
    }
    const [room = 0, left = 0] = state;
    return { output: buffer.subarray(0, buffer.length - room), taken: length - left, isFull: room === 0 };
  }

  /** Begins another stream. */
  reset(): void {
    this.stream.reset();
  }

  [Symbol.dispose](): void {
    this.stream.destroy();
  }
}

let isSound: boolean | undefined;

/** Whether this Node's zlib does what is expected of it. */
export function canInflateHere(): boolean {
  isSound ??= passesTrial();
  return isSound;
}

function passesTrial(): boolean {
  const plain = Buffer.from("what goes in comes out ".repeat(50));
  const deflated = Buffer.concat([deflateRawSync(plain), Buffer.from("and no more")]);
  try {
    using inflater = new SyncInflater(64);
    for (let round = 0; round < 2; round++) {
      if (!trial(inflater, deflated, deflated.length - 11).equals(plain)) return false;
      inflater.reset();
    }
    return !succeeds(() => trial(inflater, Buffer.alloc(100, 0xff), 0));
  } catch {
    return false;
  }
}

/** All of it in pieces; empty when it did not end where it should. */
function trial(inflater: SyncInflater, data: Buffer, end: number): Buffer {
  const out: Buffer[] = [];
  let at = 0;
  for (let rest = data.subarray(0, 10); ; ) {
    const { output, taken, isFull } = inflater.step(rest);
    out.push(Buffer.from(output));
    at += taken;
    if (isFull) rest = rest.subarray(taken);
    else if (taken < rest.length) break;
    else rest = data.subarray(at, at + 10);
  }
  return at === end ? Buffer.concat(out) : Buffer.alloc(0);
}

function succeeds(job: () => unknown): boolean {
  try {
    job();
    return true;
  } catch {
    return false;
  }
}
