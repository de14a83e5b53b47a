/**
 * What a rule says: `TARGET[:PORTS][/PROTOCOL]`.
 *
 *     10.0.0.0/8        192.0.2.7:443/tcp       [fd00::/8]:53       *:53/udp
 *     example.com       *.example.com:80,443    deb.debian.org/tcp  *
 */
import { quote } from "../../util/printable.ts";
import type { Cidr } from "../address.ts";
import { parseCidr } from "../address.ts";
import { NetworkError } from "../network.ts";

export type Transport = "tcp" | "udp" | "icmp";

export interface Rule {
  /** As it was written. */
  readonly text: string;
  readonly target:
    | { readonly kind: "any" }
    | { readonly kind: "network"; readonly network: Cidr }
    /** Lower case; `subdomains` and not the name itself for one that began with `*.`. */
    | { readonly kind: "name"; readonly name: string; readonly subdomains: boolean };
  /** Undefined is every port. */
  readonly ports: readonly (readonly [first: number, last: number])[] | undefined;
  readonly transport: Transport | undefined;
}

const MAX_RULE_LENGTH = 400;
const MAX_PORTS = 64;
const LABEL = /^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$/;
const HINT =
  "write TARGET[:PORTS][/tcp|udp|icmp], as in 10.0.0.0/8, [fd00::/8]:443 or *.example.com:80,443/tcp";

/** @throws NetworkError `invalid-rule` */
export function parseRule(text: string): Rule {
  const refuse = (why: string): never => {
    throw new NetworkError("invalid-rule", `the rule ${quote(text)} cannot be read: ${why}`, { hint: HINT });
  };
  if (text.length > MAX_RULE_LENGTH) refuse(`it is longer than ${MAX_RULE_LENGTH} characters`);
  const [, body = "", protocol] = /^(.*?)(?:\/(tcp|udp|icmp))?$/is.exec(text) ?? [];
  const transport = protocol?.toLowerCase() as Transport | undefined;
  const { name, ports: portText } = splitPorts(body);
  const ports = portText === undefined ? undefined : parsePorts(portText);
  if (portText !== undefined && ports === undefined)
    refuse(`${quote(portText)} is no list of ports from 1 to 65535`);
  if (ports !== undefined && transport === "icmp") refuse("icmp has no ports");
  const target = parseTarget(name) ?? refuse(`${quote(name)} is neither a network nor a name`);
  return { text, target, ports, transport };
}

/** An IPv6 network with ports is in brackets; one without may be. */
function splitPorts(body: string): { readonly name: string; readonly ports: string | undefined } {
  const bracketed = /^\[([^\]]*)\](\/\d{1,3})?(?::(.*))?$/s.exec(body);
  if (bracketed !== null) return { name: `${bracketed[1] ?? ""}${bracketed[2] ?? ""}`, ports: bracketed[3] };
  const colon = body.indexOf(":");
  if (colon < 0 || body.includes(":", colon + 1)) return { name: body, ports: undefined };
  return { name: body.slice(0, colon), ports: body.slice(colon + 1) };
}

function parsePorts(text: string): [number, number][] | undefined {
  const parts = text.split(",");
  if (parts.length > MAX_PORTS) return undefined;
  const ranges: [number, number][] = [];
  for (const part of parts) {
    const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(part);
    const first = Number(match?.[1]);
    const last = Number(match?.[2] ?? match?.[1]);
    if (!(first >= 1 && last >= first && last <= 65_535)) return undefined;
    ranges.push([first, last]);
  }
  return ranges;
}

function parseTarget(text: string): Rule["target"] | undefined {
  if (text === "*") return { kind: "any" };
  const network = parseCidr(text);
  if (network !== undefined) return { kind: "network", network };
  const lower = text.toLowerCase().replace(/\.$/, "");
  const subdomains = lower.startsWith("*.");
  const name = subdomains ? lower.slice(2) : lower;
  const labels = name.split(".");
  // Four numbers are an address that somebody mistyped, and no name ends in one.
  const isNumber = /^(\d+|0x[0-9a-f]*)$/.test(labels.at(-1) ?? "");
  if (name.length > 253 || isNumber || !labels.every((label) => LABEL.test(label))) return undefined;
  return { kind: "name", name, subdomains };
}

export function matchesName({ target }: Rule, name: string): boolean {
  if (target.kind !== "name") return false;
  return target.subdomains ? name.endsWith(`.${target.name}`) : name === target.name;
}

/** `transport` undefined is anything but the three. */
export function matchesPort(rule: Rule, transport: Transport | undefined, port: number): boolean {
  if (rule.transport !== undefined && rule.transport !== transport) return false;
  if (rule.ports === undefined) return true;
  if (transport !== "tcp" && transport !== "udp") return false;
  return rule.ports.some(([first, last]) => port >= first && port <= last);
}
