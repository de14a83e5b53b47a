/**
 * A stream of Ethernet frames, each behind its length, taken apart without copying:
 *
 *     u32 length (big endian), frame, u32 length, frame, … ─► for each frame a sink ─► runs of frames
 *
 * Where a frame goes is decided when its headers are there. Neighbours that go the same way are delivered as one piece;
 * a frame that is not all there waits for its rest, so that every sink gets whole frames only.
 */
import { NetworkError } from "../network.ts";
import { ETHERNET_BYTES, MAX_HEADER_BYTES, Packet } from "../packet/packet.ts";

export const LENGTH_BYTES = 4;
/** An IP packet of any size, its Ethernet header, and a VLAN tag. */
const MAX_FRAME_BYTES = 65_535 + ETHERNET_BYTES + 4;

export interface FrameSink {
  /** One frame or several, with their lengths, whole; where the pieces meet means nothing. */
  deliver(pieces: readonly Buffer[]): void;
}

/** Undefined: it goes nowhere. The packet is valid during the call only. */
export type Router = (packet: Packet) => FrameSink | undefined;

export class FrameReader {
  readonly #route: Router;
  readonly #packet = new Packet();
  /** The pieces of the frame that is not all there. */
  #held: Buffer[] = [];
  /** Where it goes, once that is decided; so many bytes of it are to come. */
  #heldSink: FrameSink | undefined;
  #isDecided = false;
  #bytesLeft = 0;

  constructor(route: Router) {
    this.#route = route;
  }

  /** @throws NetworkError `network-failed` for a frame that is larger than any */
  push(chunk: Buffer): void {
    let data = chunk;
    let begin = 0;
    if (this.#isDecided) {
      if (chunk.length < this.#bytesLeft) {
        this.#bytesLeft -= chunk.length;
        if (this.#heldSink !== undefined) this.#held.push(chunk);
        return;
      }
      begin = this.#bytesLeft;
      this.#heldSink?.deliver([...this.#held, chunk.subarray(0, begin)]);
    } else if (this.#held.length > 0) data = Buffer.concat([...this.#held, chunk]);
    this.#held = [];
    this.#isDecided = false;
    this.#heldSink = undefined;
    this.#walk(data, begin);
  }

  #walk(data: Buffer, start: number): void {
    let begin = start;
    let position = start;
    let sink: FrameSink | undefined;
    for (;;) {
      const there = data.length - position - LENGTH_BYTES;
      const frameBytes = there >= 0 ? frameSize(data, position) : 0;
      if (there < Math.min(frameBytes, MAX_HEADER_BYTES)) {
        // Its headers are to come.
        sink?.deliver([data.subarray(begin, position)]);
        if (position < data.length) this.#held = [data.subarray(position)];
        return;
      }
      const at = position + LENGTH_BYTES;
      this.#packet.parse(data, at, data.length, frameBytes);
      const next = this.#route(this.#packet);
      if (next !== sink || there < frameBytes) {
        if (begin < position) sink?.deliver([data.subarray(begin, position)]);
        begin = position;
        sink = next;
      }
      if (there < frameBytes) {
        this.#isDecided = true;
        this.#heldSink = next;
        this.#bytesLeft = frameBytes - there;
        if (next !== undefined) this.#held = [data.subarray(position)];
        return;
      }
      position = at + frameBytes;
      if (position === data.length) {
        sink?.deliver([data.subarray(begin, position)]);
        return;
      }
    }
  }
}

function frameSize(data: Buffer, position: number): number {
  const frameBytes = data.readUInt32BE(position);
  if (frameBytes > MAX_FRAME_BYTES)
    throw new NetworkError("network-failed", `a frame of ${frameBytes} bytes came from the machine`);
  return frameBytes;
}

/** Each frame of a run that was delivered, parsed, in one piece. */
export function eachFrame(pieces: readonly Buffer[], see: (packet: Packet, frame: Buffer) => void): void {
  const data = pieces.length === 1 && pieces[0] !== undefined ? pieces[0] : Buffer.concat(pieces);
  const packet = new Packet();
  for (let position = 0; position + LENGTH_BYTES <= data.length; ) {
    const frameBytes = data.readUInt32BE(position);
    const at = position + LENGTH_BYTES;
    packet.parse(data, at, at + frameBytes, frameBytes);
    see(packet, data.subarray(position, at + frameBytes));
    position = at + frameBytes;
  }
}
