/**
 * Frames of the agent protocol: a 12-byte header, then the payload. protocol/PROTOCOL.md, "Frames".
 *
 *      0        4    5     6         8      12
 *     ┌────────┬────┬─────┬─────────┬──────┬─────────
 *     │ length │type│flags│reserved │  id  │ payload…      little-endian
 *     └────────┴────┴─────┴─────────┴──────┴─────────
 *
 * What the guest sends is hostile until it is checked: every length is judged by its header alone, before
 * anything is kept for it.
 */
import { FlameBoxError } from "../../util/error.ts";

/** The highest generation that this side knows. */
export const GENERATION = 5;
export const HEADER_BYTES = 12;
export const MAX_DATA_BYTES = 65_536;
export const INITIAL_CREDIT_BYTES = 262_144;
export const MAX_CREDIT_BYTES = 16 << 20;
const MAX_JSON_DEPTH = 64;
/** 4 MiB of `[],[],…` would be a hundred MiB of arrays; no answer or event has more than a few hundred values. */
const MAX_JSON_VALUES = 65_536;
/** What a frame's header alone makes this side allocate; more only as its payload really arrives. */
const FIRST_HOLD_BYTES = HEADER_BYTES + MAX_DATA_BYTES;

export const FrameType = {
  hello: 1,
  request: 2,
  response: 3,
  event: 4,
  data: 5,
  credit: 6,
  eof: 7,
  reset: 8,
} as const;
export type FrameType = (typeof FrameType)[keyof typeof FrameType];

interface FrameRule {
  readonly name: string;
  readonly minBytes: number;
  readonly maxBytes: number;
  /** Ids count from 1; HELLO and EVENT have none. */
  readonly hasId: boolean;
}

const RULES: Readonly<Record<number, FrameRule>> = {
  [FrameType.hello]: { name: "HELLO", minBytes: 2, maxBytes: 65_536, hasId: false },
  [FrameType.request]: { name: "REQUEST", minBytes: 2, maxBytes: 4 << 20, hasId: true },
  [FrameType.response]: { name: "RESPONSE", minBytes: 2, maxBytes: 4 << 20, hasId: true },
  [FrameType.event]: { name: "EVENT", minBytes: 2, maxBytes: 65_536, hasId: false },
  [FrameType.data]: { name: "DATA", minBytes: 1, maxBytes: MAX_DATA_BYTES, hasId: true },
  [FrameType.credit]: { name: "CREDIT", minBytes: 4, maxBytes: 4, hasId: true },
  [FrameType.eof]: { name: "EOF", minBytes: 0, maxBytes: 0, hasId: true },
  [FrameType.reset]: { name: "RESET", minBytes: 0, maxBytes: 1_024, hasId: true },
};

export interface Frame {
  readonly type: FrameType;
  readonly id: number;
  /** Nobody writes to it again; but a small one that is kept keeps the whole chunk that it came in. */
  readonly payload: Buffer;
}

export class ProtocolError extends FlameBoxError {
  override readonly name = "ProtocolError";

  constructor(message: string) {
    super("protocol-error", `the guest broke the agent protocol: ${message}`);
  }
}

/** @throws RangeError for a frame that the rules forbid: that is this side's mistake */
export function encodeFrame(type: FrameType, id: number, payload: Uint8Array = Buffer.alloc(0)): Buffer {
  const problem = problemOf({ length: payload.length, type, flags: 0, reserved: 0, id });
  if (problem !== undefined) throw new RangeError(problem);
  const frame = Buffer.allocUnsafe(HEADER_BYTES + payload.length);
  frame.writeUInt32LE(payload.length, 0);
  frame.writeUInt8(type, 4);
  frame.writeUInt8(0, 5);
  frame.writeUInt16LE(0, 6);
  frame.writeUInt32LE(id, 8);
  frame.set(payload, HEADER_BYTES);
  return frame;
}

export function encodeJson(type: FrameType, id: number, value: unknown): Buffer {
  return encodeFrame(type, id, Buffer.from(JSON.stringify(value)));
}

export function encodeCredit(id: number, bytes: number): Buffer {
  const payload = Buffer.allocUnsafe(4);
  payload.writeUInt32LE(bytes, 0);
  return encodeFrame(FrameType.credit, id, payload);
}

interface Header {
  readonly length: number;
  readonly type: number;
  readonly flags: number;
  readonly reserved: number;
  readonly id: number;
}

function problemOf(header: Header): string | undefined {
  const rule = RULES[header.type];
  if (rule === undefined) return `frame type ${header.type} is unknown`;
  if (header.flags !== 0 || header.reserved !== 0) return `${rule.name} has flags or reserved bytes set`;
  if (header.length < rule.minBytes || header.length > rule.maxBytes)
    return `${rule.name} of ${header.length} bytes, allowed are ${rule.minBytes} to ${rule.maxBytes}`;
  if (rule.hasId !== (header.id !== 0)) return `${rule.name} with id ${header.id}`;
  return undefined;
}

