/**
 * Where a guest gets only when somebody has asked for it by its address, and where never: what would mean the host
 * itself, and what speaks to whoever is on the host's link as to the host.
 */
import type { Address, Cidr } from "../address.ts";
import { cidr, contains, embeddedV4, isWithin } from "../address.ts";

interface Range {
  readonly in: Cidr;
  readonly what: string;
  /** Whether a rule that names it opens it. */
  readonly opens: boolean;
}

const range = (text: string, what: string, opens = false): Range => ({ in: cidr(text), what, opens });

/** https://www.iana.org/assignments/iana-ipv4-special-registry and its like for IPv6 */
const RANGES: readonly Range[] = [
  range("127.0.0.0/8", "the host's loopback"),
  range("0.0.0.0/8", "the host itself"),
  range("169.254.0.0/16", "link-local", true),
  range("224.0.0.0/4", "multicast"),
  range("255.255.255.255/32", "broadcast"),
  range("240.0.0.0/4", "reserved"),
  // Where clouds answer their machines, outside of the link-local addresses.
  range("100.100.100.200/32", "a cloud's metadata", true),
  range("168.63.129.16/32", "a cloud's metadata", true),
  range("192.0.0.192/32", "a cloud's metadata", true),
  range("fd00:ec2::/32", "a cloud's metadata", true),
  range("fd20:ce::254/128", "a cloud's metadata", true),
  range("::1/128", "the host's loopback"),
  range("::/128", "the host itself"),
  range("fe80::/10", "link-local"),
  range("fec0::/10", "site-local"),
  range("ff00::/8", "multicast"),
];

export interface Protection {
  /** `link-local`, `an address of the host`: completes "refused: it is …". */
  readonly what: string;
  readonly opens: boolean;
}

const HOST: Protection = { what: "an address of the host", opens: true };

/** Why `address` is not for everybody; undefined when it is like any other. */
export function protectionOf(
  address: Address,
  isHost: (address: Address) => boolean,
): Protection | undefined {
  for (const one of [address, ...embeddedV4(address)]) {
    const found = RANGES.find((each) => contains(each.in, one));
    if (found !== undefined) return found;
    if (isHost(one)) return HOST;
  }
  return undefined;
}

/** Whether a rule for `network` means `address` in particular, and not everything. */
export function namesInParticular(network: Cidr, address: Address): boolean {
  if (!contains(network, address)) return false;
  const own = RANGES.find((each) => contains(each.in, address));
  // An address of the host is alone in being so.
  if (own === undefined) return network.prefixLength === (typeof address === "number" ? 32 : 128);
  return own.opens && isWithin(network, own.in);
}
