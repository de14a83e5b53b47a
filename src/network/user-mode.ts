/**
 * Networking without root: what a guest sends is judged here, and goes out through `passt`.
 *
 *     VMM ─ socket pair ─ FramePath ─ socket pair ─ passt ─ sockets
 *
 * frames/path.ts says what passes. Published TCP ports are passt's own sockets; published UDP ports are ours
 * (udp-relay.ts). passt is started when ports are published, or when the guest first sends something out.
 */
import { randomBytes } from "node:crypto";
import type { Duplex } from "node:stream";
import { CleanupStack } from "../util/cleanup.ts";
import type { Address, Cidr } from "./address.ts";
import { parseAddress, parseCidr } from "./address.ts";
import { DnsForwarder } from "./dns/forward.ts";
import { FramePath } from "./frames/path.ts";
import type { GuestSubnet } from "./host-address.ts";
import { chooseGuestSubnet, hostAddresses, outwardAddresses, outwardIpv6 } from "./host-address.ts";
import type { GuestNetwork, Network, PortForward, Resolvers } from "./network.ts";
import { NetworkError } from "./network.ts";
import { linkLocalOf } from "./packet/neighbours.ts";
import { findPasst, MTU, needsIpv6, Passt } from "./passt.ts";
import type { EgressOptions } from "./policy/policy.ts";
import { Policy } from "./policy/policy.ts";
import type { Refusal } from "./policy/refusals.ts";
import { Refusals } from "./policy/refusals.ts";
import type { ReservedPorts } from "./ports.ts";
import { reservePorts } from "./ports.ts";
import { hostResolvers } from "./resolvers.ts";
import { UdpRelay } from "./udp-relay.ts";