/**
 * Takes bytes as they come, in any pieces, and gives out whole frames. A frame that lies within one chunk is not
 * copied; one that does not is put together in a buffer of its own, each of its bytes copied once or (as that
 * buffer grows by doubling) twice, however small the pieces are.
 */
export class FrameDecoder {
  /** The beginning of a frame whose end is to come. */
  #held = Buffer.alloc(0);
  #heldBytes = 0;
  #header: Header | undefined;

  /**
   * @param chunk is the decoder's from now on: the caller does not write to it again
   * @throws ProtocolError; the decoder is of no use then
   */
  *decode(chunk: Buffer): Generator<Frame> {
    let offset = 0;
    while (this.#heldBytes > 0) {
      offset += this.#hold(chunk, offset);
      if (this.#heldBytes < this.#neededBytes) return;
      this.#header ??= readHeader(this.#held, 0);
      if (this.#heldBytes < this.#neededBytes) continue;
      const frame = frameAt(this.#header, this.#held, HEADER_BYTES);
      this.#header = undefined;
      this.#held = Buffer.alloc(0);
      this.#heldBytes = 0;
      yield frame;
    }
    for (;;) {
      const left = chunk.length - offset;
      this.#header = left >= HEADER_BYTES ? readHeader(chunk, offset) : undefined;
      if (this.#header === undefined || left < this.#neededBytes) break;
      const frame = frameAt(this.#header, chunk, offset + HEADER_BYTES);
      offset += this.#neededBytes;
      yield frame;
    }
    if (offset < chunk.length) this.#hold(chunk, offset);
  }

  get #neededBytes(): number {
    return HEADER_BYTES + (this.#header?.length ?? 0);
  }

  /** Keeps what the frame still needs of the chunk, and returns how many bytes that is. */
  #hold(chunk: Buffer, offset: number): number {
    const end = Math.min(this.#neededBytes, this.#heldBytes + chunk.length - offset);
    if (end > this.#held.length) {
      const room = Math.max(2 * this.#held.length, FIRST_HOLD_BYTES, end);
      const grown = Buffer.allocUnsafeSlow(Math.min(this.#neededBytes, room));
      this.#held.copy(grown, 0, 0, this.#heldBytes);
      this.#held = grown;
    }
    const taken = chunk.copy(this.#held, this.#heldBytes, offset, offset + end - this.#heldBytes);
    this.#heldBytes += taken;
    return taken;
  }
}

function frameAt({ type, id, length }: Header, bytes: Buffer, start: number): Frame {
  // problemOf has made sure of the type.
  return { type: type as FrameType, id, payload: bytes.subarray(start, start + length) };
}

function readHeader(data: Buffer, offset: number): Header {
  const header = {
    length: data.readUInt32LE(offset),
    type: data.readUInt8(offset + 4),
    flags: data.readUInt8(offset + 5),
    reserved: data.readUInt16LE(offset + 6),
    id: data.readUInt32LE(offset + 8),
  };
  const problem = problemOf(header);
  if (problem !== undefined) throw new ProtocolError(problem);
  return header;
}

/** @throws ProtocolError */
export function decodeJson(frame: Frame): object {
  const name = RULES[frame.type]?.name ?? "frame";
  checkShape(frame.payload, name);
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(frame.payload));
  } catch {
    throw new ProtocolError(`${name} is not JSON in UTF-8`);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new ProtocolError(`${name} is not a JSON object`);
  return value;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const OPENING_BRACKET = 0x5b;
const OPENING_BRACE = 0x7b;
const CLOSING_BRACKET = 0x5d;
const CLOSING_BRACE = 0x7d;

/** Depth and number of values, before a parser that recurses and allocates sees the text. */
function checkShape(text: Buffer, name: string): void {
  let depth = 0;
  let values = 0;
  let inString = false;
  for (let index = 0; index < text.length; index++) {
    const byte = text[index] ?? 0;
    if (inString) {
      if (byte === BACKSLASH) index++;
      else if (byte === QUOTE) inString = false;
    } else if (byte === QUOTE) inString = true;
    else if (byte === COMMA) values++;
    else if (byte === OPENING_BRACKET || byte === OPENING_BRACE) {
      values++;
      if (++depth > MAX_JSON_DEPTH)
        throw new ProtocolError(`${name} nests deeper than ${MAX_JSON_DEPTH} levels`);
    } else if (byte === CLOSING_BRACKET || byte === CLOSING_BRACE) depth--;
    if (values > MAX_JSON_VALUES) throw new ProtocolError(`${name} has more than ${MAX_JSON_VALUES} values`);
  }
}
