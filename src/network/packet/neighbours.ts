/** Who has this address: ARP and IPv6's neighbour discovery, asked by a guest and answered for the others. */
import type { Address } from "../address.ts";
import { addressFrom, bytesOf } from "../address.ts";
import { ethernetFrame, ipFrame } from "./build.ts";
import type { Packet } from "./packet.ts";
import { ETHERNET_BYTES, ETHERTYPE, PROTOCOL } from "./packet.ts";

const ARP_BYTES = 28;
const NEIGHBOUR_SOLICITATION = 135;
const NEIGHBOUR_ADVERTISEMENT = 136;
/** Solicited, and to be believed: https://www.rfc-editor.org/rfc/rfc4861#section-4.4 */
const FLAGS = 0x60;
const ETHERNET_IPV4 = Buffer.from([0, 1, 8, 0, 6, 4]);
/** https://www.rfc-editor.org/rfc/rfc4861#section-4.6.1: a link-layer address, of eight bytes in all. */
const TARGET_OPTION = Buffer.from([2, 1]);

export interface Question {
  readonly target: Address;
  /** Who asks, as it says itself. */
  readonly sender: Address;
  /** Whether it tells its own address rather than ask for another. */
  readonly announces: boolean;
}

/** https://www.rfc-editor.org/rfc/rfc826; undefined: not of Ethernet and IPv4, or cut short */
export function readArp({ data, at, frameBytes }: Packet): Question | undefined {
  const arp = at + ETHERNET_BYTES;
  if (frameBytes < ETHERNET_BYTES + ARP_BYTES || arp + ARP_BYTES > data.length) return undefined;
  if (!data.subarray(arp, arp + 6).equals(ETHERNET_IPV4)) return undefined;
  const operation = data.readUInt16BE(arp + 6);
  // The sender's address in it is what others learn, so it has to be that of the frame.
  if (!data.subarray(arp + 8, arp + 14).equals(data.subarray(at + 6, at + 12))) return undefined;
  const [sender, target] = [data.readUInt32BE(arp + 14), data.readUInt32BE(arp + 24)];
  if (operation !== 1 && operation !== 2) return undefined;
  return { target, sender, announces: operation === 2 || sender === target };
}

/** https://www.rfc-editor.org/rfc/rfc4861#section-4.3 and 4.4 */
export function readNeighbour(packet: Packet): Question | undefined {
  const { data, at, icmpType, transportAt, endAt, source } = packet;
  if (packet.protocol !== PROTOCOL.icmpv6) return undefined;
  if (icmpType !== NEIGHBOUR_SOLICITATION && icmpType !== NEIGHBOUR_ADVERTISEMENT) return undefined;
  const start = at + transportAt;
  if (endAt - transportAt < 24 || start + 24 > data.length) return undefined;
  const target = data.toString("latin1", start + 8, start + 24);
  return { target, sender: source, announces: icmpType === NEIGHBOUR_ADVERTISEMENT };
}

/** "`target` is at `mac`", to whoever asked with `packet`. */
export function answerNeighbour(packet: Packet, { target, sender }: Question, mac: Buffer): Buffer {
  const link = { sourceMac: mac, destinationMac: Buffer.from(packet.sourceMac) };
  if (packet.kind === "arp") {
    const reply = Buffer.concat([
      ETHERNET_IPV4,
      Buffer.from([0, 2]),
      mac,
      bytesOf(target),
      link.destinationMac,
      bytesOf(sender),
    ]);
    return ethernetFrame(link, ETHERTYPE.arp, reply);
  }
  const head = Buffer.from([NEIGHBOUR_ADVERTISEMENT, 0, 0, 0, FLAGS, 0, 0, 0]);
  const message = Buffer.concat([head, bytesOf(target), TARGET_OPTION, mac]);
  return ipFrame(link, { source: target, destination: sender }, PROTOCOL.icmpv6, message, 2);
}

const EVERYBODY = Buffer.alloc(6, 0xff);
const ALL_NODES = addressFrom(Buffer.from("ff020000000000000000000000000001", "hex"));
const ALL_NODES_MAC = Buffer.from("333300000001", "hex");

/** "I am here", as the kernel of a guest says it when its link comes up: one frame for each address. */
export function announce(mac: Buffer, addresses: readonly Address[]): Buffer[] {
  return addresses.map((address) => {
    if (typeof address === "number") {
      const own = bytesOf(address);
      const request = Buffer.concat([ETHERNET_IPV4, Buffer.from([0, 1]), mac, own, EVERYBODY, own]);
      return ethernetFrame({ sourceMac: mac, destinationMac: EVERYBODY }, ETHERTYPE.arp, request);
    }
    const head = Buffer.from([NEIGHBOUR_ADVERTISEMENT, 0, 0, 0, 0x20, 0, 0, 0]);
    const message = Buffer.concat([head, bytesOf(address), TARGET_OPTION, mac]);
    const link = { sourceMac: mac, destinationMac: ALL_NODES_MAC };
    return ipFrame(link, { source: address, destination: ALL_NODES }, PROTOCOL.icmpv6, message, 2);
  });
}
