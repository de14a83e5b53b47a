/**
 * DNS between a guest and its resolvers, watched as it passes: which names are asked for, and which addresses the
 * answers give. Only answers to questions that were asked count.
 */
import type { Address } from "../address.ts";
import type { Packet } from "../packet/packet.ts";
import { PROTOCOL, TCP_FLAG } from "../packet/packet.ts";
import type { Policy } from "../policy/policy.ts";
import { addressesOf, makeReply, RCODE, readMessage } from "./message.ts";

const MAX_QUESTIONS = 1_024;
const MAX_STREAMS = 64;
/** A length, and a message. */
const MAX_STREAM_BYTES = 2 + 65_535;

/** What becomes of a packet with questions. `reply` goes to the guest in its place. */
export type Asked =
  | { readonly passes: true }
  | { readonly passes: false; readonly name: string | undefined; readonly reply: Buffer | undefined };

interface Stream {
  bytes: Buffer;
  /** The sequence number that continues it. */
  next: number;
}

export class DnsWatch {
  readonly #policy: Policy;
  /** By resolver, port and message id; the oldest first. */
  readonly #questions = new Map<string, string>();
  /** Answers over TCP; the oldest first. */
  readonly #streams = new Map<string, Stream>();

  constructor(policy: Policy) {
    this.#policy = policy;
  }

  get questionCount(): number {
    return this.#questions.size;
  }

  /** @param packet whole, from the guest to a resolver */
  ask(packet: Packet): Asked {
    const { payload, protocol, destination, sourcePort } = packet;
    if (protocol === PROTOCOL.udp) return this.#askMessage(payload, destination, sourcePort);
    if (payload.length === 0) return { passes: true };
    // Whoever asks over TCP sends whole questions; one that is cut in two could not be judged.
    for (let at = 0; at < payload.length; ) {
      const size = at + 2 <= payload.length ? payload.readUInt16BE(at) : payload.length;
      if (at + 2 + size > payload.length) return { passes: false, name: undefined, reply: undefined };
      const asked = this.#askMessage(payload.subarray(at + 2, at + 2 + size), destination, sourcePort);
      if (!asked.passes) return { ...asked, reply: undefined };
      at += 2 + size;
    }
    return { passes: true };
  }

  #askMessage(bytes: Buffer, resolver: Address, port: number): Asked {
    const message = readMessage(bytes);
    if (message === undefined || message.isAnswer)
      return { passes: false, name: undefined, reply: undefined };
    const { name } = message.question;
    if (!this.#policy.mayAsk(name))
      // "No such name" rather than "refused", at which some wait for another server until they give up.
      return { passes: false, name, reply: makeReply(bytes, message, RCODE.noSuchName) };
    const key = questionKey(resolver, port, message.id);
    this.#questions.delete(key);
    const [oldest] = this.#questions.keys();
    if (oldest !== undefined && this.#questions.size >= MAX_QUESTIONS) this.#questions.delete(oldest);
    this.#questions.set(key, name);
    return { passes: true };
  }

  /** @param packet whole, from a resolver to the guest */
  answer(packet: Packet): void {
    const { payload, protocol, source, destinationPort } = packet;
    if (protocol === PROTOCOL.udp) this.learnFrom(payload, source, destinationPort);
    else this.#answerStream(packet);
  }

  learnFrom(bytes: Buffer, resolver: Address, port: number): void {
    const message = readMessage(bytes);
    if (message === undefined || !message.isAnswer) return;
    const { name } = message.question;
    if (this.#questions.get(questionKey(resolver, port, message.id)) !== name) return;
    for (const { address, ttlSeconds } of addressesOf(bytes, message))
      this.#policy.learn({ name, address, ttlSeconds });
  }

  /** Only in order: what comes again is known already, and behind a gap nothing is believed. */
  #answerStream(packet: Packet): void {
    const { data, at, transportAt, tcpFlags, source, destinationPort, payload } = packet;
    const key = questionKey(source, destinationPort, 0);
    const sequence = data.readUInt32BE(at + transportAt + 4);
    if ((tcpFlags & TCP_FLAG.syn) !== 0) {
      this.#streams.delete(key);
      const [oldest] = this.#streams.keys();
      if (oldest !== undefined && this.#streams.size >= MAX_STREAMS) this.#streams.delete(oldest);
      this.#streams.set(key, { bytes: Buffer.alloc(0), next: (sequence + 1) % 2 ** 32 });
      return;
    }
    const stream = this.#streams.get(key);
    if (stream === undefined) return;
    if ((tcpFlags & (TCP_FLAG.fin | TCP_FLAG.rst)) !== 0) this.#streams.delete(key);
    if (sequence !== stream.next || payload.length === 0) return;
    stream.next = (sequence + payload.length) % 2 ** 32;
    stream.bytes = Buffer.concat([stream.bytes, payload]);
    while (stream.bytes.length >= 2) {
      const size = stream.bytes.readUInt16BE(0);
      if (stream.bytes.length < 2 + size) break;
      this.learnFrom(stream.bytes.subarray(2, 2 + size), source, destinationPort);
      stream.bytes = stream.bytes.subarray(2 + size);
    }
    if (stream.bytes.length > MAX_STREAM_BYTES) this.#streams.delete(key);
  }
}

function questionKey(resolver: Address, port: number, id: number): string {
  return `${port} ${id} ${String(resolver)}`;
}
