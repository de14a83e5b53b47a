/**
 * Networking without root: what a guest sends is judged here, and goes out through `passt`.
 *
 *     VMM ─ socket pair ─ FramePath ─ socket pair ─ passt ─ sockets
 *
 * frames/path.ts says what passes. Published TCP ports are passt's own sockets; published UDP ports are ours
 * (udp-relay.ts). passt is started when ports are published, or when the guest first sends something out.
 */
import type { Duplex } from "node:stream";
import { CleanupStack } from "../util/cleanup.ts";
import type { Address, Cidr } from "./address.ts";
import { parseAddress, parseCidr } from "./address.ts";
import { FramePath } from "./frames/path.ts";
import type { FramePathOptions } from "./frames/path.ts";
import type { GuestSubnet } from "./host-address.ts";
import { chooseGuestSubnet, hostAddresses, outwardAddresses, outwardIpv6 } from "./host-address.ts";
import type { GuestNetwork, Network, PortForward, Resolvers } from "./network.ts";
import { NetworkError } from "./network.ts";
import type { PasstProgram } from "./passt.ts";
import { findPasstProgram, MTU, needsIpv6, Passt } from "./passt.ts";
import type { EgressOptions } from "./policy/policy.ts";
import { Policy } from "./policy/policy.ts";
import type { Refusal, RefusalSink } from "./policy/refusals.ts";
import { bothSinks, Refusals } from "./policy/refusals.ts";
import type { ReservedPorts } from "./ports.ts";
import { reservePorts } from "./ports.ts";
import type { Membership, Site } from "./site.ts";
import { siteAlone, siteIn } from "./site.ts";
import { UdpRelay } from "./udp-relay.ts";
import { WayOut } from "./way-out.ts";
import type { Pace } from "./way-out.ts";

export interface UserNetworkOptions {
  readonly ports?: readonly PortForward[] | undefined;
  /** Six bytes in hexadecimal, lower case, with colons; default: one made up. */
  readonly mac?: string | undefined;
  /** Name servers that the guest is told in the place of the host's. */
  readonly dns?: readonly string[] | undefined;
  /** The network with a name that it is in. */
  readonly membership?: Membership | undefined;
  readonly egress?: EgressOptions | undefined;
  /** Whether the gateway's address stands for the host's loopback. */
  readonly hostGateway?: boolean | undefined;
  /** Told of what the guest wanted and may not have; not of every packet. */
  readonly onRefused?: ((refusal: Refusal) => void) | undefined;
  /** Told of each packet that was refused. */
  readonly refusals?: RefusalSink | undefined;
  /** Told when the network had to be mended. */
  readonly onNotice?: ((notice: string) => void) | undefined;
  /** Of looking after passt; for tests. */
  readonly pace?: Pace | undefined;
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
  const { dns = [], ports: wanted = [], membership, signal } = options;
  const program = await findPasstProgram();
  await using cleanup = new CleanupStack();
  const request = { mac: options.mac, dns, signal };
  const site = cleanup.use(
    await (membership === undefined ? siteAlone(request) : siteIn(membership, request)),
  );
  const { mac, subnet, resolvers, neighbours } = site;
  const ipv6 = outwardIpv6().length > 0;
  checkPorts(wanted, site, ipv6);
  const reserved = await reservePorts(wanted);
  const { ports, udp } = reserved;
  cleanup.use(new UdpRelay(udp.map(({ socket, targetPort }) => ({ listener: socket, targetPort }))));
  signal?.throwIfAborted();
  if (udp.length > 0 && outwardAddresses().length === 0)
    throw new NetworkError(
      "no-host-address",
      "this host has no IPv4 address besides its loopback's, which published UDP ports need",
      { hint: "connect the host to a network, or publish TCP ports only" },
    );
  const start = passtOf(program, site, ipv6, { ...options, forwards: forwardsOf(reserved) });
  const wayOut = cleanup.use(new WayOut({ start, onNotice: options.onNotice, pace: options.pace }));
  if (ports.length > 0) await wayOut.begin();
  const common = { ...pathOptions(site, ipv6, { ...options, mac }), uplinkBytes: program.bufferBytes };
  return new UserNetwork({
    guest: { mac, ...guestNetworkOf(subnet) },
    ports,
    resolvers,
    wayOut,
    makePath: (frames) => {
      const openUplink = site.hasWayOut ? () => wayOut.open() : undefined;
      const path = new FramePath(frames, { ...common, openUplink });
      neighbours?.attach(path);
      return path;
    },
    owned: cleanup.move(),
  });
}

