/**
 * Where a guest may go. Decided for a destination when its first packet is seen, and remembered.
 *
 *     deny rules ─► protected addresses, unless a rule names one ─► allow rules ─► what is usual
 *
 * A rule with a name holds for the addresses that DNS gave for it (names.ts), as the frames that passed by told. So
 * DNS goes only to the container's own resolvers then.
 */
import type { Address } from "../address.ts";
import { contains, embeddedV4 } from "../address.ts";
import { NameTable } from "./names.ts";
import type { NamedAddress } from "./names.ts";
import { namesInParticular, protectionOf } from "./protected.ts";
import type { Rule, Transport } from "./rules.ts";
import { matchesName, matchesPort, parseRule } from "./rules.ts";

export interface EgressOptions {
  /** What is neither allowed nor denied by a rule; default: `deny` where something is allowed, else `allow`. */
  readonly policy?: "allow" | "deny" | undefined;
  /** `TARGET[:PORTS][/PROTOCOL]`: policy/rules.ts */
  readonly allow?: readonly string[] | undefined;
  /** Count more than `allow`. */
  readonly deny?: readonly string[] | undefined;
}

export interface Verdict {
  readonly allowed: boolean;
  /** Of a refusal: `link-local`, `no rule allows it`. */
  readonly reason: string;
  /** When it has to be asked again, in the clock's time. */
  readonly untilMs: number;
}

export interface PolicyOptions {
  readonly egress?: EgressOptions | undefined;
  /** Those that the guest is told. */
  readonly resolvers: readonly Address[];
  readonly isHost: (address: Address) => boolean;
  /** A clock in milliseconds that never goes back. */
  readonly now?: (() => number) | undefined;
}

const DNS_PORT = 53;
/** DNS over TLS and QUIC. */
const ENCRYPTED_DNS_PORT = 853;
const MAX_VERDICTS = 8_192;
/** The host's own addresses change, now and then. */
const KEPT_MS = 60_000;
const TRANSPORTS: Readonly<Record<number, Transport>> = { 1: "icmp", 6: "tcp", 17: "udp", 58: "icmp" };

export function transportOf(protocol: number): Transport | undefined {
  return TRANSPORTS[protocol];
}

export class Policy {
  /** Whether names decide anything, so that DNS has to be watched. */
  readonly usesNames: boolean;
  /** Whether it says anything but what holds for every container. */
  readonly isGiven: boolean;
  readonly #allow: readonly Rule[];
  readonly #deny: readonly Rule[];
  readonly #usual: "allow" | "deny";
  readonly #resolvers: ReadonlySet<Address>;
  readonly #isHost: (address: Address) => boolean;
  readonly #now: () => number;
  readonly #names: NameTable;
  /** The oldest first. */
  readonly #verdicts = new Map<Address, Verdict>();

