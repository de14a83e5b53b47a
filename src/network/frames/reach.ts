/** How far a packet goes: over the link and no further, to many, or out. */
import type { Address, Cidr } from "../address.ts";
import { contains } from "../address.ts";

/** https://www.rfc-editor.org/rfc/rfc4291#section-2.5.6 */
export function isLinkLocal(address: string): boolean {
  return address.charCodeAt(0) === 0xfe && (address.charCodeAt(1) & 0xc0) === 0x80;
}

/** Router and neighbour discovery, and who listens to which group: of the link, and no further. */
export function isNeighbourhood(icmpType: number): boolean {
  return (icmpType >= 130 && icmpType <= 137) || icmpType === 143 || (icmpType >= 141 && icmpType <= 153);
}

/** Multicast and broadcast go nowhere, and are nothing to tell of: every system sends some. */
export function isForMany(destination: Address, subnets: readonly Cidr[]): boolean {
  if (typeof destination === "string") return destination.charCodeAt(0) === 0xff;
  if (destination >>> 28 === 0xe || destination === 0xffff_ffff) return true;
  return subnets.some(
    (subnet) =>
      typeof subnet.address === "number" &&
      contains(subnet, destination) &&
      (destination | (-1 << (32 - subnet.prefixLength))) === -1,
  );
}
