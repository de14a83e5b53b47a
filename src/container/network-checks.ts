/** What of the network a container can have on this host. */
import { readFile } from "node:fs/promises";
import { outwardIpv6 } from "../network/host-address.ts";
import { hostResolvers } from "../network/resolvers.ts";
import type { Check } from "./doctor.ts";

const PING_GROUPS = "/proc/sys/net/ipv4/ping_group_range";
/** passt gives root's rights up and becomes nobody. */
const NOBODY = 65_534;

export function networkChecks(): Promise<Check>[] {
  return [checkPing(), checkIpv6(), checkNames()];
}

/** https://docs.kernel.org/networking/ip-sysctl.html, ping_group_range */
export function mayPing(range: string, groups: readonly number[]): boolean {
  const [first, last] = range.trim().split(/\s+/).map(Number);
  if (first === undefined || last === undefined) return false;
  return groups.some((group) => group >= first && group <= last);
}

async function checkPing(): Promise<Check> {
  const name = "ping";
  const range = await readFile(PING_GROUPS, "latin1").catch(() => "1 0");
  const own =
    process.getuid?.() === 0 ? [NOBODY] : [...(process.getgroups?.() ?? []), process.getgid?.() ?? 0];
  if (mayPing(range, own)) return { name, status: "ok", detail: "containers can send echo requests" };
  return {
    name,
    status: "warning",
    detail: `containers get no answer to ping: ${PING_GROUPS} is ${JSON.stringify(range.trim().replace(/\s+/g, " "))}`,
    hint: 'as root: sysctl -w net.ipv4.ping_group_range="0 2147483647"',
  };
}

async function checkIpv6(): Promise<Check> {
  const has = outwardIpv6().length > 0;
  const detail = has
    ? "containers have it"
    : "this host has no address, so containers reach each other by it only";
  return { name: "IPv6", status: "ok", detail };
}

async function checkNames(): Promise<Check> {
  const name = "name servers";
  const { servers, local } = await hostResolvers(outwardIpv6().length > 0);
  if (servers.length > 0) return { name, status: "ok", detail: servers.join(", ") };
  if (local.length > 0) return { name, status: "ok", detail: `${local.join(", ")}, asked by the host` };
  const hint = "name one with --dns, or in /etc/resolv.conf";
  return { name, status: "warning", detail: "none: containers find no names", hint };
}
