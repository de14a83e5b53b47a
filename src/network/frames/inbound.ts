/**
 * Who has spoken to the guest first: at a published port, a client may be where the guest may not go by itself, and is
 * answered all the same. Bounded; who was silent longest is forgotten.
 */
import type { Packet } from "../packet/packet.ts";
import { PROTOCOL, TCP_FLAG } from "../packet/packet.ts";

const MAX_CLIENTS = 8_192;
const UDP_IDLE_MS = 180_000;

export class InboundClients {
  readonly #seen = new Map<string, number>();
  readonly #now: () => number;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  get size(): number {
    return this.#seen.size;
  }

  /** @param packet one for the guest */
  note({ protocol, source, sourcePort, destinationPort, tcpFlags }: Packet): void {
    const begins = (tcpFlags & (TCP_FLAG.syn | TCP_FLAG.ack)) === TCP_FLAG.syn;
    if (protocol === PROTOCOL.tcp ? !begins : protocol !== PROTOCOL.udp) return;
    this.#touch(clientKey(protocol, String(source), sourcePort, destinationPort));
  }

  /** @param packet one of the guest's */
  isAnswer({ protocol, destination, sourcePort, destinationPort, tcpFlags }: Packet): boolean {
    const key = clientKey(protocol, String(destination), destinationPort, sourcePort);
    const seen = this.#seen.get(key);
    if (seen === undefined) return false;
    if (protocol === PROTOCOL.udp && this.#now() - seen > UDP_IDLE_MS) return false;
    // A connection the other way round is not an answer.
    if ((tcpFlags & (TCP_FLAG.syn | TCP_FLAG.ack)) === TCP_FLAG.syn) return false;
    // What a guest sends does not prolong its right to.
    if (protocol === PROTOCOL.tcp) this.#touch(key);
    return true;
  }

  #touch(key: string): void {
    this.#seen.delete(key);
    const [oldest] = this.#seen.keys();
    if (oldest !== undefined && this.#seen.size >= MAX_CLIENTS) this.#seen.delete(oldest);
    this.#seen.set(key, this.#now());
  }
}

function clientKey(protocol: number, client: string, clientPort: number, guestPort: number): string {
  return `${protocol} ${clientPort} ${guestPort} ${client}`;
}
