/**
 * Frames that the host itself sends to a guest: what refuses, what answers. Each with its length in front, as on the
 * stream between network and VMM.
 */
import type { Address } from "../address.ts";
import { bytesOf } from "../address.ts";
import type { Packet } from "./packet.ts";
import { ETHERNET_BYTES, ETHERTYPE, PROTOCOL, TCP_FLAG } from "./packet.ts";

const LENGTH_BYTES = 4;
const TTL = 64;
/** https://www.rfc-editor.org/rfc/rfc4443#section-2.4 (c): an error packet is at most of IPv6's least MTU. */
const MAX_QUOTED_BYTES = 512;

/** https://www.rfc-editor.org/rfc/rfc1071 */
export function checksum(parts: readonly Buffer[]): number {
  let sum = 0;
  // Every part but the last has an even number of bytes.
  for (const part of parts) {
    const even = part.length & ~1;
    for (let i = 0; i < even; i += 2) sum += part.readUInt16BE(i);
    if (even < part.length) sum += (part[even] ?? 0) << 8;
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x1_0000);
  return ~sum & 0xffff;
}

export interface Link {
  readonly sourceMac: Buffer;
  readonly destinationMac: Buffer;
}

export function ethernetFrame({ sourceMac, destinationMac }: Link, type: number, body: Buffer): Buffer {
  const head = Buffer.alloc(LENGTH_BYTES + ETHERNET_BYTES);
  head.writeUInt32BE(ETHERNET_BYTES + body.length, 0);
  destinationMac.copy(head, 4, 0, 6);
  sourceMac.copy(head, 10, 0, 6);
  head.writeUInt16BE(type, 16);
  return Buffer.concat([head, body]);
}

export interface IpEnds {
  readonly source: Address;
  readonly destination: Address;
}

/** @param checksumAt where in `transport` its checksum goes, over a pseudo-header but for ICMP of IPv4 */
export function ipFrame(
  link: Link,
  ends: IpEnds,
  protocol: number,
  transport: Buffer,
  checksumAt: number,
): Buffer {
  const [source, destination] = [bytesOf(ends.source), bytesOf(ends.destination)];
  const plain = protocol === PROTOCOL.icmp;
  const sum = checksum([
    ...(plain ? [] : [pseudoHeader(source, destination, protocol, transport)]),
    transport,
  ]);
  // https://www.rfc-editor.org/rfc/rfc768: 0 is "none"
  transport.writeUInt16BE(sum === 0 && protocol === PROTOCOL.udp ? 0xffff : sum, checksumAt);
  if (typeof ends.source === "string") {
    const head = Buffer.alloc(8);
    head.writeUInt8(0x60, 0);
    head.writeUInt16BE(transport.length, 4);
    head.writeUInt8(protocol, 6);
    head.writeUInt8(protocol === PROTOCOL.icmpv6 ? 255 : TTL, 7);
    return ethernetFrame(link, ETHERTYPE.ipv6, Buffer.concat([head, source, destination, transport]));
  }
  const head = Buffer.alloc(20);
  head.writeUInt8(0x45, 0);
  head.writeUInt16BE(20 + transport.length, 2);
  head.writeUInt16BE(0x4000, 6);
  head.writeUInt8(TTL, 8);
  head.writeUInt8(protocol, 9);
  source.copy(head, 12);
  destination.copy(head, 16);
  head.writeUInt16BE(checksum([head]), 10);
  return ethernetFrame(link, ETHERTYPE.ipv4, Buffer.concat([head, transport]));
}

/** https://www.rfc-editor.org/rfc/rfc9293#section-3.1, https://www.rfc-editor.org/rfc/rfc8200#section-8.1 */
function pseudoHeader(source: Buffer, destination: Buffer, protocol: number, transport: Buffer): Buffer {
  if (source.length === 4) {
    const tail = Buffer.from([0, protocol, transport.length >> 8, transport.length & 0xff]);
    return Buffer.concat([source, destination, tail]);
  }
  const tail = Buffer.alloc(8);
  tail.writeUInt32BE(transport.length, 0);
  tail.writeUInt8(protocol, 7);
  return Buffer.concat([source, destination, tail]);
}

function backwards({ source, destination }: Packet): IpEnds {
  return { source: destination, destination: source };
}

function linkBack(packet: Packet): Link {
  return {
    sourceMac: packet.data.subarray(packet.at, packet.at + 6),
    destinationMac: packet.sourceMac,
  };
}

export function udpFrame(
  link: Link,
  ends: IpEnds & { readonly sourcePort: number; readonly destinationPort: number },
  payload: Buffer,
): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt16BE(ends.sourcePort, 0);
  head.writeUInt16BE(ends.destinationPort, 2);
  head.writeUInt16BE(8 + payload.length, 4);
  return ipFrame(link, ends, PROTOCOL.udp, Buffer.concat([head, payload]), 6);
}

