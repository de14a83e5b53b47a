/**
 * Every frame between a guest and a network of the host's that it is a part of passes here.
 *
 *     VMM ─► FrameReader ─► judged ─┬─► the network's interface ─► whoever is there: gateway, neighbours, host
 *                                   └─► refused: an answer at once, and a word to whoever listens
 *     VMM ◄──────────────── noted ◄──── the network's interface
 *
 * Unlike path.ts, there is a real link with others on it, who ask for the guest and answer it themselves. A process
 * with a packet socket in the guest can write anything: what comes through has the guest's own addresses, MAC and IP, and
 * goes where the policy lets it.
 */
import type { Duplex } from "node:stream";
import type { Address, Cidr } from "../address.ts";
import { addressFrom } from "../address.ts";
import { DnsWatch } from "../dns/watch.ts";
import { tcpReset, udpReply } from "../packet/build.ts";
import { readArp, readNeighbour } from "../packet/neighbours.ts";
import type { Packet } from "../packet/packet.ts";
import { ETHERTYPE, PROTOCOL, TCP_FLAG } from "../packet/packet.ts";
import type { Policy } from "../policy/policy.ts";
import type { RefusalSink } from "../policy/refusals.ts";
import { InboundClients } from "./inbound.ts";
import { isForMany, isNeighbourhood } from "./reach.ts";
import type { FrameSink } from "./reader.ts";
import { eachFrame, FrameReader } from "./reader.ts";
import { refusalOf, tellName, tellRefused } from "./refuse.ts";
import { StreamSink } from "./sink.ts";

/** Of what is said to the guest from here. One that does not read loses it. */
const MAX_QUEUED_BYTES = 256 * 1024;
const UNSPECIFIED = "\0".repeat(16);
const NEIGHBOUR = { solicitation: 135, advertisement: 136 } as const;
/** Who listens to which group; a switch that looks at it sends neighbours' questions nowhere else. */
const LISTENER = { query: 130, reports: [131, 132, 143] } as const;
/** Answers, echoes, and what goes wrong on the way; no redirects, and nothing of routers. */
const ICMP_TYPES = { 4: [0, 3, 8, 11, 12], 6: [1, 2, 3, 4, 128, 129] } as const;

export interface BridgedPathOptions {
  readonly policy: Policy;
  readonly refusals: RefusalSink;
  readonly mac: Buffer;
  /** The guest's own. */
  readonly addresses: readonly Address[];
  /** Those on its link. */
  readonly subnets: readonly Cidr[];
}

export class BridgedPath {
  readonly #options: BridgedPathOptions;
  /** With that which the guest's kernel makes of its MAC. */
  readonly #linkAddresses: ReadonlySet<Address>;
  readonly #guest: Duplex;
  readonly #uplink: Duplex;
  readonly #toGuest: StreamSink;
  readonly #toUplink: StreamSink;
  readonly #reader = new FrameReader((packet) => this.#routeOut(packet));
  readonly #uplinkReader = new FrameReader((packet) => this.#routeIn(packet));
  readonly #inbound = new InboundClients();
  readonly #dns: DnsWatch;

  readonly #questions: FrameSink = {
    deliver: (pieces) => eachFrame(pieces, (...one) => this.#askDns(...one)),
  };
  readonly #answers: FrameSink = {
    deliver: (pieces) => {
      eachFrame(pieces, (packet) => this.#dns.answer(packet));
      this.#toGuest.deliver(pieces);
    },
  };

  /** @param uplink frames of the network's interface */
  constructor(guest: Duplex, uplink: Duplex, options: BridgedPathOptions) {
    this.#options = options;
    this.#linkAddresses = new Set([...options.addresses, linkLocalOf(options.mac)]);
    this.#guest = guest;
    this.#uplink = uplink;
    this.#toGuest = new StreamSink(guest);
    this.#toUplink = new StreamSink(uplink);
    this.#dns = new DnsWatch(options.policy);
    this.#carry(guest, this.#reader, this.#toUplink);
    this.#carry(uplink, this.#uplinkReader, this.#toGuest);
  }

  destroy(): void {
    this.#guest.destroy();
    this.#uplink.destroy();
  }

