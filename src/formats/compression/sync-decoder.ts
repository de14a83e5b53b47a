/**
 * Decodes in the calling thread, into one buffer that is used again. On libuv's pool each MiB of output is a buffer of
 * its own, made by one core and read by another: a tenth of a pull's processor time.
 *
 * node:zlib has no such call; what its own one-shot functions use for it is there in every release since 2017, and is
 * tried before it is relied on. Where it is missing or does something else, there is no such decoder. That of zstd
 * (Node 22.15 and later) is used in no other way: as a stream, that of Node 22 stops behind the first frame.
 */
import * as zlib from "node:zlib";

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
  /** A part of the decoder's buffer, good until the next step. */
  readonly output: Uint8Array;
  /** Of the input. */
  readonly taken: number;
  /** More output may be waiting, also without more input. */
  readonly isFull: boolean;
}

export class SyncDecoder implements Disposable {
  private readonly stream: zlib.InflateRaw;
  private readonly handle: Internals["_handle"];
  private readonly state: Uint32Array;
  private readonly buffer: Buffer;
  private problem: { readonly message: string; readonly code: string } | undefined;

  constructor(stream: zlib.InflateRaw, chunkBytes: number) {
    this.stream = stream;
    this.buffer = Buffer.allocUnsafeSlow(chunkBytes);
    const { _handle: handle, _writeState: state } = stream as unknown as Internals;
    this.handle = handle;
    this.state = state;
    const onerror = (message: string, _errno: number, code: string) => (this.problem = { message, code });
    Object.assign(handle, { onerror });
  }

  /**
   * Of deflate, nothing is taken behind the stream's end, and nothing comes out.
   * @throws Error with the decoder's message and code
   */
  step(input: Uint8Array): Step {
    const { buffer, handle, state } = this;
    const { length } = input;
    handle.writeSync(zlib.constants.Z_NO_FLUSH, input, 0, length, buffer, 0, buffer.length);
    if (this.problem !== undefined) {
      const { message, code } = this.problem;
      throw Object.assign(new Error(message), { code });
    }
    const [room = 0, left = 0] = state;
    return { output: buffer.subarray(0, buffer.length - room), taken: length - left, isFull: room === 0 };
  }

  /** Begins another stream of deflate. */
  reset(): void {
    this.stream.reset();
  }

  [Symbol.dispose](): void {
    this.stream.destroy();
  }
}

/** Of one deflate stream after the other. */
export function syncInflater(chunkBytes: number): SyncDecoder {
  return new SyncDecoder(zlib.createInflateRaw(), chunkBytes);
}

interface ZstdCapable {
  readonly createZstdDecompress?: () => zlib.InflateRaw;
}

/** Of frames of zstd. @throws Error where Node has none, which `canUnzstdHere` tells */
export function syncUnzstd(chunkBytes: number): SyncDecoder {
  const stream = (zlib as unknown as ZstdCapable).createZstdDecompress?.();
  if (stream === undefined) throw new Error("this Node's zlib has no zstd");
  return new SyncDecoder(stream, chunkBytes);
}

const trials = new Map<() => boolean, boolean>();

function passes(trial: () => boolean): boolean {
  let isPassed = trials.get(trial);
  if (isPassed === undefined) {
    try {
      isPassed = trial();
    } catch {
      isPassed = false;
    }
    trials.set(trial, isPassed);
  }
  return isPassed;
}

/** Whether this Node's zlib does what is expected of it. */
export function canInflateHere(): boolean {
  return passes(inflatesInTrial);
}

/** Whether this Node's zlib has zstd, and does what is expected of it. */
export function canUnzstdHere(): boolean {
  return passes(unzstdsInTrial);
}

function inflatesInTrial(): boolean {
  const plain = Buffer.from("what goes in comes out ".repeat(50));
  const garbage = Buffer.from("and no more");
  const deflated = Buffer.concat([zlib.deflateRawSync(plain), garbage]);
  using inflater = syncInflater(64);
  for (let round = 0; round < 2; round++) {
    const { output, taken } = decoded(inflater, deflated);
    if (!output.equals(plain) || taken !== deflated.length - garbage.length) return false;
    inflater.reset();
  }
  return fails(inflater, Buffer.alloc(100, 0xff));
}

/** Two frames, one of a block as it is and one of a repeated byte, behind a frame to be skipped each. */
const FRAMES = Buffer.from(
  "502a4d1801000000ff28b52ffd2003190000616263502a4d180000000028b52ffd2064230300dd",
  "hex",
);

function unzstdsInTrial(): boolean {
  using decoder = syncUnzstd(64);
  const { output, taken } = decoded(decoder, FRAMES);
  if (!output.equals(Buffer.from(`abc${"\xdd".repeat(100)}`, "latin1")) || taken !== FRAMES.length)
    return false;
  // A block of no known type.
  return fails(decoder, Buffer.from("28b52ffd200307000061626300", "hex"));
}

/** All that comes out of pieces, until nothing is taken any more. */
function decoded(decoder: SyncDecoder, data: Buffer): { readonly output: Buffer; readonly taken: number } {
  const out: Buffer[] = [];
  let at = 0;
  // Whatever it says of itself, it ends.
  for (let steps = 0; steps < 1_000; steps++) {
    const { output, taken, isFull } = decoder.step(data.subarray(at, at + 10));
    out.push(Buffer.from(output));
    at += taken;
    if (!isFull && taken === 0) return { output: Buffer.concat(out), taken: at };
  }
  throw new Error("it takes nothing, and does not end");
}

function fails(decoder: SyncDecoder, data: Buffer): boolean {
  try {
    decoded(decoder, data);
    return false;
  } catch {
    return true;
  }
}
