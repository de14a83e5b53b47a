/**
 * Where connections end, whatever names say.
 *
 *     registry.example ─lookup─► 203.0.113.7 ─► connected: the registry is public
 *          └─ redirects to, or names as token server ─► cdn.example ─lookup─► 10.0.0.5: refused, nobody is connected
 *
 * A registry must not make this machine ask its own network: cloud metadata, routers, services that trust their
 * neighbours. Names can mean anything, and another thing the next moment, so the addresses are looked at, those that
 * the connection is made to. The registry itself was named by the user: where its first connection ends is how near it
 * may lead, and how near its own name may lead from then on.
 *
 * Behind a proxy it is the proxy that connects: there only what a URL itself says can be looked at.
 */
import { lookup as systemLookup } from "node:dns";
import type { LookupAddress } from "node:dns";
import { isIP } from "node:net";
import type { LookupFunction } from "node:net";
import type { buildConnector } from "undici";
import { SourceError } from "../error.ts";
import { mayLeadTo, reachOf } from "./address.ts";
import type { Reach } from "./address.ts";

/** What names and addresses mean here. */
export interface Addressing {
  readonly lookup: LookupFunction;
  readonly reachOf: (address: string) => Reach;
}

export const systemAddressing: Addressing = { lookup: systemLookup, reachOf };

const WORDS: Readonly<Record<Reach, string>> = {
  public: "the internet",
  private: "a private network",
  "link-local": "this machine's network segment",
  loopback: "this machine itself",
};

export class ConnectGuard {
  readonly #registryHostname: string;
  readonly #addressing: Addressing;
  /** Of the registry's first connection. */
  #registryReach: Reach | undefined;

  constructor(registryHostname: string, addressing: Addressing = systemAddressing) {
    this.#registryHostname = registryHostname;
    this.#addressing = addressing;
  }

  /** undici's `connect`, with the addresses looked at. `isRegistry`: for connections to the registry's own name. */
  connector(
    build: typeof buildConnector,
    options: buildConnector.BuildOptions,
    isRegistry: boolean,
  ): buildConnector.connector {
    const connect = build({ ...options, lookup: this.#lookup(isRegistry) });
    return (target, callback) => {
      const literal = target.hostname.replace(/^\[|\]$/g, "");
      // Nobody looks up what is an address already.
      if (isIP(literal) !== 0 && !this.#admits(literal, isRegistry)) {
        callback(this.#refusal(target.hostname, literal), null);
        return;
      }
      connect(target, (...[error, socket]) => {
        if (error !== null) return callback(error, null);
        const address = socket.remoteAddress;
        // A peer that hangs up at once is nowhere: it must not pass for a near one.
        if (address === undefined) {
          socket.destroy();
          return callback(Object.assign(new Error("closed at once"), { code: "ECONNRESET" }), null);
        }
        if (!this.#admits(address, isRegistry)) {
          socket.destroy();
          return callback(this.#refusal(target.hostname, address), null);
        }
        if (isRegistry) this.#registryReach ??= this.#addressing.reachOf(address);
        return callback(null, socket);
      });
    };
  }

  #admits(address: string, isRegistry: boolean): boolean {
    if (isRegistry && this.#registryReach === undefined) return true;
    return mayLeadTo(this.#registryReach ?? "public", this.#addressing.reachOf(address));
  }

  #lookup(isRegistry: boolean): LookupFunction {
    return (hostname, options, callback) => {
      this.#addressing.lookup(hostname, { ...options, all: true }, (error, found) => {
        if (error) return callback(error, []);
        const addresses = found as LookupAddress[];
        const admitted = addresses.filter(({ address }) => this.#admits(address, isRegistry));
        const [first] = admitted;
        if (first === undefined) {
          return callback(this.#refusal(hostname, addresses[0]?.address ?? "no address"), []);
        }
        return options.all === true ? callback(null, admitted) : callback(null, first.address, first.family);
      });
    };
  }

  #refusal(hostname: string, address: string): SourceError {
    const registry = this.#registryHostname;
    const nearer = WORDS[this.#addressing.reachOf(address)];
    const own = WORDS[this.#registryReach ?? "public"];
    const message = `${hostname} is at ${address}, which is ${nearer}; registry ${registry}, on ${own}, must not lead there`;
    return new SourceError("unsafe-address", message, {
      hint: "somebody may be trying to reach into your network through this registry",
    });
  }
}
