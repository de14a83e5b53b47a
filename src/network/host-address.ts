/** This host's own IPv4 addresses, as far as a guest's network has to keep clear of them or needs one. */
import { networkInterfaces } from "node:os";

export interface InterfaceAddress {
  readonly address: string;
  readonly netmask: string;
}

/** Of the interfaces that are up, less the loopback's; the order is the system's. */
export function outwardAddresses(): InterfaceAddress[] {
  return Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .filter(({ family, internal }) => family === "IPv4" && !internal)
    .map(({ address, netmask }) => ({ address, netmask }));
}

/** A /24 that is the guest's alone. */
export interface GuestSubnet {
  readonly address: string;
  readonly gateway: string;
  readonly prefixLength: number;
}

/** The first is what QEMU and VirtualBox give to their guests too, so a host that is a guest itself may have it. */
const CANDIDATES = ["10.0.2", "10.0.3", "192.168.127", "172.31.254"] as const;
const PREFIX_LENGTH = 24;

/**
 * Addresses for a guest that none of `taken` overlaps. passt takes a datagram from the guest's own address for
 * one from the host, so the guest must not have an address that the host has.
 */
export function chooseGuestSubnet(taken: readonly InterfaceAddress[]): GuestSubnet {
  const prefix =
    CANDIDATES.find((one) => !taken.some((other) => overlaps(`${one}.0`, other))) ?? CANDIDATES[0];
  return { address: `${prefix}.15`, gateway: `${prefix}.2`, prefixLength: PREFIX_LENGTH };
}

function overlaps(network: string, { address, netmask }: InterfaceAddress): boolean {
  const mask = numberOf(netmask) & (-1 << (32 - PREFIX_LENGTH));
  return ((numberOf(network) ^ numberOf(address)) & mask) === 0;
}

function numberOf(address: string): number {
  return address.split(".").reduce((sum, part) => (sum << 8) | Number(part), 0);
}
