/**
 * What of a guest's Ethernet frames may go on to passt: ARP, and IPv4 that is neither about a loopback nor to a
 * link-local address, where clouds tell a host's secrets to whoever asks. Name servers there may be asked.
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
/** With the ports behind them, where there are no options. */
const JUDGED_BYTES = HEADER_BYTES + 4;
/** An IPv4 packet of any size, its Ethernet header, and a VLAN tag. */
const MAX_FRAME_BYTES = 65_535 + ETHERNET_BYTES + 4;
const ETHERTYPE_IPV4 = 0x0800;
const ETHERTYPE_ARP = 0x0806;

export class FrameFilter extends Transform {
  /** The beginning of a frame whose headers are not all there: at most 41 bytes. */
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
  const judged = Math.min(frameBytes, JUDGED_BYTES);
  if (data.length < LENGTH_BYTES + judged) return undefined;
  const frame = data.subarray(LENGTH_BYTES, LENGTH_BYTES + judged);
  return { passes: mayPass(frame), sizeBytes: LENGTH_BYTES + frameBytes };
}

function mayPass(frame: Buffer): boolean {
  if (frame.length < ETHERNET_BYTES) return false;
  switch (frame.readUInt16BE(12)) {
    case ETHERTYPE_ARP:
      return true;
    case ETHERTYPE_IPV4:
      return (
        frame.length >= HEADER_BYTES &&
        !isOwnHost(frame.readUInt8(ETHERNET_BYTES + 12)) &&
        !isOwnHost(frame.readUInt8(ETHERNET_BYTES + 16)) &&
        (frame.readUInt16BE(ETHERNET_BYTES + 16) !== LINK_LOCAL || asksNames(frame))
      );
    default:
      return false;
  }
}

/** By the first byte of an address: https://www.rfc-editor.org/rfc/rfc6890#section-2.2.2, 0.0.0.0/8 and 127.0.0.0/8 */
function isOwnHost(firstByte: number): boolean {
  return firstByte === 0 || firstByte === 127;
}

/** The first half of 169.254.0.0/16: https://www.rfc-editor.org/rfc/rfc3927 */
const LINK_LOCAL = 0xa9fe;
const VERSION_4_WITHOUT_OPTIONS = 0x45;
const FRAGMENT_OFFSET = 0x1fff;
const TCP = 6;
const UDP = 17;
const NAMES_PORT = 53;

/** Only where the ports are to be seen: whoever hides them is not answered. */
function asksNames(frame: Buffer): boolean {
  const protocol = frame.readUInt8(ETHERNET_BYTES + 9);
  return (
    frame.length === JUDGED_BYTES &&
    frame.readUInt8(ETHERNET_BYTES) === VERSION_4_WITHOUT_OPTIONS &&
    (frame.readUInt16BE(ETHERNET_BYTES + 6) & FRAGMENT_OFFSET) === 0 &&
    (protocol === TCP || protocol === UDP) &&
    frame.readUInt16BE(HEADER_BYTES + 2) === NAMES_PORT
  );
}
