/** This host's own addresses: a guest's network has to keep clear of them, and a guest must not take them for others. */
import { readFileSync } from "node:fs";
import { networkInterfaces } from "node:os";
import type { Address } from "./address.ts";
import { cidr, contains, parseAddress } from "./address.ts";

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

const LINK_LOCAL = cidr("fe80::/10");

const IPV6_ROUTES = "/proc/net/ipv6_route";
/** https://docs.kernel.org/networking/ipv6.html: destination, its prefix length, …, flags, interface */
const DEFAULT_ROUTE = /^0{32} 00 .* ([0-9a-f]{8}) +(?!lo$)\S+$/;
const REJECTS = 0x0200;

/** passt uses IPv6 where there is a way out by it. */
export function hasIpv6Route(routes: string): boolean {
  return routes.split("\n").some((line) => {
    const flags = DEFAULT_ROUTE.exec(line.trim())?.[1];
    return flags !== undefined && (Number.parseInt(flags, 16) & REJECTS) === 0;
  });
}

function readRoutes(): string {
  try {
    return readFileSync(IPV6_ROUTES, "latin1");
  } catch {
    // A kernel without IPv6 has none.
    return "";
  }
}

/** Of the interfaces that are up, but for the loopback's and those of one link only. None without a way out. */
export function outwardIpv6(): Address[] {
  if (!hasIpv6Route(readRoutes())) return [];
  return Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .filter(({ family, internal }) => family === "IPv6" && !internal)
    .flatMap(({ address }) => parseAddress(address) ?? [])
    .filter((address) => !contains(LINK_LOCAL, address));
}

const FRESH_MS = 5_000;

/** Whether an address is one of the host's, as it was some seconds ago at most. */
export function hostAddresses(now: () => number = () => performance.now()): (address: Address) => boolean {
  let known = new Set<Address>();
  let seenMs = Number.NEGATIVE_INFINITY;
  return (address) => {
    if (now() - seenMs > FRESH_MS) {
      seenMs = now();
      const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
      known = new Set(all.flatMap((one) => parseAddress(one.address.replace(/%.*$/, "")) ?? []));
    }
    return known.has(address);
  };
}

/** Networks that are the guest's alone: a /24, and a /64 where the host has IPv6. */
export interface GuestSubnet {
  readonly address: string;
  readonly gateway: string;
  readonly prefixLength: number;
  readonly ipv6?: { readonly address: string; readonly gateway: string; readonly prefixLength: number };
}

/** The first is what QEMU and VirtualBox give to their guests too, so a host that is a guest itself may have it. */
const CANDIDATES = ["10.0.2", "10.0.3", "192.168.127", "172.31.254"] as const;
const PREFIX_LENGTH = 24;

/** https://www.rfc-editor.org/rfc/rfc4193: unique local, with a subnet id for a host that is such a guest itself. */
const IPV6_PREFIX = "fd66:6c61:6d65";
const IPV6_PREFIX_LENGTH = 64;
const IPV6_SUBNETS = 4;

/**
 * Addresses for a guest that none of `taken` overlaps. passt takes a datagram from the guest's own address for
 * one from the host, so the guest must not have an address that the host has.
 * @param ipv6 the host's outward addresses; a host without gives its guests none
 */
export function chooseGuestSubnet(
  taken: readonly InterfaceAddress[],
  ipv6: readonly Address[] = [],
): GuestSubnet {
  const prefix =
    CANDIDATES.find((one) => !taken.some((other) => overlaps(`${one}.0`, other))) ?? CANDIDATES[0];
  const subnet = { address: `${prefix}.15`, gateway: `${prefix}.2`, prefixLength: PREFIX_LENGTH };
  if (ipv6.length === 0) return subnet;
  const networks = Array.from({ length: IPV6_SUBNETS }, (_, i) => `${IPV6_PREFIX}:${i === 0 ? "" : i}`);
  const free = networks.find(
    (one) => !ipv6.some((other) => contains(cidr(`${one.replace(/:$/, "")}::/64`), other)),
  );
  const chosen = (free ?? networks[0] ?? "").replace(/:$/, "");
  return {
    ...subnet,
    ipv6: { address: `${chosen}::15`, gateway: `${chosen}::2`, prefixLength: IPV6_PREFIX_LENGTH },
  };
}

export function overlaps(network: string, { address, netmask }: InterfaceAddress): boolean {
  const mask = numberOf(netmask) & (-1 << (32 - PREFIX_LENGTH));
  return ((numberOf(network) ^ numberOf(address)) & mask) === 0;
}

function numberOf(address: string): number {
  return address.split(".").reduce((sum, part) => (sum << 8) | Number(part), 0);
}
