/**
 * A network of CNI: the machine is where its plugins put it, as any container of the host's is.
 *
 *     VMM ─ socket pair ─ BridgedPath ─ socket pair ─ the agent's program ─ eth0 in a namespace ─ what plugins made
 *
 * Only root can have one: plugins make interfaces, routes and rules of the host's.
 */
import type { Duplex } from "node:stream";
import { CleanupStack } from "../../util/cleanup.ts";
import type { Address } from "../address.ts";
import { contains, formatAddress, parseAddress } from "../address.ts";
import { BridgedPath } from "../frames/bridged.ts";
import { hostAddresses } from "../host-address.ts";
import type { GuestNetwork, Network, PortForward, Resolvers } from "../network.ts";
import { NetworkError, requireRoot } from "../network.ts";
import { Policy } from "../policy/policy.ts";
import type { EgressOptions } from "../policy/policy.ts";
import type { Refusal, RefusalSink } from "../policy/refusals.ts";
import { bothSinks, Refusals } from "../policy/refusals.ts";
import { closeUdpSocket } from "../udp-socket.ts";
import { reservePorts } from "../ports.ts";
import { hostResolvers } from "../resolvers.ts";
import { attach } from "./attachment.ts";
import type { RuntimeConfig } from "./chain.ts";
import type { CniNetworkConfig } from "./config.ts";
import { findConfig } from "./config.ts";
import { Carrier } from "./namespace.ts";
import { PLUGIN_DIRS } from "./plugin.ts";
import type { CniResult } from "./result.ts";

export const CONF_DIR = "/etc/cni/net.d";
const MAX_MTU = 65_535;

/** Where CNI's files are; each absolute. */
export interface CniPlaces {
  /** Default `/etc/cni/net.d`. */
  readonly confDir?: string | undefined;
  /** Where plugins are looked for; default `/opt/cni/bin`, `/usr/lib/cni`, `/usr/libexec/cni`. */
  readonly pluginDirs?: readonly string[] | undefined;
}

