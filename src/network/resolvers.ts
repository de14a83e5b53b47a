/**
 * Which name servers a guest can use: the host's, less those on its loopback, which a guest must not reach.
 * Where systemd-resolved or the like stands in between, its own upstream servers are taken, as Docker does.
 */
import { readFile } from "node:fs/promises";
import { isIP } from "node:net";

const RESOLV_CONF = "/etc/resolv.conf";
const UPSTREAM_RESOLV_CONF = "/run/systemd/resolve/resolv.conf";
const MAX_BYTES = 64 * 1024;
/** resolv.conf(5): the resolver looks at three name servers. */
const MAX_SERVERS = 3;

export interface Resolvers {
  readonly servers: readonly string[];
  readonly search: readonly string[];
  readonly options: readonly string[];
}

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

/** Only IPv4 servers are given out, as the guest's network has no IPv6 yet. */
export async function hostResolvers(): Promise<Resolvers> {
  for (const path of [RESOLV_CONF, UPSTREAM_RESOLV_CONF]) {
    const text = await readFile(path, "utf8").catch(() => "");
    const parsed = parseResolvConf(text);
    const servers = parsed.servers
      .filter((server) => isIP(server) === 4 && !isLoopback(server))
      .slice(0, MAX_SERVERS);
    if (servers.length > 0) return { ...parsed, servers };
  }
  return { servers: [], search: [], options: [] };
}

export function formatResolvConf(resolvers: Resolvers): string {
  const lines = resolvers.servers.map((server) => `nameserver ${server}`);
  if (resolvers.search.length > 0) lines.push(`search ${resolvers.search.join(" ")}`);
  if (resolvers.options.length > 0) lines.push(`options ${resolvers.options.join(" ")}`);
  return lines.map((line) => `${line}\n`).join("");
}
