/**
 * Names of a network's containers, answered at the gateway: those who are there now, and nobody else. All other
 * questions are the host's name servers' to answer.
 */
import type { Address } from "../address.ts";
import { formatAddress, parseAddress } from "../address.ts";
import type { Responder } from "../frames/path.ts";
import type { Member } from "../named/leases.ts";
import { addressData, encodeName, makeReply, RCODE, readMessage, TYPE } from "./message.ts";

const SHORT_ID_LENGTH = 12;
const MAX_ANSWERS = 16;

export class NetworkNames implements Responder {
  readonly #network: string;
  readonly #members: () => readonly Member[];
  readonly #others: Pick<Responder, "ask"> | undefined;

  /** @param others undefined: the network has no way out, and knows no other names */
  constructor(network: string, members: () => readonly Member[], others: Pick<Responder, "ask"> | undefined) {
    this.#network = network.toLowerCase();
    this.#members = members;
    this.#others = others;
  }

  /** Undefined: not a name of the network's. */
  answer(query: Buffer): Buffer | undefined {
    const message = readMessage(query);
    if (message === undefined || message.isAnswer) return undefined;
    const { name, type } = message.question;
    const owner = this.#ownerOf(name);
    if (owner !== undefined) {
      const answers = type === TYPE.ptr || type === TYPE.any ? [encodeName(owner)] : [];
      return makeReply(query, message, RCODE.noError, answers);
    }
    const found = this.#members().filter((member) => this.#isCalled(member, name));
    if (found.length === 0) return undefined;
    // Of several with one alias, each is asked first once in a while.
    const start = Math.floor(Math.random() * found.length);
    const turned = [...found.slice(start), ...found.slice(0, start)].slice(0, MAX_ANSWERS);
    const family = type === TYPE.a ? "ipv4" : type === TYPE.aaaa ? "ipv6" : undefined;
    const addresses = turned.flatMap((member): Address[] => {
      const address = family === undefined ? undefined : parseAddress(member[family]);
      return address === undefined ? [] : [address];
    });
    return makeReply(query, message, RCODE.noError, addresses.map(addressData));
  }

  ask(query: Buffer, reply: (answer: Buffer) => void): void {
    if (this.#others !== undefined) return this.#others.ask(query, reply);
    const message = readMessage(query);
    if (message !== undefined) reply(makeReply(query, message, RCODE.noSuchName));
  }

  #isCalled({ containerId, name, hostname, aliases }: Member, asked: string): boolean {
    const short = asked.endsWith(`.${this.#network}`) ? asked.slice(0, -this.#network.length - 1) : asked;
    const names = [name, hostname, containerId, containerId.slice(0, SHORT_ID_LENGTH), ...aliases];
    return names.some((one) => one?.toLowerCase() === short);
  }

  /** https://www.rfc-editor.org/rfc/rfc1035#section-3.5, https://www.rfc-editor.org/rfc/rfc3596#section-2.5 */
  #ownerOf(name: string): string | undefined {
    if (!name.endsWith(".arpa")) return undefined;
    const owner = this.#members().find(
      ({ ipv4, ipv6 }) => name === reversed(ipv4) || name === reversed(ipv6),
    );
    return owner && `${owner.name ?? owner.hostname}.${this.#network}`;
  }
}

function reversed(text: string): string {
  const address = parseAddress(text);
  if (address === undefined) return "";
  if (typeof address === "number")
    return `${formatAddress(address).split(".").toReversed().join(".")}.in-addr.arpa`;
  const digits = Buffer.from(address, "latin1").toString("hex").split("");
  return `${digits.toReversed().join(".")}.ip6.arpa`;
}