export interface CniNetworkOptions {
  /** Of its configuration. */
  readonly network: string;
  readonly places?: CniPlaces | undefined;
  readonly dataDir: string;
  /** Absolute path of the agent's program. */
  readonly helper: string;
  readonly containerId: string;
  readonly ports?: readonly PortForward[] | undefined;
  /** Six bytes in hexadecimal, lower case, with colons. */
  readonly mac?: string | undefined;
  /** Of IPv4 or IPv6, without a prefix length. */
  readonly address?: string | undefined;
  /** Name servers that the guest is told in the place of the network's. */
  readonly dns?: readonly string[] | undefined;
  readonly egress?: EgressOptions | undefined;
  /** Whether somebody wants to call the gateway by a name. */
  readonly needsGateway?: boolean | undefined;
  readonly onRefused?: ((refusal: Refusal) => void) | undefined;
  readonly refusals?: RefusalSink | undefined;
  readonly onNotice?: ((notice: string) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * @throws NetworkError `cni-needs-root`, `network-missing`, `cni-bad-config`, `cni-unsupported`, `cni-plugin-missing`,
 *   `cni-failed`, `cni-bad-result`, `cni-namespace`, `port-in-use`, `invalid-rule`, …
 */
export async function startCniNetwork(options: CniNetworkOptions): Promise<Network> {
  const { network: name, places = {}, dns = [], egress, onNotice, signal } = options;
  requireRoot(name);
  const { confDir = CONF_DIR, pluginDirs = PLUGIN_DIRS } = places;
  const network = await findConfig(confDir, name);
  const ports = await portsOf(network, options.ports ?? []);
  await using cleanup = new CleanupStack();
  const attachment = cleanup.use(
    await attach({
      dataDir: options.dataDir,
      helper: options.helper,
      network,
      pluginDirs,
      containerId: options.containerId,
      ...wishesOf(network, ports, options),
      onNotice,
      signal,
    }),
  );
  const { result } = attachment;
  const carrier = cleanup.use(await Carrier.start(options.helper, attachment.netns, signal));
  checkWishes(options, result, carrier);
  if (result.otherRoutes.length > 0)
    onNotice?.(
      `of the CNI network ${name}, the machine is not given routes to ${result.otherRoutes.join(", ")}`,
    );
  const resolvers = await resolversOf(dns, result);
  const policy = new Policy({
    egress,
    resolvers: resolvers.servers.flatMap((server) => parseAddress(server) ?? []),
    isHost: hostBeyond(result),
  });
  return new CniNetwork({
    guest: guestOf(result, carrier),
    ports,
    resolvers,
    carrier,
    policy,
    refusals: bothSinks(new Refusals(options.onRefused ?? (() => {})), options.refusals),
    result,
    owned: cleanup.move(),
  });
}

function canBeTold(network: CniNetworkConfig, capability: string): boolean {
  return network.plugins.some(({ capabilities }) => capabilities.includes(capability));
}

/** With real host ports. A plugin would take one that somebody listens on, too, and nobody would reach him any more. */
async function portsOf(
  network: CniNetworkConfig,
  wanted: readonly PortForward[],
): Promise<readonly PortForward[]> {
  if (wanted.length === 0) return [];
  if (!canBeTold(network, "portMappings"))
    throw new NetworkError(
      "cni-unsupported",
      `no plugin of the CNI network ${network.name} publishes ports`,
      {
        hint: 'add { "type": "portmap", "capabilities": { "portMappings": true } } to its plugins, or leave out -p',
      },
    );
  const { ports, udp } = await reservePorts(wanted);
  await Promise.all(udp.map(async ({ socket }) => await closeUdpSocket(socket)));
  return ports;
}

/** As capabilities where a plugin declares them; else as arguments, which older ones read. */
function wishesOf(
  network: CniNetworkConfig,
  ports: readonly PortForward[],
  { mac, address }: CniNetworkOptions,
): { readonly runtimeConfig: RuntimeConfig; readonly args: string } {
  const portMappings = ports.map(({ hostAddress, ...port }) => ({ ...port, hostIP: hostAddress }));
  const runtimeConfig = {
    ...(portMappings.length > 0 && { portMappings }),
    ...(address !== undefined && { ips: [address] }),
    ...(mac !== undefined && { mac }),
  };
  const args = [
    "IgnoreUnknown=1",
    ...(address === undefined || canBeTold(network, "ips") ? [] : [`IP=${address}`]),
    ...(mac === undefined || canBeTold(network, "mac") ? [] : [`MAC=${mac}`]),
  ];
  return { runtimeConfig, args: args.join(";") };
}

/** @throws NetworkError `cni-unsupported` for what the plugins did not heed */
function checkWishes(
  { network, address, mac, needsGateway }: CniNetworkOptions,
  { addresses, gateways }: CniResult,
  carrier: Carrier,
): void {
  const refuse = (what: string, hint: string): never => {
    throw new NetworkError("cni-unsupported", `the plugins of the CNI network ${network} ${what}`, { hint });
  };
  const wanted = address === undefined ? undefined : parseAddress(address);
  if (wanted !== undefined && !addresses.some((one) => one.address === wanted))
    refuse(
      `give no address of one's own choice`,
      "leave out --ip, or use a plugin for addresses that heeds it",
    );
  if (mac !== undefined && mac !== carrier.mac)
    refuse("give no MAC address of one's own choice", "leave out --mac-address, or add the plugin tuning");
  if (needsGateway === true && gateways.length === 0)
    refuse("name no gateway, which host-gateway would be", "leave out --add-host …:host-gateway");
}

function guestOf({ addresses, gateways }: CniResult, { mac, mtu }: Carrier): GuestNetwork {
  return {
    mac,
    mtu: Math.min(mtu, MAX_MTU),
    addresses: addresses.map(({ address, prefixLength }) => `${formatAddress(address)}/${prefixLength}`),
    gateways: gateways.map(formatAddress),
  };
}

async function resolversOf(dns: readonly string[], { dns: given, addresses }: CniResult): Promise<Resolvers> {
  if (dns.length === 0 && given.servers.length > 0) return given;
  const host = await hostResolvers(addresses.some(({ address }) => typeof address === "string"));
  return {
    servers: dns.length > 0 ? dns : host.servers,
    search: given.search.length > 0 ? given.search : host.search,
    options: given.options.length > 0 ? given.options : host.options,
  };
}

/** Who joins a network wants its members, of which the host may be one; its other addresses stay protected. */
function hostBeyond({ addresses }: CniResult): (address: Address) => boolean {
  const isHost = hostAddresses();
  return (address) => isHost(address) && !addresses.some((subnet) => contains(subnet, address));
}

interface CniNetworkParts {
  readonly guest: GuestNetwork;
  readonly ports: readonly PortForward[];
  readonly resolvers: Resolvers;
  readonly carrier: Carrier;
  readonly policy: Policy;
  readonly refusals: RefusalSink;
  readonly result: CniResult;
  /** What ends with the network. */
  readonly owned: CleanupStack;
}

class CniNetwork implements Network {
  readonly guest: GuestNetwork;
  readonly ports: readonly PortForward[];
  readonly resolvers: Resolvers;
  readonly failed: Promise<NetworkError>;
  readonly #parts: CniNetworkParts;
  #path: BridgedPath | undefined;
  #disposed: Promise<void> | undefined;

  constructor(parts: CniNetworkParts) {
    this.#parts = parts;
    this.guest = parts.guest;
    this.ports = parts.ports;
    this.resolvers = parts.resolvers;
    this.failed = parts.carrier.failed;
  }

  attach(frames: Duplex): void {
    const { carrier, policy, refusals, result } = this.#parts;
    this.#path = new BridgedPath(frames, carrier.frames, {
      policy,
      refusals,
      mac: Buffer.from(carrier.mac.replaceAll(":", ""), "hex"),
      addresses: result.addresses.map(({ address }) => address),
      subnets: result.addresses,
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#path?.destroy();
    await (this.#disposed ??= this.#parts.owned[Symbol.asyncDispose]());
  }
}
