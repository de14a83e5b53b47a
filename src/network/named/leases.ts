/**
 * Who is in a network now, and where: one lease a container, which ends with its process.
 *
 *     runtimeDir/net/ID/lock
 *     runtimeDir/net/ID/7.json     the lease of the seventh address, with the process that holds it
 *     runtimeDir/net/ID/7.sock     where that process takes the others' frames (mesh.ts)
 *
 * Whoever joins, lists or removes collects what dead processes left. The directory is its user's alone (0700), and so are its sockets.
 */
import { readdir, readFile, rm, unlink } from "node:fs/promises";
import { join } from "node:path";
import { makePrivateDir, writeFileAtomic } from "../../util/atomic-file.ts";
import { withLock } from "../../util/lock.ts";
import type { ProcessIdentity } from "../../util/liveness.ts";
import { isAlive, ownIdentity } from "../../util/liveness.ts";
import type { Paths } from "../../util/paths.ts";
import { addressFrom, bytesOf, contains, formatAddress, parseAddress, parseCidr } from "../address.ts";
import type { Address } from "../address.ts";
import { NetworkError } from "../network.ts";
import type { NetworkRecord } from "./record.ts";

/** A container of a network, as the others know it. */
export interface Member {
  readonly containerId: string;
  readonly name?: string | undefined;
  readonly hostname: string;
  readonly aliases: readonly string[];
  /** `52:54:00:12:34:56` */
  readonly mac: string;
  readonly ipv4: string;
  readonly ipv6: string;
}

export interface Lease {
  /** The number of its address in the subnet. */
  readonly slot: number;
  readonly member: Member;
  readonly holder: ProcessIdentity;
}

export interface Place {
  readonly address: string;
  readonly gateway: string;
  readonly prefixLength: number;
}

const GATEWAY_SLOT = 1;
const MAX_MEMBERS = 500;
const MAX_LEASE_BYTES = 32 * 1024;
const MAX_ALIASES = 32;

export function leaseDir(paths: Paths, { id }: Pick<NetworkRecord, "id">): string {
  // The path of a socket has 107 bytes at most.
  return join(paths.runtimeDir, "net", id.slice(0, 12));
}

export function socketName(slot: number): string {
  return `${slot}.sock`;
}

function networkOf(text: string): { readonly address: Address; readonly prefixLength: number } {
  const parsed = parseCidr(text);
  if (parsed === undefined) throw new NetworkError("invalid-network", `${text} is no subnet`);
  return parsed;
}

/** The address of a number in the network's subnets, and what leads out of it. */
export function placeOf(subnet: string, slot: number): Place {
  const { address, prefixLength } = networkOf(subnet);
  const at = (number: number): string => {
    const bytes = bytesOf(address);
    const low = bytes.readUInt32BE(bytes.length - 4);
    bytes.writeUInt32BE(low + number, bytes.length - 4);
    return formatAddress(addressFrom(bytes));
  };
  return { address: at(slot), gateway: at(GATEWAY_SLOT), prefixLength };
}

/**
 * The MAC of whoever has an address: always the same, because the others go on using what they know of an address for
 * some time, whoever had it before. Locally administered, unicast.
 */
export function macFor(ipv4: string): string {
  const bytes = bytesOf(parseAddress(ipv4) ?? 0);
  return `52:54:${bytes.toString("hex").replace(/..(?=.)/g, "$&:")}`;
}

/** Those whose process lives, by address. */
export async function listLeases(dir: string): Promise<Lease[]> {
  const { living } = await readLeases(dir);
  return living;
}

/** Whoever calls it has the lock: an address may be given out again meanwhile. */
async function collectLeases(dir: string): Promise<Lease[]> {
  const { living, files } = await readLeases(dir);
  const kept = new Set(living.map(({ slot }) => slot));
  for (const file of files) {
    // Also a socket without a lease: its process was killed between the two.
    const slot = /^(\d{1,5})\.(?:json|sock)$/.exec(file)?.[1];
    if (slot !== undefined && !kept.has(Number(slot))) await removeLease(dir, Number(slot));
  }
  return living;
}

/** Removes what dead processes left in a network, and what is left of it if that was all. */
export async function tidyNetwork(
  paths: Paths,
  record: Pick<NetworkRecord, "id">,
  signal?: AbortSignal,
): Promise<Lease[]> {
  const dir = leaseDir(paths, record);
  const files = await readdir(dir).catch(() => []);
  if (files.length === 0) return [];
  return await withLock(join(dir, "lock"), { signal }, async () => await collectLeases(dir));
}

async function readLeases(dir: string): Promise<{ readonly living: Lease[]; readonly files: string[] }> {
  const files = await readdir(dir).catch(() => []);
  const slots = files.flatMap((file) => /^(\d{1,5})\.json$/.exec(file)?.[1] ?? []).map(Number);
  const leases = await Promise.all(
    slots.map(async (slot) => {
      const text = await readFile(join(dir, `${slot}.json`), "utf8").catch(() => "");
      return text.length > MAX_LEASE_BYTES ? undefined : parseLease(text, slot);
    }),
  );
  const living = leases.filter((lease) => lease !== undefined && isAlive(lease.holder));
  return { living: living.filter((lease) => lease !== undefined).toSorted((a, b) => a.slot - b.slot), files };
}

