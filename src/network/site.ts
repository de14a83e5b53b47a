/**
 * Where a guest is: alone with a gateway, as most are, or in a network with other containers. What it has for addresses,
 * whom it asks for names, and who is beside it.
 */
import { randomBytes } from "node:crypto";
import { CleanupStack } from "../util/cleanup.ts";
import type { Paths } from "../util/paths.ts";
import { DnsForwarder } from "./dns/forward.ts";
import { NetworkNames } from "./dns/names.ts";
import type { FramePath, Neighbours, Responder } from "./frames/path.ts";
import type { GuestSubnet } from "./host-address.ts";
import { chooseGuestSubnet, outwardAddresses, outwardIpv6 } from "./host-address.ts";
import type { JoinRequest } from "./named/leases.ts";
import { joinNetwork, leaseDir, socketName } from "./named/leases.ts";
import { Mesh } from "./named/mesh.ts";
import { requireNetwork } from "./named/record.ts";
import type { Resolvers } from "./network.ts";
import { hostResolvers } from "./resolvers.ts";

/** What a container is in a network of that name. */
export interface Membership extends Omit<JoinRequest, "listen" | "mac" | "signal"> {
  readonly paths: Paths;
  readonly network: string;
}

export interface Site extends AsyncDisposable {
  readonly mac: string;
  readonly subnet: GuestSubnet;
  readonly resolvers: Resolvers;
  /** Answers at the gateway, where that is one of the resolvers. */
  readonly responder: Responder | undefined;
  readonly neighbours: (Neighbours & { attach(path: FramePath): void }) | undefined;
  readonly hasWayOut: boolean;
}

export interface SiteRequest {
  /** Default: by its address in a network, else any. */
  readonly mac?: string | undefined;
  /** In the place of the host's. */
  readonly dns: readonly string[];
  readonly signal?: AbortSignal | undefined;
}

export async function siteAlone({ mac, dns }: SiteRequest): Promise<Site> {
  const subnet = chooseGuestSubnet(outwardAddresses(), outwardIpv6());
  const host =
    dns.length > 0
      ? { servers: dns, search: [], options: [], local: [] }
      : await hostResolvers(subnet.ipv6 !== undefined);
  const { local, servers, search, options } = host;
  // Nobody but the host itself reaches a name server on its loopback.
  const forwarder = local.length === 0 ? undefined : new DnsForwarder(local);
  return {
    mac: mac ?? randomMac(),
    subnet,
    resolvers: { servers: forwarder === undefined ? servers : [subnet.gateway], search, options },
    responder: forwarder,
    neighbours: undefined,
    hasWayOut: true,
    [Symbol.asyncDispose]: async () => forwarder?.dispose(),
  };
}

/** @throws NetworkError `network-missing`, `address-in-use`, `invalid-address`, `network-full` */
export async function siteIn(membership: Membership, { mac, dns, signal }: SiteRequest): Promise<Site> {
  const { paths, network, ...who } = membership;
  const record = await requireNetwork(paths, network);
  await using cleanup = new CleanupStack();
  const mesh = new Mesh();
  const listen: JoinRequest["listen"] = async (dir, name) => await mesh.listen(dir, name);
  const joined = cleanup.use(await joinNetwork(paths, record, { ...who, mac, signal, listen }));
  const others = joined.others.map(({ slot }) => socketName(slot));
  await mesh.open(joined.member, leaseDir(paths, record), others);
  const host = await hostResolvers(true);
  const forwarder = record.internal
    ? undefined
    : new DnsForwarder(dns.length > 0 ? dns : [...host.servers, ...host.local]);
  cleanup.defer(async () => forwarder?.dispose());
  const owned = cleanup.move();
  return {
    mac: joined.member.mac,
    subnet: { ...joined.ipv4, ipv6: joined.ipv6 },
    resolvers: { servers: [joined.ipv4.gateway], search: host.search, options: host.options },
    responder: new NetworkNames(record.name, () => mesh.members, forwarder),
    neighbours: mesh,
    hasWayOut: !record.internal,
    [Symbol.asyncDispose]: async () => await owned[Symbol.asyncDispose](),
  };
}

/** A random address of the locally administered kind, unicast. */
function randomMac(): string {
  const bytes = randomBytes(3);
  return ["52", "54", "00", ...[...bytes].map((byte) => byte.toString(16).padStart(2, "0"))].join(":");
}
