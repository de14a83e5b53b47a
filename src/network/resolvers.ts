/**
 * Which name servers a guest can use: the host's, less those on its loopback, which a guest must not reach.
 * Where systemd-resolved or the like stands in between, its own upstream servers are taken, as Docker does. Where there
 * are none but those of the loopback, the host asks them for the guest (dns/forward.ts).
 */
import { readFile } from "node:fs/promises";
import { isIP } from "node:net";
import type { Resolvers } from "./network.ts";

const RESOLV_CONF = "/etc/resolv.conf";
const UPSTREAM_RESOLV_CONF = "/run/systemd/resolve/resolv.conf";
const MAX_BYTES = 64 * 1024;
/** resolv.conf(5): the resolver looks at three name servers. */
const MAX_SERVERS = 3;

/** https://man7.org/linux/man-pages/man5/resolv.conf.5.html; what is not understood is left out */
export function parseResolvConf(text: string): Resolvers {
  const servers: string[] = [];
  let search: readonly string[] = [];
  const options: string[] = [];
  for (const line of text.slice(0, MAX_BYTES).split("\n")) {
    const [keyword, ...values] = line
      .replace(/[#;].*$/, "")
      .trim()
      .split(/\s+/);
    if (keyword === "nameserver" && values[0] !== undefined && isIP(values[0]) !== 0) servers.push(values[0]);
    else if (keyword === "search" || keyword === "domain") search = values.filter(isPlainWord);
    else if (keyword === "options") options.push(...values.filter(isPlainWord));
  }
  return { servers, search, options };
}

function isPlainWord(word: string): boolean {
  return /^[0-9A-Za-z][0-9A-Za-z.:_-]{0,253}$/.test(word);
}

function isLoopback(address: string): boolean {
  return (
    address.startsWith("127.") || address === "::1" || /^::ffff:127\./i.test(address) || address === "0.0.0.0"
  );
}

export interface HostResolvers extends Resolvers {
  /** Those on the host's loopback, which the host itself can ask; only where there are no others. */
  readonly local: readonly string[];
}

/** @param ipv6 whether the guest can ask servers by IPv6 */
export async function hostResolvers(ipv6 = false): Promise<HostResolvers> {
  let local: HostResolvers | undefined;
  for (const path of [RESOLV_CONF, UPSTREAM_RESOLV_CONF]) {
    const text = await readFile(path, "utf8").catch(() => "");
    const parsed = parseResolvConf(text);
    const servers = parsed.servers
      .filter((server) => !isLoopback(server) && (isIP(server) === 4 || ipv6))
      .slice(0, MAX_SERVERS);
    if (servers.length > 0) return { ...parsed, servers, local: [] };
    const own = parsed.servers.filter(isLoopback).slice(0, MAX_SERVERS);
    if (own.length > 0) local ??= { ...parsed, servers: [], local: own };
  }
  return local ?? { servers: [], search: [], options: [], local: [] };
}

export function formatResolvConf(resolvers: Resolvers): string {
  const lines = resolvers.servers.map((server) => `nameserver ${server}`);
  if (resolvers.search.length > 0) lines.push(`search ${resolvers.search.join(" ")}`);
  if (resolvers.options.length > 0) lines.push(`options ${resolvers.options.join(" ")}`);
  return lines.map((line) => `${line}\n`).join("");
}
