/**
 * Every frame between a guest and the rest of the world passes here.
 *
 *     VMM ─► FrameReader ─► judged ─┬─► passt ─► the host's sockets
 *                                   ├─► another member of the container's network
 *                                   ├─► the gateway: neighbours, names, echo
 *                                   └─► refused: an answer at once, and a word to whoever listens
 *     VMM ◄──────────────── noted ◄─┴── passt, members
 *
 * passt opens the socket that a frame asks for, and a process with a packet socket in the guest can ask for anything:
 * so it gets what the policy allows, from the guest's own address, and nothing else.
 */
import type { Duplex } from "node:stream";
import type { Address, Cidr } from "../address.ts";
import { contains } from "../address.ts";
import { DnsWatch } from "../dns/watch.ts";
import type { IpEnds } from "../packet/build.ts";
import { echoReply, replaceAddresses, tcpReset, udpReply } from "../packet/build.ts";
import type { Question } from "../packet/neighbours.ts";
import { announce, answerNeighbour, readArp, readNeighbour } from "../packet/neighbours.ts";
import type { Packet } from "../packet/packet.ts";
import { PROTOCOL, TCP_FLAG } from "../packet/packet.ts";
import type { Policy } from "../policy/policy.ts";
import { transportOf } from "../policy/policy.ts";
import type { RefusalSink } from "../policy/refusals.ts";
import { Connections } from "./connections.ts";
import { InboundClients } from "./inbound.ts";
import { isForMany, isLinkLocal, isNeighbourhood } from "./reach.ts";
import type { FrameSink } from "./reader.ts";
import { eachFrame, FrameReader } from "./reader.ts";
import { refusalOf, tellName, tellRefused } from "./refuse.ts";
import { StreamSink } from "./sink.ts";

/** Where guests find their gateway; passt does not look at it. Locally administered. */
export const GATEWAY_MAC = Buffer.from("02666c616d65", "hex");
/** Of what the host sends by itself. A guest that does not read loses it. */
const MAX_QUEUED_BYTES = 256 * 1024;
/** For the guest from outside: more than the window of a connection, and of some. */
const MAX_WAITING_BYTES = 16 * 1024 * 1024;
const ECHO_REQUEST = { 4: 8, 6: 128 } as const;
const DNS_PORT = 53;

/** Answers questions at the gateway's address. */
export interface Responder {
  /** What it knows by itself, whatever the policy is; undefined: nothing. */
  answer?(query: Buffer): Buffer | undefined;
  /** @param reply may be called later, once */
  ask(query: Buffer, reply: (answer: Buffer) => void): void;
}

/** The other members of a container's network. */
export interface Neighbours {
  /** Undefined: nobody has the address now. */
  macOf(address: Address): Buffer | undefined;
  sinkOf(address: Address): FrameSink | undefined;
}

export interface FramePathOptions {
  readonly policy: Policy;
  readonly refusals: RefusalSink;
  readonly mac: Buffer;
  /** The guest's own. */
  readonly addresses: readonly Address[];
  readonly gateways: readonly Address[];
  /** Those that the guest looks for on its link. */
  readonly subnets: readonly Cidr[];
  /** Whether the gateway's address stands for the host's loopback; passt translates it. */
  readonly hostGateway: boolean;
  readonly responder?: Responder | undefined;
  readonly neighbours?: Neighbours | undefined;
  /** Whether what goes out can be of IPv6. */
  readonly ipv6: boolean;
  /** So much of frames the uplink's socket holds; what it does not, is lost. */
  readonly uplinkBytes: number;
  /** Given what goes out for the first time; undefined is a network without a way out. */
  readonly openUplink: (() => Duplex) | undefined;
}

export class FramePath {
  readonly #options: FramePathOptions;
  readonly #guest: Duplex;
  readonly #toGuest: StreamSink;
  readonly #reader = new FrameReader((packet) => this.#routeOut(packet));
  #uplinkReader = this.#makeUplinkReader();
  readonly #inbound = new InboundClients();
  readonly #connections: Connections;
  readonly #dns: DnsWatch;
  #carriedBytes = 0;
  #isGuestPaused = false;
  #isUplinkPaused = false;
  /** What passt calls itself and the guest on the link, where it brings somebody from the host's IPv6 loopback. */
  #local: IpEnds | undefined;
  #uplink: { readonly stream: Duplex; readonly sink: StreamSink } | undefined;