function passtOf(
  program: PasstProgram,
  { subnet }: Site,
  ipv6: boolean,
  { hostGateway = false, forwards }: UserNetworkOptions & { readonly forwards: readonly PortForward[] },
): () => Passt {
  const { ipv6: own, ...ipv4 } = subnet;
  return () => new Passt(program, { subnet: ipv6 && own ? subnet : ipv4, forwards, hostGateway });
}

/** All but the way out. @throws NetworkError `invalid-rule` */
function pathOptions(
  { subnet, resolvers, responder, neighbours }: Site,
  ipv6: boolean,
  { egress, hostGateway = false, onRefused, refusals, mac }: UserNetworkOptions & { readonly mac: string },
): Omit<FramePathOptions, "openUplink" | "uplinkBytes"> {
  return {
    ...placesOf(subnet, macBytes(mac)),
    policy: new Policy({
      egress,
      resolvers: resolvers.servers.flatMap((server) => parseAddress(server) ?? []),
      isHost: hostAddresses(),
    }),
    refusals: bothSinks(new Refusals(onRefused ?? (() => {})), refusals),
    hostGateway,
    ipv6,
    responder,
    neighbours,
  };
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
    addresses: own,
    gateways: gateways.flatMap((one) => parseAddress(one) ?? []),
    subnets: addresses.flatMap((one) => parseCidr(one) ?? []),
  };
}

function checkPorts(ports: readonly PortForward[], { hasWayOut }: Site, ipv6: boolean): void {
  if (ports.length > 0 && !hasWayOut)
    throw new NetworkError("invalid-port", "ports cannot be published from a network without a way out", {
      hint: "use a network that was made without --internal",
    });
  const forward = ports.find(needsIpv6);
  if (forward === undefined || ipv6) return;
  const { hostAddress, hostPort } = forward;
  throw new NetworkError(
    "invalid-port",
    `port ${hostPort} cannot be published on ${hostAddress}: this host has no IPv6 address but its loopback's, and so passt has none`,
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

interface UserNetworkParts {
  readonly guest: GuestNetwork;
  readonly ports: readonly PortForward[];
  readonly resolvers: Resolvers;
  readonly wayOut: WayOut;
  readonly makePath: (frames: Duplex) => FramePath;
  /** What ends with the network. */
  readonly owned: CleanupStack;
}

class UserNetwork implements Network {
  readonly guest: GuestNetwork;
  readonly ports: readonly PortForward[];
  readonly resolvers: Resolvers;
  readonly failed: Promise<NetworkError>;
  readonly #parts: UserNetworkParts;
  #path: FramePath | undefined;
  #disposed = false;

  constructor(parts: UserNetworkParts) {
    this.#parts = parts;
    this.guest = parts.guest;
    this.ports = parts.ports;
    this.resolvers = parts.resolvers;
    this.failed = parts.wayOut.failed;
  }

  attach(frames: Duplex): void {
    const { makePath, wayOut } = this.#parts;
    const path = makePath(frames);
    this.#path = path;
    wayOut.attach(path);
    // passt learns from the guest's first frames where the guest is, without which it can bring nobody to it.
    if (wayOut.isOpen) path.connectUplink();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#path?.destroy();
    await this.#parts.owned[Symbol.asyncDispose]();
  }
}
