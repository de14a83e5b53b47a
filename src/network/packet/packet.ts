/**
 * The headers of one Ethernet frame, as far as they decide where it may go.
 *
 *     Ethernet ─► ARP
 *              ─► IPv4 ─► TCP, UDP, ICMP
 *              ─► IPv6 ─► extension headers ─► TCP, UDP, ICMPv6
 *
 * A `Packet` is filled again and again, as there may be a hundred thousand frames a second: what it says is of the frame
 * that was parsed last. Everything is the guest's word, and nothing is read beyond what is there.
 */
import type { Address } from "../address.ts";

export const ETHERNET_BYTES = 14;
/** So much of a frame has to be there, or all of it: what has more headers than that is refused. */
export const MAX_HEADER_BYTES = 160;
export const ETHERTYPE = { ipv4: 0x0800, arp: 0x0806, ipv6: 0x86dd } as const;
/** https://www.iana.org/assignments/protocol-numbers */
export const PROTOCOL = { icmp: 1, tcp: 6, udp: 17, icmpv6: 58 } as const;
export const TCP_FLAG = { fin: 1, syn: 2, rst: 4, ack: 16 } as const;

const MAX_EXTENSION_HEADERS = 4;

export type PacketKind = "arp" | "ip" | "other" | "malformed";

export class Packet {
  kind: PacketKind = "malformed";
  /** The frame, without its length: it begins at `at` in `data`. Its headers are there, the rest may not be. */
  data: Buffer = Buffer.alloc(0);
  at = 0;
  frameBytes = 0;
  version: 4 | 6 = 4;
  source: Address = 0;
  destination: Address = 0;
  /** Behind all extension headers. */
  protocol = 0;
  /** From `at`, as are all offsets. */
  ipAt = ETHERNET_BYTES;
  transportAt = 0;
  payloadAt = 0;
  /** Where the IP packet ends; an Ethernet frame may be longer. */
  endAt = 0;
  /** Of TCP and UDP; else 0. */
  sourcePort = 0;
  destinationPort = 0;
  /** Of TCP; else 0. */
  tcpFlags = 0;
  /** Of ICMP, either version; else -1. */
  icmpType = -1;

  /** @param end where what is there of the frame ends in `data` */
  parse(data: Buffer, at: number, end: number, frameBytes: number): void {
    this.data = data;
    this.at = at;
    this.frameBytes = frameBytes;
    this.sourcePort = 0;
    this.destinationPort = 0;
    this.tcpFlags = 0;
    this.icmpType = -1;
    this.kind = this.#kindOf(Math.min(end, at + frameBytes) - at);
  }

  #kindOf(there: number): PacketKind {
    if (there < ETHERNET_BYTES) return "malformed";
    switch (this.data.readUInt16BE(this.at + 12)) {
      case ETHERTYPE.arp:
        return "arp";
      case ETHERTYPE.ipv4:
        return this.#parseV4(there) ? "ip" : "malformed";
      case ETHERTYPE.ipv6:
        return this.#parseV6(there) ? "ip" : "malformed";
      default:
        return "other";
    }
  }

  /** https://www.rfc-editor.org/rfc/rfc791#section-3.1 */
  #parseV4(there: number): boolean {
    const { data } = this;
    const ip = this.at + ETHERNET_BYTES;
    if (there < ETHERNET_BYTES + 20) return false;
    const first = data[ip] ?? 0;
    const headerBytes = (first & 0x0f) * 4;
    const totalBytes = data.readUInt16BE(ip + 2);
    if (first >> 4 !== 4 || headerBytes < 20 || totalBytes < headerBytes) return false;
    // A fragment hides what it belongs to, and passt takes none.
    if ((data.readUInt16BE(ip + 6) & 0x3fff) !== 0) return false;
    this.version = 4;
    this.protocol = data[ip + 9] ?? 0;
    this.source = data.readUInt32BE(ip + 12);
    this.destination = data.readUInt32BE(ip + 16);
    return this.#parseTransport(ETHERNET_BYTES + headerBytes, ETHERNET_BYTES + totalBytes, there);
  }

  /** https://www.rfc-editor.org/rfc/rfc8200#section-3 */
  #parseV6(there: number): boolean {
    const { data } = this;
    const ip = this.at + ETHERNET_BYTES;
    if (there < ETHERNET_BYTES + 40 || (data[ip] ?? 0) >> 4 !== 6) return false;
    const end = ETHERNET_BYTES + 40 + data.readUInt16BE(ip + 4);
    this.version = 6;
    this.source = data.toString("latin1", ip + 8, ip + 24);
    this.destination = data.toString("latin1", ip + 24, ip + 40);
    let next = data[ip + 6] ?? 0;
    let offset = ETHERNET_BYTES + 40;
    // Hop-by-hop and destination options are passed over; routing headers, fragments and all else are refused.
    for (let count = 0; next === 0 || next === 60; count++) {
      if (count === MAX_EXTENSION_HEADERS || there < offset + 8) return false;
      next = data[this.at + offset] ?? 0;
      offset += ((data[this.at + offset + 1] ?? 0) + 1) * 8;
    }
    this.protocol = next;
    return this.#parseTransport(offset, end, there);
  }

  #parseTransport(offset: number, end: number, there: number): boolean {
    const { data } = this;
    if (end > this.frameBytes) return false;
    const has = (bytes: number): boolean => offset + bytes <= there && offset + bytes <= end;
    const start = this.at + offset;
    this.transportAt = offset;
    this.payloadAt = offset;
    this.endAt = end;
    switch (this.protocol) {
      case PROTOCOL.tcp: {
        if (!has(20)) return false;
        const headerBytes = ((data[start + 12] ?? 0) >> 4) * 4;
        if (headerBytes < 20 || offset + headerBytes > end) return false;
        this.tcpFlags = data[start + 13] ?? 0;
        this.payloadAt = offset + headerBytes;
        break;
      }
      case PROTOCOL.udp:
        if (!has(8) || data.readUInt16BE(start + 4) < 8) return false;
        this.payloadAt = offset + 8;
        break;
      case PROTOCOL.icmp:
      case PROTOCOL.icmpv6:
        // One in the other's place is nobody's.
        if (!has(8) || (this.protocol === PROTOCOL.icmp) !== (this.version === 4)) return false;
        this.icmpType = data[start] ?? 0;
        return true;
      default:
        return true;
    }
    this.sourcePort = data.readUInt16BE(start);
    this.destinationPort = data.readUInt16BE(start + 2);
    return true;
  }

  /** Of a frame that is there as a whole: what it says, for later. */
  keep(): Packet {
    const kept = new Packet();
    kept.parse(
      Buffer.from(this.data.subarray(this.at, this.at + this.frameBytes)),
      0,
      this.frameBytes,
      this.frameBytes,
    );
    return kept;
  }

  get sourceMac(): Buffer {
    return this.data.subarray(this.at + 6, this.at + 12);
  }

  /** Of a frame that is there as a whole. */
  get payload(): Buffer {
    return this.data.subarray(this.at + this.payloadAt, this.at + this.endAt);
  }
}