  readonly #questions: FrameSink = {
    deliver: (pieces) => eachFrame(pieces, (...one) => this.#askDns(...one)),
  };
  readonly #answers: FrameSink = { deliver: (pieces) => this.#answerDns(pieces) };
  readonly #gateway: FrameSink = {
    deliver: (pieces) => eachFrame(pieces, (packet) => this.#atGateway(packet)),
  };

  constructor(guest: Duplex, options: FramePathOptions) {
    this.#options = options;
    this.#guest = guest;
    this.#toGuest = new StreamSink(guest);
    this.#dns = new DnsWatch(options.policy);
    this.#connections = new Connections(options.uplinkBytes, (frame) => this.#uplink?.sink.deliver([frame]));
    guest.on("data", (chunk: Buffer) => this.#takeFromGuest(chunk));
    guest.on("error", () => {});
    // Whoever goes first, VMM or passt: the other sees its socket closed. There is nobody to tell here.
    guest.once("end", () => this.destroy());
    guest.once("close", () => this.destroy());
  }

  destroy(): void {
    this.#connections[Symbol.dispose]();
    this.#guest.destroy();
    this.#uplink?.stream.destroy();
  }

  get carriedBytes(): number {
    return this.#carriedBytes;
  }

  get isHeldUp(): boolean {
    return this.#isUplinkPaused;
  }

  get isOver(): boolean {
    return this.#guest.destroyed;
  }

  #makeUplinkReader(): FrameReader {
    return new FrameReader((packet) => this.#routeIn(packet));
  }

  /** Frames of another member for the guest; lost when it does not read. */
  offerToGuest(pieces: readonly Buffer[]): void {
    this.#toGuest.offer(pieces, MAX_QUEUED_BYTES * 16);
  }

  /** The way out, opened when it is wanted first. */
  connectUplink(): StreamSink | undefined {
    const { openUplink } = this.#options;
    if (this.#uplink !== undefined || openUplink === undefined) return this.#uplink?.sink;
    const stream = openUplink();
    const sink = new StreamSink(stream);
    this.#uplink = { stream, sink };
    stream.on("data", (chunk: Buffer) => this.#takeFromUplink(stream, chunk));
    // passt can bring nobody to a guest that it has not heard, and the guest may be silent until it is asked.
    sink.deliver(announce(this.#options.mac, this.#options.addresses));
    return sink;
  }

  /** Another passt, which knows nothing of what the guest has said to the one before. */
  reconnectUplink(): void {
    const { stream } = this.#uplink ?? {};
    this.#uplink = undefined;
    stream?.removeAllListeners("data").destroy();
    // The last one's frame may have ended in its middle.
    this.#uplinkReader = this.#makeUplinkReader();
    for (const frame of this.#connections.forgetPasst()) this.#resetAfter(frame);
    this.#isUplinkPaused = false;
    if (this.#isGuestPaused) this.#guest.resume();
    this.#isGuestPaused = false;
    if (!this.#guest.destroyed) this.connectUplink();
  }

  /** Ends a connection, by the guest's last word in it. Where that is old, it says another, and is answered then. */
  #resetAfter(frame: Buffer): void {
    eachFrame([frame], (packet) => this.#say(tcpReset(packet)));
  }

  #take(reader: FrameReader, chunk: Buffer): boolean {
    try {
      reader.push(chunk);
      return true;
    } catch {
      // A frame larger than any: what follows is no stream of frames.
      this.destroy();
      return false;
    }
  }

  #takeFromGuest(chunk: Buffer): void {
    const sink = this.#uplink?.sink;
    if (!this.#take(this.#reader, chunk) || sink === undefined || !sink.isFull || this.#isGuestPaused) return;
    this.#isGuestPaused = true;
    this.#guest.pause();
    sink.whenDrained(() => {
      this.#isGuestPaused = false;
      this.#guest.resume();
    });
  }

  #takeFromUplink(stream: Duplex, chunk: Buffer): void {
    this.#carriedBytes += chunk.length;
    if (!this.#take(this.#uplinkReader, chunk) || this.#isUplinkPaused) return;
    // What passt cannot write at once, it loses: it waits only for a guest that really does not read.
    if (!this.#toGuest.isFull || this.#guest.writableLength < MAX_WAITING_BYTES) return;
    this.#isUplinkPaused = true;
    stream.pause();
    this.#toGuest.whenDrained(() => {
      this.#isUplinkPaused = false;
      stream.resume();
    });
  }

  #say(frame: Buffer | undefined): void {
    if (frame !== undefined) this.#toGuest.offer([frame], MAX_QUEUED_BYTES);
  }

  // ——— from the guest ———

  #routeOut(packet: Packet): FrameSink | undefined {
    if (packet.kind === "arp") return this.#routeQuestion(packet, readArp(packet));
    if (packet.kind !== "ip") return undefined;
    if (packet.protocol === PROTOCOL.icmpv6 && isNeighbourhood(packet.icmpType))
      return this.#routeQuestion(packet, readNeighbour(packet));
    const { mac, addresses, gateways, neighbours, subnets } = this.#options;
    if (!addresses.includes(packet.source)) return undefined;
    const { destination } = packet;
    if (gateways.includes(destination)) return this.#routeToGateway(packet);
    const member = neighbours?.sinkOf(destination);
    // Nobody speaks to them in another's name.
    if (member !== undefined) return packet.sourceMac.equals(mac) ? member : undefined;
    if (isForMany(destination, subnets)) return undefined;
    if (neighbours !== undefined && subnets.some((subnet) => contains(subnet, destination)))
      return this.#refuse(packet, "no container of the network has it");
    return this.#routeOutside(packet);
  }

  #routeOutside(packet: Packet): FrameSink | undefined {
    const { policy } = this.#options;
    const { protocol, destination, destinationPort: port, tcpFlags } = packet;
    // passt knows three protocols, and of ICMP the echo.
    const isEcho = packet.icmpType === ECHO_REQUEST[packet.version];
    if (packet.icmpType >= 0 && !isEcho) return undefined;
    const begins = protocol !== PROTOCOL.tcp || (tcpFlags & TCP_FLAG.syn) !== 0;
    const { allowed, reason } = policy.judge(protocol, destination, port, begins);
    if (!allowed)
      return this.#inbound.isAnswer(packet) ? this.#outside(packet) : this.#refuse(packet, reason);
    if (transportOf(protocol) === undefined) return this.#refuse(packet, "only TCP, UDP and echo get out");
    if (packet.version === 6 && !this.#options.ipv6) return this.#refuse(packet, "the host has no IPv6");
    const sink = this.#outside(packet);
    if (sink === undefined) return this.#refuse(packet, "the network has no way out");
    const isQuestion = policy.usesNames && policy.isResolver(destination, port);
    return isQuestion && sink !== NOWHERE ? this.#questions : sink;
  }

  #outside(packet: Packet): FrameSink | undefined {
    return this.#isLost(packet) ? NOWHERE : this.#toUplink(packet);
  }

  #toUplink({ frameBytes }: Packet): FrameSink | undefined {
    this.#carriedBytes += frameBytes;
    return this.connectUplink();
  }

  /** Of a connection through a passt that is no more: said to the guest. */
  #isLost(packet: Packet): boolean {
    if (this.#connections.guestSaid(packet)) return false;
    this.#say(tcpReset(packet));
    return true;
  }

  #routeQuestion(packet: Packet, question: Question | undefined): FrameSink | undefined {
    if (question === undefined) return undefined;
    const { addresses, gateways, neighbours } = this.#options;
    // passt learns from it where the guest is. It need not be started for it.
    if (question.announces) return addresses.includes(question.sender) ? this.#uplink?.sink : undefined;
    const mac = gateways.includes(question.target) ? GATEWAY_MAC : neighbours?.macOf(question.target);
    // Whoever asks without an address (a probe for duplicates) asks whether it may have it.
    const isProbe = question.sender === 0 || question.sender === UNSPECIFIED;
    if (mac !== undefined && !isProbe) this.#say(answerNeighbour(packet, question, mac));
    return undefined;
  }

  #routeToGateway(packet: Packet): FrameSink | undefined {
    const { hostGateway, responder } = this.#options;
    const { protocol, destinationPort, icmpType, version } = packet;
    const isDns = destinationPort === DNS_PORT && responder !== undefined;
    if (isDns && protocol === PROTOCOL.udp) return this.#gateway;
    if (icmpType >= 0) return icmpType === ECHO_REQUEST[version] ? this.#gateway : undefined;
    if (this.#inbound.isAnswer(packet)) return this.#answerClient(packet);
    if (!hostGateway || isDns || transportOf(protocol) === undefined)
      return this.#refuse(packet, "it is the gateway, which has no services");
    return this.#outside(packet) ?? this.#refuse(packet, "the network has no way out");
  }

  #refuse(packet: Packet, reason: string): undefined {
    const { refusals, policy } = this.#options;
    this.#say(refusalOf(packet));
    tellRefused(refusals, policy, packet, reason);
    return undefined;
  }

