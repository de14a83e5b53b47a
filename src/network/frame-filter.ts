/**
 * What of a guest's Ethernet frames may go on to passt: ARP, and IPv4 that is not about a loopback.
 *
 *     VMM ─► u32 length (big endian), frame, u32 length, frame, … ─► FrameFilter ─► the same, less some ─► passt
 *
 * passt opens the socket that a frame asks for. Older versions, Debian 12's among them, do so for
 * 127.0.0.1 too (and for 0.0.0.0, which Linux takes for it): a guest's kernel sends no such frame, but whoever
 * has a packet socket in the guest can write one, and would reach what listens on the host's loopback.
 *
 * Frames that pass are not copied; a frame waits only until its headers are there.
 */
import type { TransformCallback } from "node:stream";
import { Transform } from "node:stream";
import { NetworkError } from "./network.ts";

const LENGTH_BYTES = 4;
const ETHERNET_BYTES = 14;
/** https://www.rfc-editor.org/rfc/rfc791#section-3.1, without options, which come behind the addresses. */
const IPV4_BYTES = 20;
const HEADER_BYTES = ETHERNET_BYTES + IPV4_BYTES;
/** An IPv4 packet of any size, its Ethernet header, and a VLAN tag. */
const MAX_FRAME_BYTES = 65_535 + ETHERNET_BYTES + 4;
const ETHERTYPE_IPV4 = 0x0800;
const ETHERTYPE_ARP = 0x0806;

export class FrameFilter extends Transform {
  /** The beginning of a frame whose headers are not all there: at most 37 bytes. */
  #held: Buffer = Buffer.alloc(0);
  /** Of the frame that is passing, or being dropped, these bytes are still to come. */
  #bytesLeft = 0;
  #passes = false;

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    const data = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk]);
    this.#held = Buffer.alloc(0);
    try {
      this.#walk(data);
      done();
    } catch (error) {
      done(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #walk(data: Buffer): void {
    // Neighbours that pass go on as one piece, which begins here.
    let begin = 0;
    let position = 0;
    const flush = (): void => {
      if (begin < position) this.push(data.subarray(begin, position));
    };
    for (;;) {
      const step = Math.min(this.#bytesLeft, data.length - position);
      position += step;
      this.#bytesLeft -= step;
      if (this.#bytesLeft > 0 || position === data.length) {
        if (this.#passes) flush();
        return;
      }
      if (!this.#passes) begin = position;
      const verdict = judge(data.subarray(position));
      if (verdict === undefined) {
        flush();
        this.#held = Buffer.from(data.subarray(position));
        return;
      }
      if (!verdict.passes) flush();
      this.#passes = verdict.passes;
      this.#bytesLeft = verdict.sizeBytes;
    }
  }
}

interface Verdict {
  readonly passes: boolean;
  /** With the length in front. */
  readonly sizeBytes: number;
}

/** Undefined: more has to be seen first. */
function judge(data: Buffer): Verdict | undefined {
  if (data.length < LENGTH_BYTES) return undefined;
  const frameBytes = data.readUInt32BE(0);
  if (frameBytes > MAX_FRAME_BYTES)
    throw new NetworkError("network-failed", `a frame of ${frameBytes} bytes came from the machine`);
  if (data.length < LENGTH_BYTES + Math.min(frameBytes, HEADER_BYTES)) return undefined;
  const frame = data.subarray(LENGTH_BYTES, LENGTH_BYTES + Math.min(frameBytes, HEADER_BYTES));
  return { passes: mayPass(frame), sizeBytes: LENGTH_BYTES + frameBytes };
}

function mayPass(frame: Buffer): boolean {
  if (frame.length < ETHERNET_BYTES) return false;
  switch (frame.readUInt16BE(12)) {
    case ETHERTYPE_ARP:
      return true;
    case ETHERTYPE_IPV4:
      return (
        frame.length === HEADER_BYTES &&
        !isOwnHost(frame.readUInt8(ETHERNET_BYTES + 12)) &&
        !isOwnHost(frame.readUInt8(ETHERNET_BYTES + 16))
      );
    default:
      return false;
  }
}

/** By the first byte of an address: https://www.rfc-editor.org/rfc/rfc6890#section-2.2.2, 0.0.0.0/8 and 127.0.0.0/8 */
function isOwnHost(firstByte: number): boolean {
  return firstByte === 0 || firstByte === 127;
}
