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
export const GENERATION = 2;
export const HEADER_BYTES = 12;
export const MAX_DATA_BYTES = 65_536;
export const INITIAL_CREDIT_BYTES = 262_144;
export const MAX_CREDIT_BYTES = 16 << 20;
const MAX_JSON_DEPTH = 64;
const MAX_PENDING_CHUNKS = 4_096;

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
  /** Only valid until the next call into the decoder's source; copy what is kept. */
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

/** Takes bytes as they come, in any pieces, and gives out whole frames. */
export class FrameDecoder {
  #pending: Buffer[] = [];
  #pendingBytes = 0;
  #neededBytes = HEADER_BYTES;

  /** @throws ProtocolError; the decoder is of no use then */
  *decode(chunk: Buffer): Generator<Frame> {
    let data = chunk;
    if (this.#pendingBytes > 0) {
      this.#pending.push(chunk);
      this.#pendingBytes += chunk.length;
      // Joining only once a whole header or frame is there keeps a guest that sends single bytes cheap in time;
      // in memory it is not, as each of those bytes is a Buffer: so many are joined all the same.
      if (this.#pendingBytes < this.#neededBytes) {
        if (this.#pending.length >= MAX_PENDING_CHUNKS) this.#pending = [Buffer.concat(this.#pending)];
        return;
      }
      data = Buffer.concat(this.#pending);
      this.#pending = [];
      this.#pendingBytes = 0;
    }
    let offset = 0;
    for (;;) {
      const left = data.length - offset;
      const header = left >= HEADER_BYTES ? readHeader(data, offset) : undefined;
      this.#neededBytes = header === undefined ? HEADER_BYTES : HEADER_BYTES + header.length;
      if (header === undefined || left < this.#neededBytes) break;
      const start = offset + HEADER_BYTES;
      offset = start + header.length;
      // problemOf has made sure of the type.
      yield { type: header.type as FrameType, id: header.id, payload: data.subarray(start, offset) };
    }
    if (offset < data.length) {
      // A copy: half a header must not keep the frames before it in memory.
      this.#pending = [Buffer.from(data.subarray(offset))];
      this.#pendingBytes = data.length - offset;
    }
  }
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
  checkDepth(frame.payload, name);
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
const OPENING = new Set([0x5b, 0x7b]);
const CLOSING = new Set([0x5d, 0x7d]);

function checkDepth(text: Buffer, name: string): void {
  let depth = 0;
  let inString = false;
  for (let index = 0; index < text.length; index++) {
    const byte = text[index] ?? 0;
    if (inString) {
      if (byte === BACKSLASH) index++;
      else if (byte === QUOTE) inString = false;
    } else if (byte === QUOTE) inString = true;
    else if (OPENING.has(byte) && ++depth > MAX_JSON_DEPTH)
      throw new ProtocolError(`${name} nests deeper than ${MAX_JSON_DEPTH} levels`);
    else if (CLOSING.has(byte)) depth--;
  }
}
