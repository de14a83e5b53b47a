/**
 * What a chain of plugins says that it has made.
 * https://github.com/containernetworking/cni/blob/spec-v1.0.0/SPEC.md#add-success
 */
import { messageOf } from "../../util/error.ts";
import { printable } from "../../util/printable.ts";
import type { Address } from "../address.ts";
import { formatAddress, parseAddress, parseCidr } from "../address.ts";
import type { Resolvers } from "../network.ts";
import { NetworkError } from "../network.ts";
import type { JsonObject } from "./config.ts";
import { isObject } from "./config.ts";

export interface CniAddress {
  readonly address: Address;
  readonly prefixLength: number;
  readonly gateway: Address | undefined;
}

export interface CniResult {
  /** As the plugin said it, for the next one. */
  readonly raw: JsonObject;
  /** Of the machine's interface, at least one. */
  readonly addresses: readonly CniAddress[];
  /** Of the default routes: one of IPv4 and one of IPv6 at most. */
  readonly gateways: readonly Address[];
  /** Routes to somewhere in particular, which the machine is not given: `10.0.0.0/8`. */
  readonly otherRoutes: readonly string[];
  readonly dns: Resolvers;
}

/** The machine takes no more. */
const MAX_ADDRESSES = 16;
const MAX_ENTRIES = 256;
/** resolv.conf(5) */
const MAX_SERVERS = 3;
const MAX_WORDS = 16;
const WORD = /^[0-9A-Za-z_][0-9A-Za-z.:_-]{0,253}$/;

/**
 * @param interfaceName in the machine's namespace
 * @throws NetworkError `cni-bad-result`
 */
export function parseResult(text: string, interfaceName: string): CniResult {
  let raw: unknown;
  try {
    raw = JSON.parse(text);
  } catch (error) {
    throw bad(`it is no JSON (${printable(messageOf(error), 120)})`);
  }
  if (!isObject(raw)) throw bad("it is no object");
  const own = ownInterfaces(raw, interfaceName);
  const addresses = list(raw, "ips").flatMap((ip) => {
    if (!isObject(ip)) throw bad("an address is no object");
    const { interface: index } = ip;
    return index === undefined || own === undefined || own.has(index) ? [addressOf(ip)] : [];
  });
  if (addresses.length === 0) throw bad(`${interfaceName} has no address`);
  if (addresses.length > MAX_ADDRESSES)
    throw bad(`${interfaceName} has more than ${MAX_ADDRESSES} addresses`);
  return { raw, addresses, ...routesOf(raw, addresses), dns: dnsOf(raw) };
}

function bad(why: string): NetworkError {
  return new NetworkError("cni-bad-result", `what the network's plugins said makes no sense: ${why}`);
}

function list(from: JsonObject, name: string): readonly unknown[] {
  const value = from[name] ?? [];
  if (!Array.isArray(value) || value.length > MAX_ENTRIES)
    throw bad(`${name} is no list of at most ${MAX_ENTRIES}`);
  return value;
}

/** Numbers of those in the namespace; undefined where nothing is said of interfaces. */
function ownInterfaces(raw: JsonObject, interfaceName: string): ReadonlySet<unknown> | undefined {
  const all = list(raw, "interfaces");
  if (all.length === 0) return undefined;
  const own = all.flatMap((one, index) =>
    isObject(one) &&
    one["name"] === interfaceName &&
    typeof one["sandbox"] === "string" &&
    one["sandbox"] !== ""
      ? [index]
      : [],
  );
  if (own.length === 0) throw bad(`no interface is ${interfaceName} in the machine's namespace`);
  return new Set(own);
}

function addressOf({ address: text, gateway }: JsonObject): CniAddress {
  const cidr = typeof text === "string" && text.includes("/") ? parseCidr(text) : undefined;
  if (cidr === undefined) throw bad("an address has no prefix length, or is none");
  return { ...cidr, gateway: gatewayOf(gateway, cidr.address) };
}

/** @param like of the same family */
function gatewayOf(value: unknown, like: Address): Address | undefined {
  if (value === undefined || value === null || value === "") return undefined;
  const gateway = typeof value === "string" ? parseAddress(value) : undefined;
  if (gateway === undefined || typeof gateway !== typeof like)
    throw bad("a gateway is no address of its network");
  return gateway;
}

function routesOf(
  raw: JsonObject,
  addresses: readonly CniAddress[],
): Pick<CniResult, "gateways" | "otherRoutes"> {
  const gateways = new Map<string, Address>();
  const otherRoutes: string[] = [];
  for (const route of list(raw, "routes")) {
    if (!isObject(route)) throw bad("a route is no object");
    const { dst, gw } = route;
    const target = typeof dst === "string" ? parseCidr(dst) : undefined;
    if (target === undefined) throw bad("a route's dst is no network");
    const family = typeof target.address;
    if (target.prefixLength !== 0) {
      otherRoutes.push(`${formatAddress(target.address)}/${target.prefixLength}`);
      continue;
    }
    // Without one of its own it goes by way of the network's.
    const gateway =
      gatewayOf(gw, target.address) ??
      addresses.find((one) => typeof one.address === family && one.gateway !== undefined)?.gateway;
    if (gateway !== undefined && !gateways.has(family)) gateways.set(family, gateway);
  }
  return { gateways: [...gateways.values()], otherRoutes };
}

function dnsOf(raw: JsonObject): Resolvers {
  const dns = raw["dns"] ?? {};
  if (!isObject(dns)) throw bad("dns is no object");
  const words = (name: string): string[] =>
    list(dns, name).flatMap((word) => (typeof word === "string" && WORD.test(word) ? [word] : []));
  const domain = typeof dns["domain"] === "string" && WORD.test(dns["domain"]) ? [dns["domain"]] : [];
  return {
    servers: words("nameservers")
      .filter((server) => parseAddress(server) !== undefined)
      .slice(0, MAX_SERVERS),
    search: [...new Set([...domain, ...words("search")])].slice(0, MAX_WORDS),
    options: words("options").slice(0, MAX_WORDS),
  };
}