  #atGateway(packet: Packet): void {
    if (packet.icmpType >= 0) {
      const { data, at, transportAt, endAt } = packet;
      this.#say(echoReply(packet, data.subarray(at + transportAt, at + endAt)));
      return;
    }
    const { responder, refusals } = this.#options;
    const own = responder?.answer?.(packet.payload);
    if (own !== undefined) return this.#say(udpReply(packet, own));
    const asked = this.#dns.ask(packet);
    if (!asked.passes) {
      if (asked.reply !== undefined) this.#say(udpReply(packet, asked.reply));
      tellName(refusals, asked.name);
      return;
    }
    const { destination, sourcePort } = packet;
    // The packet is of this moment only, and so is what it points into.
    const back = packet.keep();
    responder?.ask(Buffer.from(packet.payload), (answer) => {
      this.#dns.learnFrom(answer, destination, sourcePort);
      this.#say(udpReply(back, answer));
    });
  }

  #askDns(packet: Packet, frame: Buffer): void {
    const asked = this.#dns.ask(packet);
    if (asked.passes) {
      this.connectUplink()?.deliver([frame]);
      return;
    }
    if (packet.protocol === PROTOCOL.tcp) this.#say(tcpReset(packet));
    else if (asked.reply !== undefined) this.#say(udpReply(packet, asked.reply));
    tellName(this.#options.refusals, asked.name);
  }

  // ——— for the guest ———

  #routeIn(packet: Packet): FrameSink | undefined {
    // Neighbours are answered for here, in both directions.
    if (packet.kind !== "ip" || (packet.protocol === PROTOCOL.icmpv6 && isNeighbourhood(packet.icmpType)))
      return undefined;
    this.#bringClient(packet);
    this.#connections.passtSaid(packet);
    const { policy } = this.#options;
    const { protocol, source, sourcePort, tcpFlags } = packet;
    if (policy.usesNames && policy.isResolver(source, sourcePort)) return this.#answers;
    const mayBegin = protocol === PROTOCOL.udp || (tcpFlags & TCP_FLAG.syn) !== 0;
    const isOpen = (): boolean => policy.judge(protocol, source, sourcePort, false).allowed;
    if (mayBegin && (this.#options.gateways.includes(source) || !isOpen())) this.#inbound.note(packet);
    return this.#toGuest;
  }

  /** To the guest, whoever comes from the host's loopback comes from the gateway, by IPv6 as by IPv4. */
  #bringClient(packet: Packet): void {
    const { source, destination, protocol } = packet;
    if (typeof source !== "string" || typeof destination !== "string") return;
    if (!isLinkLocal(source) || !isLinkLocal(destination) || transportOf(protocol) === "icmp") return;
    const gateway = this.#options.gateways.find((one) => typeof one === "string");
    const guest = this.#options.addresses.find((one) => typeof one === "string");
    if (gateway === undefined || guest === undefined) return;
    this.#local = { source, destination };
    packet.source = gateway;
    packet.destination = guest;
    replaceAddresses(packet, packet);
  }

  #answerClient(packet: Packet): FrameSink | undefined {
    if (this.#isLost(packet)) return NOWHERE;
    if (packet.version === 6 && this.#local !== undefined) {
      const { source, destination } = this.#local;
      replaceAddresses(packet, { source: destination, destination: source });
    }
    return this.#toUplink(packet);
  }

  #answerDns(pieces: readonly Buffer[]): void {
    eachFrame(pieces, (packet) => this.#dns.answer(packet));
    this.#toGuest.deliver(pieces);
  }
}

const NOWHERE: FrameSink = { deliver: () => {} };
const UNSPECIFIED = "\0".repeat(16);
