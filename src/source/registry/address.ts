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
