/**
 * Proxies, as curl and Go's programs know them from the environment; here they are only values.
 *
 *     https://ghcr.io ─► NO_PROXY names it? ─► no proxy
 *                                  │ no
 *                                  └─► HTTPS_PROXY ─► CONNECT ghcr.io:443
 */
import { BlockList, isIP } from "node:net";
import { quote } from "../../util/printable.ts";
import { SourceError } from "../error.ts";
import { isLoopback } from "./address.ts";

export interface Proxies {
  /** URL of the proxy for http. */
  readonly http?: string | undefined;
  /** URL of the proxy for https. */
  readonly https?: string | undefined;
  /** NO_PROXY: hosts, domains, addresses, networks, `*`, separated by commas. */
  readonly except?: string | undefined;
}

function isInNetwork(address: string, rule: string): boolean {
  const [network = "", bits] = rule.split("/");
  const family = isIP(network) === 6 ? "ipv6" : "ipv4";
  const prefix = Number(bits);
  if (bits === undefined || isIP(network) === 0 || isIP(address) !== isIP(network)) return false;
  if (!Number.isInteger(prefix) || prefix < 0 || prefix > (family === "ipv6" ? 128 : 32)) return false;
  const list = new BlockList();
  list.addSubnet(network, prefix, family);
  return list.check(address, family);
}

function portOf(url: URL): string {
  return url.port || (url.protocol === "https:" ? "443" : "80");
}

/** `example.com` is that host and all below it, `.example.com` only those below; a port narrows it. */
function matches(url: URL, rule: string): boolean {
  if (rule === "*") return true;
  const host = url.hostname.replace(/^\[|\]$/g, "").toLowerCase();
  if (rule.includes("/")) return isInNetwork(host, rule);
  const address = rule.replace(/^\[|\]$/g, "");
  if (isIP(address) !== 0) return address === host;
  const [, name = "", port] = /^(.*?)(?::(\d+))?$/.exec(rule) ?? [];
  if (port !== undefined && port !== portOf(url)) return false;
  const plain = name.replace(/^\*?\.?/, "").replace(/^\[|\]$/g, "");
  if (plain === "") return false;
  return host.endsWith(`.${plain}`) || (host === plain && !/^\*?\./.test(name));
}

/**
 * The proxy for a request; undefined for none. What is on this machine is asked directly, as Go does it.
 * @throws SourceError `invalid-proxy`
 */
export function proxyFor(url: URL, { http, https, except = "" }: Proxies): URL | undefined {
  const text = url.protocol === "https:" ? https : http;
  if (!text || isLoopback(url.hostname)) return undefined;
  const rules = except.split(/[,\s]+/).filter((rule) => rule !== "");
  if (rules.some((rule) => matches(url, rule.toLowerCase()))) return undefined;
  return parseProxy(text);
}

/** Both spellings: the proxy looks names up. */
export function isSocks({ protocol }: URL): boolean {
  return protocol === "socks5:" || protocol === "socks5h:";
}

function isUsable(proxy: URL): boolean {
  if (proxy.hostname === "") return false;
  if (!isSocks(proxy)) return ["http:", "https:"].includes(proxy.protocol);
  try {
    // socks.ts takes them apart.
    return decodeURIComponent(proxy.username + proxy.password) !== undefined;
  } catch {
    return false;
  }
}

function parseProxy(text: string): URL {
  const whole = text.includes("://") ? text : `http://${text}`;
  const proxy = URL.canParse(whole) ? new URL(whole) : undefined;
  if (proxy && isUsable(proxy)) return proxy;
  // Behind the scheme there may be a password.
  const shown = quote(text.replace(/\/\/[^/]*@/, "//…@"), 80);
  throw new SourceError("invalid-proxy", `the proxy ${shown} is no URL that FlameBox can use`, {
    hint: "write http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT in HTTPS_PROXY or ALL_PROXY, or unset it",
  });
}