  /** Whoever writes faster than the other side reads, waits. */
  #carry(from: Duplex, reader: FrameReader, to: StreamSink): void {
    let isPaused = false;
    from.on("data", (chunk: Buffer) => {
      try {
        reader.push(chunk);
      } catch {
        // A frame larger than any: what follows is no stream of frames.
        return this.destroy();
      }
      if (!to.isFull || isPaused) return;
      isPaused = true;
      from.pause();
      to.whenDrained(() => {
        isPaused = false;
        from.resume();
      });
    });
    from.on("error", () => {});
    // Whoever goes first, the other sees its socket closed.
    from.once("end", () => this.destroy());
    from.once("close", () => this.destroy());
  }

  #say(frame: Buffer | undefined): void {
    if (frame !== undefined) this.#toGuest.offer([frame], MAX_QUEUED_BYTES);
  }

  // ——— from the guest ———

  #routeOut(packet: Packet): FrameSink | undefined {
    const { mac, addresses, subnets, policy } = this.#options;
    if (packet.kind === "malformed" || !packet.sourceMac.equals(mac)) return undefined;
    if (packet.kind === "arp") return this.#routeArp(packet);
    if (packet.kind !== "ip") return undefined;
    if (packet.protocol === PROTOCOL.icmpv6 && isNeighbourhood(packet.icmpType))
      return this.#routeNeighbourhood(packet);
    const { protocol, source, destination, destinationPort: port, tcpFlags, icmpType, version } = packet;
    if (!addresses.includes(source) || isForMany(destination, subnets)) return undefined;
    if (icmpType >= 0 && !(ICMP_TYPES[version] as readonly number[]).includes(icmpType)) return undefined;
    const begins = protocol !== PROTOCOL.tcp || (tcpFlags & TCP_FLAG.syn) !== 0;
    const { allowed, reason } = policy.judge(protocol, destination, port, begins);
    if (!allowed) return this.#inbound.isAnswer(packet) ? this.#toUplink : this.#refuse(packet, reason);
    return policy.usesNames && policy.isResolver(destination, port) ? this.#questions : this.#toUplink;
  }

  /** In nobody else's name. Whoever asks without an address asks whether it may have it. */
  #routeArp(packet: Packet): FrameSink | undefined {
    const question = readArp(packet);
    if (question === undefined) return undefined;
    const { sender, target } = question;
    const { addresses } = this.#options;
    return addresses.includes(sender === 0 ? target : sender) ? this.#toUplink : undefined;
  }

  #routeNeighbourhood(packet: Packet): FrameSink | undefined {
    const { icmpType, source } = packet;
    const isOwn = this.#linkAddresses.has(source);
    if ((LISTENER.reports as readonly number[]).includes(icmpType))
      return isOwn || source === UNSPECIFIED ? this.#toUplink : undefined;
    const question = readNeighbour(packet);
    if (question === undefined) return undefined;
    // An advertisement is believed for what it names; a question without a sender is for an address of one's own.
    const isAbout = this.#linkAddresses.has(question.target);
    if (icmpType === NEIGHBOUR.advertisement) return isOwn && isAbout ? this.#toUplink : undefined;
    return isOwn || (source === UNSPECIFIED && isAbout) ? this.#toUplink : undefined;
  }

  #refuse(packet: Packet, reason: string): undefined {
    const { refusals, policy } = this.#options;
    this.#say(refusalOf(packet));
    tellRefused(refusals, policy, packet, reason);
    return undefined;
  }

  #askDns(packet: Packet, frame: Buffer): void {
    const asked = this.#dns.ask(packet);
    if (asked.passes) return this.#toUplink.deliver([frame]);
    if (packet.protocol === PROTOCOL.tcp) this.#say(tcpReset(packet));
    else if (asked.reply !== undefined) this.#say(udpReply(packet, asked.reply));
    tellName(this.#options.refusals, asked.name);
  }

  // ——— for the guest ———

  #routeIn(packet: Packet): FrameSink | undefined {
    if (packet.kind === "arp") return this.#toGuest;
    const { addresses, policy } = this.#options;
    if (packet.kind === "malformed") return isFragmentFor(packet, addresses) ? this.#toGuest : undefined;
    if (packet.kind !== "ip") return undefined;
    const { protocol, source, sourcePort, destination, tcpFlags, icmpType } = packet;
    if (protocol === PROTOCOL.icmpv6 && isNeighbourhood(icmpType))
      // Of routers the guest is told by the host alone.
      return Object.values(NEIGHBOUR).some((type) => type === icmpType) || icmpType === LISTENER.query
        ? this.#toGuest
        : undefined;
    // A switch floods what it does not know the way of; a packet for many is nothing that anybody was promised.
    if (!addresses.includes(destination)) return undefined;
    if (policy.usesNames && policy.isResolver(source, sourcePort)) return this.#answers;
    const mayBegin = protocol === PROTOCOL.udp || (tcpFlags & TCP_FLAG.syn) !== 0;
    if (mayBegin && !policy.judge(protocol, source, sourcePort, false).allowed) this.#inbound.note(packet);
    return this.#toGuest;
  }
}

/** https://www.rfc-editor.org/rfc/rfc4291#appendix-A: of the MAC, its universal bit turned round */
export function linkLocalOf(mac: Buffer): Address {
  const [first = 0, ...rest] = mac;
  const identifier = [first ^ 2, ...rest.slice(0, 2), 0xff, 0xfe, ...rest.slice(2)];
  return addressFrom(Buffer.from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, ...identifier]));
}

/** A datagram larger than the link comes in pieces. What it is part of cannot be seen; it can only be an answer. */
function isFragmentFor({ data, at, frameBytes }: Packet, addresses: readonly Address[]): boolean {
  if (frameBytes < 34 || at + 34 > data.length || data.readUInt16BE(at + 12) !== ETHERTYPE.ipv4) return false;
  return (data.readUInt16BE(at + 20) & 0x3fff) !== 0 && addresses.includes(data.readUInt32BE(at + 30));
}
