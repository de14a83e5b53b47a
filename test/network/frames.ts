/** Frames as a guest with a packet socket could write them, and the far end of a network's stream. */
import { Duplex } from "node:stream";
import { parseAddress } from "../../src/network/address.ts";
import type { Address } from "../../src/network/address.ts";
import { ipFrame, ethernetFrame } from "../../src/network/packet/build.ts";
import { Packet, PROTOCOL } from "../../src/network/packet/packet.ts";

export const MAC = Buffer.from("525400123456", "hex");
const BROADCAST = Buffer.alloc(6, 0xff);
const LINK = { sourceMac: MAC, destinationMac: BROADCAST };
export const GUEST = { 4: "10.0.2.15", 6: "fd66:6c61:6d65::15" } as const;

export function address(text: string): Address {
  const parsed = parseAddress(text);
  if (parsed === undefined) throw new Error(`${text} is no address`);
  return parsed;
}

interface Ends {
  readonly from?: string;
  readonly to: string;
  readonly port?: number;
  readonly sourcePort?: number;
}

function endsOf({ from, to }: Ends) {
  const destination = address(to);
  const source = address(from ?? (typeof destination === "number" ? GUEST[4] : GUEST[6]));
  return { source, destination };
}

export function udp(ends: Ends, payload: Buffer | string = "x"): Buffer {
  const body = Buffer.from(payload as string);
  const head = Buffer.alloc(8);
  head.writeUInt16BE(ends.sourcePort ?? 4_000, 0);
  head.writeUInt16BE(ends.port ?? 9, 2);
  head.writeUInt16BE(8 + body.length, 4);
  return ipFrame(LINK, endsOf(ends), PROTOCOL.udp, Buffer.concat([head, body]), 6);
}

interface Segment {
  readonly flags?: number;
  readonly sequence?: number;
  readonly acknowledged?: number;
  readonly payload?: string | Buffer;
}

export function tcp(
  ends: Ends,
  { flags = 2, sequence = 1_000, acknowledged = 0, payload = "" }: Segment = {},
): Buffer {
  const head = Buffer.alloc(20);
  head.writeUInt16BE(ends.sourcePort ?? 4_000, 0);
  head.writeUInt16BE(ends.port ?? 80, 2);
  head.writeUInt32BE(sequence, 4);
  head.writeUInt32BE(acknowledged, 8);
  head.writeUInt8(0x50, 12);
  head.writeUInt8(flags, 13);
  head.writeUInt16BE(65_535, 14);
  const segment = Buffer.concat([head, Buffer.from(payload as string)]);
  return ipFrame(LINK, endsOf(ends), PROTOCOL.tcp, segment, 16);
}

export function echo(ends: Ends, type?: number): Buffer {
  const { destination } = endsOf(ends);
  const v4 = typeof destination === "number";
  const message = Buffer.from([type ?? (v4 ? 8 : 128), 0, 0, 0, 0, 7, 0, 1, 1, 2, 3, 4]);
  return ipFrame(LINK, endsOf(ends), v4 ? PROTOCOL.icmp : PROTOCOL.icmpv6, message, 2);
}

export function other(ends: Ends, protocol = 47): Buffer {
  return ipFrame(LINK, endsOf(ends), protocol, Buffer.alloc(16), 0);
}

export function arp(
  target: string,
  { sender = GUEST[4], operation = 1 }: { sender?: string; operation?: number } = {},
): Buffer {
  const body = Buffer.alloc(28);
  Buffer.from([0, 1, 8, 0, 6, 4, 0, operation]).copy(body);
  MAC.copy(body, 8);
  body.writeUInt32BE(address(sender) as number, 14);
  body.writeUInt32BE(address(target) as number, 24);
  return ethernetFrame(LINK, 0x0806, body);
}

export function solicitation(target: string): Buffer {
  const message = Buffer.concat([
    Buffer.from([135, 0, 0, 0, 0, 0, 0, 0]),
    Buffer.from(address(target) as string, "latin1"),
    Buffer.from([1, 1]),
    MAC,
  ]);
  return ipFrame(LINK, endsOf({ to: "ff02::1:ff00:2" }), PROTOCOL.icmpv6, message, 2);
}

/** A frame with its length, as it came. */
export function parse(frame: Buffer): Packet {
  const packet = new Packet();
  packet.parse(frame, 4, frame.length, frame.length - 4);
  return packet;
}

/** One end of a stream of frames, for a test to hold: what is written at the other is collected. */
export class FrameEnd extends Duplex {
  readonly frames: Buffer[] = [];
  #bytes = Buffer.alloc(0);
  #seen: (() => void)[] = [];

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.#bytes = Buffer.concat([this.#bytes, chunk]);
    while (this.#bytes.length >= 4 && this.#bytes.length >= 4 + this.#bytes.readUInt32BE(0)) {
      const end = 4 + this.#bytes.readUInt32BE(0);
      this.frames.push(this.#bytes.subarray(0, end));
      this.#bytes = this.#bytes.subarray(end);
    }
    for (const seen of this.#seen.splice(0)) seen();
    done();
  }

  /** Gives the other side a chunk to read. */
  give(chunk: Buffer): void {
    this.push(chunk);
  }

  /** The first frame, from now or before, that a test takes for its own; taken out. */
  async next(isIt: (packet: Packet) => boolean, timeoutMs = 5_000): Promise<Packet> {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      const index = this.frames.findIndex((frame) => isIt(parse(frame)));
      const [frame] = index < 0 ? [] : this.frames.splice(index, 1);
      if (frame !== undefined) return parse(frame);
      if (Date.now() > deadline) throw new Error("no such frame came");
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 100);
        this.#seen.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
  }
}