/** An answer to a UDP packet, as from where it was sent to. */
export function udpReply(packet: Packet, payload: Buffer): Buffer {
  const ports = { sourcePort: packet.destinationPort, destinationPort: packet.sourcePort };
  return udpFrame(linkBack(packet), { ...backwards(packet), ...ports }, payload);
}

/** "Connection refused". Undefined for what is a reset itself. https://www.rfc-editor.org/rfc/rfc9293#section-3.10.7.1 */
export function tcpReset(packet: Packet): Buffer | undefined {
  const { data, tcpFlags, sourcePort, destinationPort } = packet;
  if ((tcpFlags & TCP_FLAG.rst) !== 0) return undefined;
  const start = packet.at + packet.transportAt;
  const segment = Buffer.alloc(20);
  segment.writeUInt16BE(destinationPort, 0);
  segment.writeUInt16BE(sourcePort, 2);
  if ((tcpFlags & TCP_FLAG.ack) !== 0) {
    data.copy(segment, 4, start + 8, start + 12);
    segment.writeUInt8(TCP_FLAG.rst, 13);
  } else {
    const counted = (tcpFlags & TCP_FLAG.syn ? 1 : 0) + (tcpFlags & TCP_FLAG.fin ? 1 : 0);
    const acknowledged = data.readUInt32BE(start + 4) + packet.endAt - packet.payloadAt + counted;
    segment.writeUInt32BE(acknowledged % 2 ** 32, 8);
    segment.writeUInt8(TCP_FLAG.rst | TCP_FLAG.ack, 13);
  }
  segment.writeUInt8(0x50, 12);
  return ipFrame(linkBack(packet), backwards(packet), PROTOCOL.tcp, segment, 16);
}

/**
 * "Communication administratively prohibited", as from the packet's own destination.
 * https://www.rfc-editor.org/rfc/rfc1812#section-5.2.7.1, https://www.rfc-editor.org/rfc/rfc4443#section-3.1
 */
export function icmpProhibited(packet: Packet): Buffer {
  const { data, at, ipAt, version } = packet;
  const end = Math.min(at + packet.endAt, at + ipAt + MAX_QUOTED_BYTES, data.length);
  const message = Buffer.concat([Buffer.alloc(8), data.subarray(at + ipAt, end)]);
  const [type, code] = version === 4 ? [3, 13] : [1, 1];
  message.writeUInt8(type, 0);
  message.writeUInt8(code, 1);
  const protocol = version === 4 ? PROTOCOL.icmp : PROTOCOL.icmpv6;
  return ipFrame(linkBack(packet), backwards(packet), protocol, message, 2);
}

/** @param data from where the ICMP header begins */
export function echoReply(packet: Packet, request: Buffer): Buffer {
  const message = Buffer.from(request);
  message.writeUInt8(packet.version === 4 ? 0 : 129, 0);
  message.writeUInt16BE(0, 2);
  const protocol = packet.version === 4 ? PROTOCOL.icmp : PROTOCOL.icmpv6;
  return ipFrame(linkBack(packet), backwards(packet), protocol, message, 2);
}

/** https://www.rfc-editor.org/rfc/rfc1624#section-3: HC' = ~(~HC + ~m + m'), over all that has changed */
function mendChecksum(data: Buffer, checksumAt: number, before: Buffer, after: Buffer): void {
  let sum = ~data.readUInt16BE(checksumAt) & 0xffff;
  for (let i = 0; i < before.length; i += 2)
    sum += (~before.readUInt16BE(i) & 0xffff) + after.readUInt16BE(i);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  data.writeUInt16BE(~sum & 0xffff, checksumAt);
}

/** Of a TCP segment, in place. */
export function replaceWindow({ data, at, transportAt }: Packet, window: number): void {
  const start = at + transportAt;
  const before = Buffer.from(data.subarray(start + 14, start + 16));
  data.writeUInt16BE(window, start + 14);
  mendChecksum(data, start + 16, before, data.subarray(start + 14, start + 16));
}

/** Of an IPv6 packet with TCP or UDP in it, in place. */
export function replaceAddresses({ data, at, ipAt, transportAt, protocol }: Packet, ends: IpEnds): void {
  const start = at + ipAt + 8;
  const before = Buffer.from(data.subarray(start, start + 32));
  bytesOf(ends.source).copy(data, start);
  bytesOf(ends.destination).copy(data, start + 16);
  const checksumAt = at + transportAt + (protocol === PROTOCOL.tcp ? 16 : 6);
  mendChecksum(data, checksumAt, before, data.subarray(start, start + 32));
}