export interface UserNetworkOptions {
  readonly ports?: readonly PortForward[] | undefined;
  /** Six bytes in hexadecimal, lower case, with colons; default: one made up. */
  readonly mac?: string | undefined;
  /** Name servers that the guest is told in the place of the host's. */
  readonly dns?: readonly string[] | undefined;
  readonly egress?: EgressOptions | undefined;
  /** Whether the gateway's address stands for the host's loopback. */
  readonly hostGateway?: boolean | undefined;
  /** Told of what the guest wanted and may not have; not of every packet. */
  readonly onRefused?: ((refusal: Refusal) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What most guests are given on this host; the address of the interface is each one's own. */
export function usualGuestNetwork(): Omit<GuestNetwork, "mac"> {
  return guestNetworkOf(chooseGuestSubnet(outwardAddresses(), outwardIpv6()));
}

function guestNetworkOf({ address, prefixLength, gateway, ipv6 }: GuestSubnet): Omit<GuestNetwork, "mac"> {
  return {
    mtu: MTU,
    addresses: [
      `${address}/${prefixLength}`,
      ...(ipv6 === undefined ? [] : [`${ipv6.address}/${ipv6.prefixLength}`]),
    ],
    gateways: [gateway, ...(ipv6 === undefined ? [] : [ipv6.gateway])],
  };
}

/** @throws NetworkError `network-program-missing`, `no-host-address`, `port-in-use`, `invalid-rule`, … */
export async function startUserNetwork(options: UserNetworkOptions = {}): Promise<Network> {
  const { dns = [], ports: wanted = [], hostGateway = false, signal } = options;
  const program = await findPasst();
  const outward = outwardAddresses();
  const subnet = chooseGuestSubnet(outward, outwardIpv6());
  checkFamilies(wanted, subnet);
  const host =
    dns.length > 0
      ? { servers: dns, search: [], options: [], local: [] }
      : await hostResolvers(subnet.ipv6 !== undefined);
  const resolvers = host.local.length === 0 ? host : { ...host, servers: [subnet.gateway] };
  const policy = new Policy({
    egress: options.egress,
    resolvers: resolvers.servers.flatMap((server) => parseAddress(server) ?? []),
    isHost: hostAddresses(),
  });
  await using cleanup = new CleanupStack();
  const reserved = await reservePorts(wanted);
  const { ports, udp } = reserved;
  cleanup.use(new UdpRelay(udp.map(({ socket, targetPort }) => ({ listener: socket, targetPort }))));
  signal?.throwIfAborted();
  if (udp.length > 0 && outward.length === 0)
    throw new NetworkError(
      "no-host-address",
      "this host has no IPv4 address besides its loopback's, which published UDP ports need",
      { hint: "connect the host to a network, or publish TCP ports only" },
    );
  const forwarder = host.local.length === 0 ? undefined : new DnsForwarder(host.local);
  cleanup.defer(async () => forwarder?.dispose());
  const start = (): Passt => new Passt(program, { subnet, forwards: forwardsOf(reserved), hostGateway });
  const passt = ports.length > 0 ? cleanup.use(start()) : undefined;
  await passt?.started;
  const mac = options.mac ?? randomMac();
  return new UserNetwork({
    guest: { mac, ...guestNetworkOf(subnet) },
    ports,
    resolvers: { servers: resolvers.servers, search: host.search, options: host.options },
    passt,
    start,
    makePath: (frames, openUplink) =>
      new FramePath(frames, {
        ...placesOf(subnet, macBytes(mac)),
        policy,
        refusals: new Refusals(options.onRefused ?? (() => {})),
        hostGateway,
        responder: forwarder,
        openUplink,
      }),
    owned: cleanup.move(),
  });
}

function macBytes(mac: string): Buffer {
  return Buffer.from(mac.replaceAll(":", ""), "hex");
}

function placesOf(
  subnet: GuestSubnet,
  mac: Buffer,
): {
  readonly mac: Buffer;
  readonly addresses: Address[];
  readonly gateways: Address[];
  readonly subnets: Cidr[];
} {
  const { addresses, gateways } = guestNetworkOf(subnet);
  const own = addresses.flatMap((one) => parseAddress(one.replace(/\/.*$/, "")) ?? []);
  return {
    mac,
    addresses: subnet.ipv6 === undefined ? own : [...own, linkLocalOf(mac)],
    gateways: gateways.flatMap((one) => parseAddress(one) ?? []),
    subnets: addresses.flatMap((one) => parseCidr(one) ?? []),
  };
}

function checkFamilies(ports: readonly PortForward[], { ipv6 }: GuestSubnet): void {
  const forward = ports.find(needsIpv6);
  if (forward !== undefined && ipv6 === undefined)
    throw new NetworkError(
      "invalid-port",
      `port ${forward.hostPort} cannot be published on ${forward.hostAddress}: this host has no IPv6 address that leads outside, so its machines have none`,
      { hint: "publish it on an IPv4 address" },
    );
}

/**
 * Not one address but one interface: what the guest sends from a published port leaves from the same socket of
 * passt, and from one that is bound to 127.0.0.1 it would come to the host's services as if from the host itself.
 */
const RELAY_ADDRESS = "0.0.0.0%lo";

/** What passt forwards: TCP ports as they are published, and the relay's ports of the loopback. */
function forwardsOf({ ports, udp }: ReservedPorts): PortForward[] {
  const targets = new Map(udp.map(({ forward, targetPort }) => [targetPort, forward] as const));
  return [
    ...ports.filter(({ protocol }) => protocol === "tcp"),
    ...[...targets].map(([hostPort, forward]) => ({ ...forward, hostAddress: RELAY_ADDRESS, hostPort })),
  ];
}

/** A random address of the locally administered kind, unicast. */
function randomMac(): string {
  const bytes = randomBytes(3);
  return ["52", "54", "00", ...[...bytes].map((byte) => byte.toString(16).padStart(2, "0"))].join(":");
}

interface UserNetworkParts {
  readonly guest: GuestNetwork;
  readonly ports: readonly PortForward[];
  readonly resolvers: Resolvers;
  /** The one that runs already. */
  readonly passt: Passt | undefined;
  readonly start: () => Passt;
  readonly makePath: (frames: Duplex, openUplink: () => Duplex) => FramePath;
  /** What ends with the network. */
  readonly owned: CleanupStack;
}

class UserNetwork implements Network {
  readonly guest: GuestNetwork;
  readonly ports: readonly PortForward[];
  readonly resolvers: Resolvers;
  readonly failed: Promise<NetworkError>;
  readonly #parts: UserNetworkParts;
  #passt: Passt | undefined;
  #path: FramePath | undefined;
  #fail: (error: NetworkError) => void = () => {};
  #disposed = false;

  constructor(parts: UserNetworkParts) {
    this.#parts = parts;
    this.guest = parts.guest;
    this.ports = parts.ports;
    this.resolvers = parts.resolvers;
    this.failed = new Promise((resolve) => {
      this.#fail = resolve;
    });
    this.#passt = parts.passt;
    void this.#passt?.failed.then((error) => this.#fail(error));
  }

  attach(frames: Duplex): void {
    this.#path = this.#parts.makePath(frames, () => this.#openPasst().frames);
    // passt learns from the guest's first frames where the guest is, without which it can bring nobody to it.
    if (this.#passt !== undefined) this.#path.connectUplink();
  }

  #openPasst(): Passt {
    if (this.#passt === undefined) {
      this.#passt = this.#parts.owned.use(this.#parts.start());
      void this.#passt.failed.then((error) => this.#fail(error));
    }
    return this.#passt;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#path?.destroy();
    await this.#parts.owned[Symbol.asyncDispose]();
  }
}
