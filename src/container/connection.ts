/** A container's network from its options and its image: which ports are published, and what resolv.conf says. */
import { isIP } from "node:net";
import type { GuestNetwork, Network, PortForward, Resolvers } from "../network/network.ts";
import { cniNameOf, requireRoot } from "../network/network.ts";
import { parseRule } from "../network/policy/rules.ts";
import type { Refusal, RefusalSink } from "../network/policy/refusals.ts";
import { describeRefusal } from "../network/policy/refusals.ts";
import { formatResolvConf } from "../network/resolvers.ts";
import { isNetworkName } from "../network/named/record.ts";
import type { Membership } from "../network/site.ts";
import { startUserNetwork } from "../network/user-mode.ts";
import type { ExecutionConfig } from "../oci/config.ts";
import { FlameBoxError } from "../util/error.ts";
import { locatePaths } from "../util/paths.ts";
import { quote } from "../util/printable.ts";
import type { ContainerOptions } from "./options.ts";

const DEFAULT_HOST_ADDRESS = "127.0.0.1";
/** passt takes each as an argument, and the host has not many more free ones. */
const MAX_PORTS = 1_000;

interface Exposed {
  readonly containerPort: number;
  readonly protocol: "tcp" | "udp";
}

/** `80`, `53/udp`, `8000-8010/tcp`; undefined when it is none of these. */
function parseExposed(text: string): Exposed[] | undefined {
  const match = /^(\d{1,5})(?:-(\d{1,5}))?(?:\/(tcp|udp))?$/i.exec(text);
  if (match === null) return undefined;
  const first = Number(match[1]);
  const last = Number(match[2] ?? first);
  const protocol = match[3]?.toLowerCase() === "udp" ? "udp" : "tcp";
  if (first < 1 || last > 65_535 || first > last) return undefined;
  return Array.from({ length: last - first + 1 }, (_, index) => ({ containerPort: first + index, protocol }));
}

function givenExposed({ expose = [] }: ContainerOptions): Exposed[] {
  return expose.flatMap((text) => {
    const ports = parseExposed(text);
    if (ports === undefined)
      throw invalid(
        `${quote(text)} is no port to expose`,
        "write PORT or FIRST-LAST, with /tcp or /udp behind it",
      );
    return ports;
  });
}

/**
 * `80/tcp`: all that somebody has named. What an image says beyond numbers stays as it is.
 * @throws FlameBoxError `invalid-option`
 */
export function exposedPorts(options: ContainerOptions, image: ExecutionConfig): string[] {
  const own = Object.keys(image.ExposedPorts ?? {}).map((text) =>
    /^\d+$/.test(text) ? `${text}/tcp` : text,
  );
  const given = [...givenExposed(options), ...(options.publish ?? [])].map(
    ({ containerPort, protocol }) => `${containerPort}/${protocol}`,
  );
  return [...new Set([...own, ...given])];
}

/** @throws FlameBoxError `invalid-option` */
export function publishedPorts(options: ContainerOptions, image: ExecutionConfig | undefined): PortForward[] {
  const { publish = [], publishAll = false } = options;
  const given = publish.map((port) => ({ ...port, hostAddress: port.hostAddress ?? DEFAULT_HOST_ADDRESS }));
  const exposed = givenExposed(options);
  // What else an image names (sctp, words) has no port to publish.
  const own = Object.keys(image?.ExposedPorts ?? {}).flatMap((text) => parseExposed(text) ?? []);
  const taken = new Set(given.map(({ containerPort, protocol }) => `${containerPort}/${protocol}`));
  const all: PortForward[] = [...given];
  for (const port of publishAll ? [...exposed, ...own] : []) {
    const key = `${port.containerPort}/${port.protocol}`;
    if (taken.has(key)) continue;
    taken.add(key);
    all.push({ ...port, hostAddress: DEFAULT_HOST_ADDRESS, hostPort: 0 });
  }
  if (all.length > MAX_PORTS)
    throw invalid(`${all.length} ports are to be published, at most ${MAX_PORTS} can be`);
  return all;
}

const MAC = /^[0-9a-f]{2}(?::[0-9a-f]{2}){5}$/;

/** @throws FlameBoxError `invalid-option` */
function macOf({ macAddress }: ContainerOptions): string | undefined {
  if (macAddress === undefined) return undefined;
  const mac = macAddress.toLowerCase().replaceAll("-", ":");
  // The lowest bit of the first byte is a group's: no interface can have such an address. Nor none at all.
  const isUnicast = (Number.parseInt(mac.slice(0, 2), 16) & 1) === 0;
  if (!MAC.test(mac) || !isUnicast || mac === "00:00:00:00:00:00")
    throw invalid(
      `${quote(macAddress)} is not the address of a network interface`,
      "write as in 02:00:00:12:34:56",
    );
  return mac;
}

/** @throws FlameBoxError `invalid-option` */
export function checkConnection(options: ContainerOptions): void {
  const { network = "user", publish = [], publishAll = false, egress } = options;
  const mac = macOf(options);
  publishedPorts(options, undefined);
  for (const rule of [...(egress?.allow ?? []), ...(egress?.deny ?? [])]) parseRule(rule);
  checkMembership(options);
  if (network !== "none") return;
  if (wantsHostGateway(options))
    throw invalid("a container without a network has no gateway", "leave out --network none");
  if (publish.length > 0 || publishAll)
    throw invalid("a container without a network cannot publish ports", "leave out --network none or -p");
  if (mac !== undefined) throw invalid("a container without a network has no MAC address");
}