export function parseLease(text: string, slot: number): Lease | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const { member, holder } = value as Record<string, unknown>;
  const parsed = parseMember(member);
  if (parsed === undefined || typeof holder !== "object" || holder === null) return undefined;
  const { pid, startTicks, bootId } = holder as Record<string, unknown>;
  if (typeof pid !== "number" || typeof startTicks !== "number" || typeof bootId !== "string")
    return undefined;
  return { slot, member: parsed, holder: { pid, startTicks, bootId } };
}

/** Of a file, or of a process at the other end of a socket. */
export function parseMember(value: unknown): Member | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const { containerId, name, hostname, aliases, mac, ipv4, ipv6 } = value as Record<string, unknown>;
  if (typeof containerId !== "string" || !/^[0-9a-f]{12,64}$/.test(containerId)) return undefined;
  if (name !== undefined && typeof name !== "string") return undefined;
  if (typeof hostname !== "string" || !Array.isArray(aliases) || aliases.length > MAX_ALIASES)
    return undefined;
  if (!aliases.every((alias) => typeof alias === "string")) return undefined;
  if (typeof mac !== "string" || !/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/.test(mac)) return undefined;
  if (typeof ipv4 !== "string" || typeof parseAddress(ipv4) !== "number") return undefined;
  if (typeof ipv6 !== "string" || typeof parseAddress(ipv6) !== "string") return undefined;
  return { containerId, name, hostname, aliases, mac, ipv4, ipv6 };
}

async function removeLease(dir: string, slot: number): Promise<void> {
  await rm(join(dir, `${slot}.json`), { force: true });
  await unlink(join(dir, socketName(slot))).catch(() => {});
}

export interface JoinRequest extends Omit<Member, "ipv4" | "ipv6" | "mac"> {
  /** Default: that which belongs to its address. */
  readonly mac?: string | undefined;
  /** An address of the subnet; default: the next one. */
  readonly address?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Listens at the path before anybody can know of it. */
  readonly listen: (dir: string, name: string) => Promise<AsyncDisposable>;
}

export interface Joined extends AsyncDisposable {
  readonly member: Member;
  readonly ipv4: Place;
  readonly ipv6: Place;
  /** Those who were there before, who do not know of this one yet. */
  readonly others: readonly Lease[];
}

/** @throws NetworkError `address-in-use`, `invalid-address`, `network-full` */
export async function joinNetwork(
  paths: Paths,
  record: NetworkRecord,
  request: JoinRequest,
): Promise<Joined> {
  const { address, mac, signal, listen, ...who } = request;
  const dir = leaseDir(paths, record);
  await makePrivateDir(dir);
  return await withLock(join(dir, "lock"), { signal }, async () => {
    const others = await collectLeases(dir);
    const slot = chooseSlot(record, new Set(others.map((other) => other.slot)), address);
    const [ipv4, ipv6] = [placeOf(record.subnet, slot), placeOf(record.ipv6Subnet, slot)];
    const addresses = { mac: mac ?? macFor(ipv4.address), ipv4: ipv4.address, ipv6: ipv6.address };
    const member: Member = { ...who, ...addresses };
    await unlink(join(dir, socketName(slot))).catch(() => {});
    const listener = await listen(dir, socketName(slot));
    await writeFileAtomic(join(dir, `${slot}.json`), JSON.stringify({ member, holder: ownIdentity() }));
    const dispose = async (): Promise<void> => {
      await removeLease(dir, slot);
      await listener[Symbol.asyncDispose]();
    };
    return { member, ipv4, ipv6, others, [Symbol.asyncDispose]: dispose };
  });
}

/** Whether a container can have the address, if nobody has it then. @throws NetworkError `invalid-address` */
export function checkAddress(network: NetworkRecord, address: string): void {
  chooseSlot(network, new Set(), address);
}

function chooseSlot({ name, subnet }: NetworkRecord, taken: ReadonlySet<number>, asked?: string): number {
  const network = networkOf(subnet);
  const count = Math.min(MAX_MEMBERS, 2 ** (32 - network.prefixLength) - 2);
  if (asked !== undefined) {
    const address = parseAddress(asked);
    const slot = typeof address === "number" ? address - (network.address as number) : -1;
    const last = 2 ** (32 - network.prefixLength) - 2;
    if (address === undefined || !contains(network, address) || slot <= GATEWAY_SLOT || slot > last)
      throw new NetworkError(
        "invalid-address",
        `${asked} is no address for a container of the network ${name}`,
        {
          hint: `its subnet is ${subnet}, and the first address is the gateway's`,
        },
      );
    if (taken.has(slot))
      throw new NetworkError("address-in-use", `another container of the network ${name} has ${asked}`);
    return slot;
  }
  for (let slot = GATEWAY_SLOT + 1; slot <= count; slot++) if (!taken.has(slot)) return slot;
  throw new NetworkError("network-full", `every address of the network ${name} is taken`);
}
