/**
 * IP addresses as map keys: one of IPv4 is a number, one of IPv6 a string of its 16 bytes.
 *
 * IPv6 has many ways to write an IPv4 address inside of its own; who refuses the one has to know the other.
 */
import { isIP } from "node:net";

export type Address = number | string;

const V6_BYTES = 16;

/** Undefined when it is no address; a zone (`fe80::1%eth0`) is none. */
export function parseAddress(text: string): Address | undefined {
  switch (isIP(text)) {
    case 4:
      return parseV4(text);
    case 6:
      return text.includes("%") ? undefined : parseV6(text);
    default:
      return undefined;
  }
}

function parseV4(text: string): number {
  return text.split(".").reduce((sum, part) => sum * 256 + Number(part), 0);
}

/** Of a text that is one. */
function parseV6(text: string): string {
  const dotted = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(text);
  const v4 = parseV4(dotted?.[2] ?? "0.0.0.0");
  const plain =
    dotted === null ? text : `${dotted[1] ?? ""}${(v4 >>> 16).toString(16)}:${(v4 & 0xffff).toString(16)}`;
  const [head = "", tail] = plain.split("::");
  const words = (part: string | undefined): number[] =>
    part === undefined || part === "" ? [] : part.split(":").map((word) => Number.parseInt(word, 16));
  const [front, back] = [words(head), words(tail)];
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - front.length - back.length);
  const all = [...front, ...Array.from({ length: zeros }, () => 0), ...back];
  return String.fromCharCode(...all.flatMap((word) => [word >> 8, word & 0xff]));
}

export function formatAddress(address: Address): string {
  if (typeof address === "number") return [24, 16, 8, 0].map((shift) => (address >>> shift) & 0xff).join(".");
  const words = Array.from({ length: 8 }, (_, i) => wordAt(address, i));
  // https://www.rfc-editor.org/rfc/rfc5952#section-4.2: the longest run of zeros, two at least, the first of equals
  let best = { at: 8, length: 1 };
  for (let at = 0; at < 8; at++) {
    let length = 0;
    while (at + length < 8 && words[at + length] === 0) length++;
    if (length > best.length) best = { at, length };
  }
  const text = (part: readonly number[]): string => part.map((word) => word.toString(16)).join(":");
  if (best.at === 8) return text(words);
  return `${text(words.slice(0, best.at))}::${text(words.slice(best.at + best.length))}`;
}

function wordAt(address: string, index: number): number {
  return (address.charCodeAt(2 * index) << 8) | address.charCodeAt(2 * index + 1);
}

/** In network order. */
export function bytesOf(address: Address): Buffer {
  if (typeof address === "string") return Buffer.from(address, "latin1");
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(address);
  return bytes;
}

export function addressFrom(bytes: Buffer): Address {
  return bytes.length === V6_BYTES ? bytes.toString("latin1", 0, V6_BYTES) : bytes.readUInt32BE(0);
}

export interface Cidr {
  readonly address: Address;
  readonly prefixLength: number;
}

/** `10.0.0.0/8`, `fd00::/8`, or an address alone. Bits behind the prefix do not matter. */
export function parseCidr(text: string): Cidr | undefined {
  const [name = "", length, ...rest] = text.split("/");
  const address = parseAddress(name);
  if (address === undefined || rest.length > 0) return undefined;
  const most = typeof address === "number" ? 32 : 128;
  if (length === undefined) return { address, prefixLength: most };
  if (!/^\d{1,3}$/.test(length) || Number(length) > most) return undefined;
  return { address, prefixLength: Number(length) };
}

/** For constants of the code. */
export function cidr(text: string): Cidr {
  const parsed = parseCidr(text);
  if (parsed === undefined) throw new RangeError(`${text} is no network`);
  return parsed;
}

export function contains({ address: network, prefixLength }: Cidr, address: Address): boolean {
  if (typeof network === "number") {
    if (typeof address !== "number") return false;
    return prefixLength === 0 || (network ^ address) >>> (32 - prefixLength) === 0;
  }
  if (typeof address !== "string") return false;
  const whole = prefixLength >> 3;
  for (let i = 0; i < whole; i++) if (network.charCodeAt(i) !== address.charCodeAt(i)) return false;
  const rest = prefixLength & 7;
  if (rest === 0) return true;
  return (network.charCodeAt(whole) ^ address.charCodeAt(whole)) >> (8 - rest) === 0;
}

/** Whether all of `inner` is in `outer`. */
export function isWithin(inner: Cidr, outer: Cidr): boolean {
  return inner.prefixLength >= outer.prefixLength && contains(outer, inner.address);
}

/** Where an IPv4 address is in an IPv6 one, and the bits that it is turned by. */
const EMBEDDINGS: readonly { readonly in: Cidr; readonly at: number; readonly mask?: number }[] = [
  // Mapped and compatible: https://www.rfc-editor.org/rfc/rfc4291#section-2.5.5
  { in: cidr("::ffff:0:0/96"), at: 12 },
  { in: cidr("::/96"), at: 12 },
  // Translated: https://www.rfc-editor.org/rfc/rfc2765#section-2.1
  { in: cidr("::ffff:0:0:0/96"), at: 12 },
  // NAT64: https://www.rfc-editor.org/rfc/rfc6052#section-2.1, https://www.rfc-editor.org/rfc/rfc8215
  { in: cidr("64:ff9b::/96"), at: 12 },
  { in: cidr("64:ff9b:1::/48"), at: 12 },
  // 6to4: https://www.rfc-editor.org/rfc/rfc3056#section-2
  { in: cidr("2002::/16"), at: 2 },
  // Teredo: https://www.rfc-editor.org/rfc/rfc4380#section-4
  { in: cidr("2001::/32"), at: 12, mask: 0xffff_ffff },
];

/** https://www.rfc-editor.org/rfc/rfc5214#section-6.1: ISATAP interface identifiers, in any network. */
const ISATAP = ["\x00\x00\x5e\xfe", "\x02\x00\x5e\xfe"];

/** The IPv4 addresses that an IPv6 address may be taken for. */
export function embeddedV4(address: Address): number[] {
  if (typeof address === "number") return [];
  const at = (index: number): number =>
    ((wordAt(address, index / 2) << 16) | wordAt(address, index / 2 + 1)) >>> 0;
  const found = EMBEDDINGS.filter((one) => contains(one.in, address)).map(
    (one) => (at(one.at) ^ (one.mask ?? 0)) >>> 0,
  );
  return ISATAP.includes(address.slice(8, 12)) ? [...found, at(12)] : found;
}