  /** @throws NetworkError `invalid-rule` */
  constructor({ egress = {}, resolvers, isHost, now = () => performance.now() }: PolicyOptions) {
    this.#allow = (egress.allow ?? []).map(parseRule);
    this.#deny = (egress.deny ?? []).map(parseRule);
    this.#usual = egress.policy ?? (this.#allow.length > 0 ? "deny" : "allow");
    this.usesNames = [...this.#allow, ...this.#deny].some(({ target }) => target.kind === "name");
    this.isGiven = this.#usual === "deny" || this.#allow.length > 0 || this.#deny.length > 0;
    this.#resolvers = new Set(resolvers);
    this.#isHost = isHost;
    this.#now = now;
    this.#names = new NameTable(now);
  }

  /** Whether what is sent there is a question to one of the container's own resolvers. */
  isResolver(address: Address, port: number): boolean {
    return port === DNS_PORT && this.#resolvers.has(address);
  }

  learn(named: NamedAddress): void {
    this.#names.learn(named);
    // It may have been refused as long as it had no name; or the name may be a refused one.
    for (const rule of [...this.#allow, ...this.#deny])
      if (matchesName(rule, named.name)) this.#forget(named.address);
  }

  /** All that DNS called it and still holds. */
  namesOf(address: Address): readonly string[] {
    return this.#names.of(address).map(([name]) => name);
  }

  /** Whether the container may ask for a name: what it may not reach, it need not know, nor tell anybody by asking. */
  mayAsk(name: string): boolean {
    if (this.#deny.some((rule) => matchesName(rule, name))) return false;
    if (this.#usual === "allow" || !this.usesNames) return true;
    return this.#allow.some((rule) => rule.target.kind === "any" || matchesName(rule, name));
  }

  /** @param port 0 for what has none. @param begins whether it can begin a connection */
  judge(protocol: number, address: Address, port: number, begins: boolean): Verdict {
    const key = keyOf(protocol, address, port);
    const known = this.#verdicts.get(key);
    // What was allowed by a name goes on when the name's time is over; it can only not begin again.
    if (known !== undefined && (known.untilMs > this.#now() || (known.allowed && !begins))) return known;
    const verdict = this.#decide(transportOf(protocol), address, port);
    this.#verdicts.delete(key);
    const [oldest] = this.#verdicts.keys();
    if (oldest !== undefined && this.#verdicts.size >= MAX_VERDICTS) this.#verdicts.delete(oldest);
    this.#verdicts.set(key, verdict);
    return verdict;
  }

  #forget(address: Address): void {
    if (typeof address === "number") {
      for (const key of this.#verdicts.keys())
        if (typeof key === "number" && key % V4_SPAN === address) this.#verdicts.delete(key);
    } else
      for (const key of this.#verdicts.keys())
        if (typeof key === "string" && key.startsWith(address)) this.#verdicts.delete(key);
  }

  #decide(transport: Transport | undefined, address: Address, port: number): Verdict {
    const until = this.#now() + KEPT_MS;
    const refuse = (reason: string): Verdict => ({ allowed: false, reason, untilMs: until });
    const allow = (untilMs = until): Verdict => ({ allowed: true, reason: "", untilMs });
    const protection = protectionOf(address, this.#isHost);
    const mayAsk = this.#usual === "allow" || this.usesNames;
    // A resolver on a loopback is the container's own, or nobody's: that address of the host's stays closed.
    const isAnywhere = protection === undefined || protection.opens;
    if (
      this.isResolver(address, port) &&
      (transport === "udp" || transport === "tcp") &&
      mayAsk &&
      isAnywhere
    )
      return allow();
    const denying = this.#firstOf(this.#deny, transport, address, port);
    if (denying !== undefined) return refuse(`--egress-deny ${denying.rule.text}`);
    if (protection !== undefined) {
      const asked = protection.opens && this.#allow.some((rule) => isFor(rule, transport, address, port));
      return asked ? allow() : refuse(`it is ${protection.what}`);
    }
    const isDns = port === DNS_PORT || port === ENCRYPTED_DNS_PORT;
    if (this.usesNames && isDns && !this.#allow.some((rule) => isFor(rule, transport, address, port)))
      return refuse("with names in rules, DNS goes to the container's own resolvers only");
    const allowing = this.#firstOf(this.#allow, transport, address, port);
    if (allowing !== undefined) return allow(Math.min(until, allowing.untilMs));
    return this.#usual === "allow" ? allow() : refuse("no rule allows it");
  }

  /** A rule against an IPv4 address counts in every spelling; one that allows it, in its own only. */
  #firstOf(
    rules: readonly Rule[],
    transport: Transport | undefined,
    address: Address,
    port: number,
  ): { readonly rule: Rule; readonly untilMs: number } | undefined {
    const spellings = rules === this.#deny ? [address, ...embeddedV4(address)] : [address];
    for (const rule of rules) {
      const { target } = rule;
      if (!matchesPort(rule, transport, port)) continue;
      if (target.kind === "any") return { rule, untilMs: Number.POSITIVE_INFINITY };
      for (const one of spellings) {
        if (target.kind === "network") {
          if (contains(target.network, one)) return { rule, untilMs: Number.POSITIVE_INFINITY };
        } else {
          const named = this.#names.of(one).find(([name]) => matchesName(rule, name));
          if (named !== undefined) return { rule, untilMs: named[1] };
        }
      }
    }
    return undefined;
  }
}

function isFor(rule: Rule, transport: Transport | undefined, address: Address, port: number): boolean {
  const { target } = rule;
  return (
    target.kind === "network" &&
    namesInParticular(target.network, address) &&
    matchesPort(rule, transport, port)
  );
}

const V4_SPAN = 2 ** 32;

/** Exact as long as it is below 2**53. */
function keyOf(protocol: number, address: Address, port: number): Address {
  const kind = protocol === 6 ? 0 : protocol === 17 ? 1 : transportOf(protocol) === "icmp" ? 2 : 3;
  if (typeof address === "number") return (kind * 65_536 + port) * V4_SPAN + address;
  return address + String.fromCharCode(kind, port);
}