const ALIAS = /^(?=.{1,253}$)[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?$/i;
const MAX_ALIASES = 16;

/** @throws FlameBoxError `invalid-option` */
function checkMembership({ network = "user", networkAliases = [], ipAddress }: ContainerOptions): void {
  const cni = cniNameOf(network);
  if (cni !== undefined) return checkCni(cni, networkAliases, ipAddress);
  const isNamed = network !== "user" && network !== "none";
  if (isNamed && !isNetworkName(network)) throw invalid(`${quote(network)} is not a network's name`);
  if (!isNamed && (networkAliases.length > 0 || ipAddress !== undefined))
    throw invalid(
      "only in a network with a name has a container an address of its own choice, or aliases",
      "make one with: flamebox network create NAME",
    );
  const bad = networkAliases.find((alias) => !ALIAS.test(alias));
  if (bad !== undefined) throw invalid(`${quote(bad)} is not a name for a container in a network`);
  if (networkAliases.length > MAX_ALIASES) throw invalid(`a container has at most ${MAX_ALIASES} aliases`);
}

/** @throws FlameBoxError `invalid-option`; NetworkError `cni-needs-root` */
function checkCni(name: string, aliases: readonly string[], ipAddress: string | undefined): void {
  if (!CNI_NAME.test(name))
    throw invalid(
      `${quote(name)} is not the name of a CNI network`,
      'write cni: and what its file has as "name"',
    );
  if (aliases.length > 0)
    throw invalid(
      "aliases are names in a network of FlameBox's own, and CNI knows none",
      "leave out --network-alias",
    );
  if (ipAddress !== undefined && isIP(ipAddress) === 0)
    throw invalid(`${quote(ipAddress)} is not an IP address`);
  requireRoot(name);
}

const CNI_NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$/;

export interface ContainerNames {
  readonly id: string;
  readonly hostname: string;
}

function membershipOf(options: ContainerOptions, names: ContainerNames): Membership | undefined {
  const { network = "user", networkAliases = [], ipAddress, paths = locatePaths(), name } = options;
  if (network === "user") return undefined;
  const { id: containerId, hostname } = names;
  return { paths, network, containerId, name, hostname, aliases: networkAliases, address: ipAddress };
}

/** @param refusals told of each packet that was refused, besides `onRefused` */
export function networkOf(
  options: ContainerOptions,
  image: ExecutionConfig,
  names: ContainerNames,
  refusals?: RefusalSink,
): (() => Promise<Network>) | undefined {
  checkConnection(options);
  if (options.network === "none") return undefined;
  const ports = publishedPorts(options, image);
  const { signal, dns, egress, onRefused, onNotice } = options;
  const tell = (refusal: Refusal): void =>
    onRefused ? onRefused(refusal) : onNotice?.(describeRefusal(refusal));
  const cni = cniNameOf(options.network ?? "");
  if (cni !== undefined)
    return async () => {
      const { startCni } = await import("./cni.ts");
      const own = { network: cni, ports, mac: macOf(options), containerId: names.id };
      return await startCni(options, {
        ...own,
        needsGateway: wantsHostGateway(options),
        onRefused: tell,
        refusals,
      });
    };
  return async () =>
    await startUserNetwork({
      ports,
      mac: macOf(options),
      dns,
      membership: membershipOf(options, names),
      egress,
      hostGateway: wantsHostGateway(options),
      onRefused: tell,
      refusals,
      onNotice,
      signal,
    });
}

/** Docker's word for the address by which a container reaches its host. */
const HOST_GATEWAY = "host-gateway";

function wantsHostGateway({ addHosts = [] }: ContainerOptions): boolean {
  return addHosts.some(({ address }) => address === HOST_GATEWAY);
}

/** The lines of /etc/hosts that were asked for. */
export function hostsOf(
  { addHosts = [] }: ContainerOptions,
  guest: GuestNetwork | undefined,
): { readonly host: string; readonly address: string }[] {
  const gateway = guest?.gateways[0];
  return addHosts.map(({ host, address }) =>
    address === HOST_GATEWAY && gateway !== undefined ? { host, address: gateway } : { host, address },
  );
}

const RESOLV_WORD = /^[0-9A-Za-z_.][0-9A-Za-z.:_-]{0,253}$/;

/**
 * Whatever is given takes the place of the host's, member by member.
 * @param host what the container's network can use; undefined without one
 * @throws FlameBoxError `invalid-option`
 */
export function resolvConfOf(options: ContainerOptions, host: Resolvers = NO_RESOLVERS): string {
  const { dns = [], dnsSearch = [], dnsOptions = [] } = options;
  checkResolver(options);
  return formatResolvConf({
    servers: host === NO_RESOLVERS ? dns : host.servers,
    search: dnsSearch.length > 0 ? dnsSearch.filter((domain) => domain !== ".") : host.search,
    options: dnsOptions.length > 0 ? dnsOptions : host.options,
  });
}

const NO_RESOLVERS: Resolvers = { servers: [], search: [], options: [] };

/** A line feed would be another line of the file. @throws FlameBoxError `invalid-option` */
export function checkResolver({ dnsSearch = [], dnsOptions = [] }: ContainerOptions): void {
  for (const [what, words] of [
    ["search domain", dnsSearch],
    ["resolver option", dnsOptions],
  ] as const)
    for (const word of words) if (!RESOLV_WORD.test(word)) throw invalid(`${quote(word)} is no ${what}`);
}

function invalid(message: string, hint?: string): FlameBoxError {
  return new FlameBoxError("invalid-option", message, { hint });
}
