/** Which hosts are this machine or its network segment. Takes `URL.hostname`, where `127.1` is already 127.0.0.1. */
import { BlockList, isIP } from "node:net";

const loopback = new BlockList();
loopback.addSubnet("127.0.0.0", 8, "ipv4");
loopback.addAddress("::1", "ipv6");

const linkLocal = new BlockList();
linkLocal.addSubnet("169.254.0.0", 16, "ipv4");
linkLocal.addSubnet("fe80::", 10, "ipv6");
// Connecting to "no address" reaches this machine.
linkLocal.addSubnet("0.0.0.0", 8, "ipv4");
linkLocal.addAddress("::", "ipv6");

function isIn(list: BlockList, hostname: string): boolean {
  const address = hostname.replace(/^\[|\]$/g, "");
  const family = isIP(address);
  return family !== 0 && list.check(address, family === 6 ? "ipv6" : "ipv4");
}

export function isLoopback(hostname: string): boolean {
  return hostname === "localhost" || isIn(loopback, hostname);
}

/** Loopback, link-local (cloud metadata services) or unspecified: no place a remote registry may send us to. */
export function isLocalOnly(hostname: string): boolean {
  return isLoopback(hostname) || isIn(linkLocal, hostname);
}

/** How far away an address is. Each may lead to itself and to what is farther away, never nearer. */
export type Reach = "public" | "private" | "link-local" | "loopback";

const RANKS: Readonly<Record<Reach, number>> = { public: 0, private: 1, "link-local": 2, loopback: 3 };

const privateUse = new BlockList();
for (const [network, prefix] of [
  ["10.0.0.0", 8],
  ["172.16.0.0", 12],
  ["192.168.0.0", 16],
  // Behind a provider's translation, of benchmarks, multicast, reserved and broadcast: no public host is there.
  ["100.64.0.0", 10],
  ["198.18.0.0", 15],
  ["224.0.0.0", 3],
] as const) {
  privateUse.addSubnet(network, prefix, "ipv4");
}
for (const [network, prefix] of [
  ["fc00::", 7],
  ["fec0::", 10],
  ["ff00::", 8],
] as const) {
  privateUse.addSubnet(network, prefix, "ipv6");
}

/** Prefixes of IPv6 that carry an IPv4 address in the 32 bits behind them: NAT64, 6to4. */
const translated = new BlockList();
translated.addSubnet("64:ff9b::", 96, "ipv6");
translated.addSubnet("2002::", 16, "ipv6");

/** The eight groups of an IPv6 address. */
function groupsOf(address: string): number[] {
  const plain = new URL(`http://[${address.replace(/%.*$/s, "")}]`).hostname.slice(1, -1);
  const [head = "", tail] = plain.split("::");
  const parse = (part: string) =>
    part === "" ? [] : part.split(":").map((group) => Number.parseInt(group, 16));
  const [first, last] = [parse(head), parse(tail ?? "")];
  return [...first, ...Array.from({ length: 8 - first.length - last.length }, () => 0), ...last];
}

function embeddedIn(address: string): string | undefined {
  const plain = address.replace(/%.*$/s, "");
  if (isIP(plain) !== 6 || !translated.check(plain, "ipv6")) return undefined;
  const groups = groupsOf(plain);
  const [high = 0, low = 0] = groups[0] === 0x2002 ? groups.slice(1, 3) : groups.slice(6, 8);
  return [high >> 8, high & 255, low >> 8, low & 255].join(".");
}

/** Of an IP address, with or without brackets; what is no address is as near as can be. */
export function reachOf(address: string): Reach {
  const plain = address.replace(/^\[|\]$/g, "").replace(/%.*$/s, "");
  const embedded = embeddedIn(plain);
  if (embedded !== undefined) return reachOf(embedded);
  if (isIP(plain) === 0 || isLoopback(plain)) return "loopback";
  if (isIn(linkLocal, plain)) return "link-local";
  return isIn(privateUse, plain) ? "private" : "public";
}

/** Whether a registry at the one may send us to the other. */
export function mayLeadTo(from: Reach, to: Reach): boolean {
  return RANKS[to] <= RANKS[from];
}
