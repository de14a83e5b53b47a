/**
 * Networks that containers join by name: each is a file, made, listed and removed without a daemon.
 *
 *     dataDir/networks/NAME.json      what it is
 *     runtimeDir/net/ID/              who is in it now (leases.ts)
 *
 * The name is the user's own and one of a few letters, so that it can name a file.
 */
import { randomBytes } from "node:crypto";
import { readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { makePrivateDir, writeFileAtomic } from "../../util/atomic-file.ts";
import { systemCode } from "../../util/error.ts";
import { withLock } from "../../util/lock.ts";
import { nearest } from "../../util/nearest.ts";
import type { Paths } from "../../util/paths.ts";
import { quote } from "../../util/printable.ts";
import type { Cidr } from "../address.ts";
import { formatAddress, isWithin, parseCidr } from "../address.ts";
import { outwardAddresses } from "../host-address.ts";
import { NetworkError } from "../network.ts";

export interface NetworkRecord {
  readonly name: string;
  /** 32 hexadecimal digits. */
  readonly id: string;
  /** ISO 8601. */
  readonly createdAt: string;
  /** `10.87.0.0/24`; its first address is the gateway's. */
  readonly subnet: string;
  /** `fd12:3456:789a::/64`; its first address is the gateway's. */
  readonly ipv6Subnet: string;
  /** Without a way out. */
  readonly internal: boolean;
  readonly labels: Readonly<Record<string, string>>;
}

export interface CreateNetworkRequest {
  readonly name: string;
  /** Of 16 to 29 bits; default: one that nobody here has. */
  readonly subnet?: string | undefined;
  readonly internal?: boolean | undefined;
  readonly labels?: Readonly<Record<string, string>> | undefined;
}

const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$/;
/** What `--network` means otherwise. */
const RESERVED = new Set(["user", "none", "bridge", "default", "host", "container"]);
const MAX_RECORD_BYTES = 64 * 1024;
const MAX_NETWORKS = 250;
const SHORTEST_PREFIX = 16;
const LONGEST_PREFIX = 29;

export function isNetworkName(name: string): boolean {
  return NAME.test(name) && !RESERVED.has(name);
}

function checkName(name: string): void {
  if (isNetworkName(name)) return;
  const why = RESERVED.has(name) ? "has a meaning of its own" : "is not a network's name";
  throw new NetworkError("invalid-network", `${quote(name)} ${why}`, {
    hint: "use 1 to 63 letters, digits, '_', '.' and '-', beginning with a letter or digit",
  });
}

function directoryOf(paths: Paths): string {
  return join(paths.dataDir, "networks");
}

function fileOf(paths: Paths, name: string): string {
  return join(directoryOf(paths), `${name}.json`);
}

/** @throws NetworkError `invalid-network`, `network-exists`, `no-free-subnet` */
export async function createNetwork(
  paths: Paths,
  request: CreateNetworkRequest,
  signal?: AbortSignal,
): Promise<NetworkRecord> {
  const { name, internal = false, labels = {} } = request;
  checkName(name);
  await makePrivateDir(directoryOf(paths));
  return await withLock(join(directoryOf(paths), ".lock"), { signal }, async () => {
    const others = await listRecords(paths);
    if (others.some((other) => other.name === name))
      throw new NetworkError("network-exists", `there is a network ${name} already`);
    const record: NetworkRecord = {
      name,
      id: randomBytes(16).toString("hex"),
      createdAt: new Date().toISOString(),
      subnet: request.subnet === undefined ? freeSubnet(others) : subnetOf(request.subnet, others),
      ipv6Subnet: randomIpv6Subnet(),
      internal,
      labels,
    };
    await writeFileAtomic(fileOf(paths, name), `${JSON.stringify(record)}\n`);
    return record;
  });
}

/** By name; what cannot be read is left out. */
export async function listRecords(paths: Paths): Promise<NetworkRecord[]> {
  const files = await readdir(directoryOf(paths)).catch(() => []);
  const names = files.filter((file) => file.endsWith(".json")).map((file) => file.slice(0, -5));
  const records = await Promise.all(names.filter(isNetworkName).map(async (name) => readRecord(paths, name)));
  return records.filter((record) => record !== undefined).toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

async function readRecord(paths: Paths, name: string): Promise<NetworkRecord | undefined> {
  const text = await readFile(fileOf(paths, name), "utf8").catch((error: unknown) => {
    if (systemCode(error) === "ENOENT") return "";
    throw error;
  });
  return text.length > MAX_RECORD_BYTES ? undefined : parseRecord(text, name);
}

/** Undefined: not one that was written here. */
export function parseRecord(text: string, name: string): NetworkRecord | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const { id, createdAt, subnet, ipv6Subnet, internal, labels } = value as Record<string, unknown>;
  if (typeof id !== "string" || !/^[0-9a-f]{32}$/.test(id)) return undefined;
  if (typeof createdAt !== "string" || Number.isNaN(Date.parse(createdAt))) return undefined;
  if (typeof subnet !== "string" || readSubnet(subnet) === undefined) return undefined;
  const ipv6 = typeof ipv6Subnet === "string" ? parseCidr(ipv6Subnet) : undefined;
  if (typeof ipv6Subnet !== "string" || typeof ipv6?.address !== "string" || ipv6.prefixLength !== 64)
    return undefined;
  if (typeof internal !== "boolean" || typeof labels !== "object" || labels === null) return undefined;
  const pairs = Object.entries(labels).filter(
    (pair): pair is [string, string] => typeof pair[1] === "string",
  );
  return { name, id, createdAt, subnet, ipv6Subnet, internal, labels: Object.fromEntries(pairs) };
}

/** @throws NetworkError `network-missing`, `invalid-network` */
export async function requireNetwork(paths: Paths, name: string): Promise<NetworkRecord> {
  checkName(name);
  const record = await readRecord(paths, name);
  if (record !== undefined) return record;
  const names = (await listRecords(paths)).map((one) => one.name);
  const near = nearest(name, names);
  throw new NetworkError("network-missing", `there is no network ${name}`, {
    hint: near === undefined ? `make it with: flamebox network create ${name}` : `did you mean ${near}?`,
  });
}

/** Whoever calls it knows that nobody is in it. */
export async function removeRecord(paths: Paths, name: string): Promise<void> {
  await rm(fileOf(paths, name), { force: true });
}

function readSubnet(text: string): (Cidr & { readonly address: number }) | undefined {
  const parsed = parseCidr(text);
  if (parsed === undefined || typeof parsed.address !== "number") return undefined;
  const { address, prefixLength } = parsed;
  if (prefixLength < SHORTEST_PREFIX || prefixLength > LONGEST_PREFIX) return undefined;
  return { address: (address & (-1 << (32 - prefixLength))) >>> 0, prefixLength };
}

function subnetOf(text: string, others: readonly NetworkRecord[]): string {
  const subnet = readSubnet(text);
  if (subnet === undefined)
    throw new NetworkError("invalid-network", `${quote(text)} is no subnet of containers`, {
      hint: `write an IPv4 network of ${SHORTEST_PREFIX} to ${LONGEST_PREFIX} bits, as in 10.87.1.0/24`,
    });
  const written = `${formatAddress(subnet.address)}/${subnet.prefixLength}`;
  const taken = takenSubnets(others).find(({ cidr }) => isWithin(cidr, subnet) || isWithin(subnet, cidr));
  if (taken !== undefined)
    throw new NetworkError("invalid-network", `${written} overlaps ${taken.what}`, {
      hint: "choose another",
    });
  return written;
}

function takenSubnets(others: readonly NetworkRecord[]): { readonly cidr: Cidr; readonly what: string }[] {
  const networks = others.map(({ name, subnet }) => ({ text: subnet, what: `the network ${name}` }));
  const host = outwardAddresses().map(({ address, netmask }) => ({
    text: `${address}/${prefixLengthOf(netmask)}`,
    what: `the host's own network ${address}`,
  }));
  return [...networks, ...host].flatMap(({ text, what }) => {
    const cidr = parseCidr(text);
    return cidr === undefined ? [] : [{ cidr, what }];
  });
}

function prefixLengthOf(netmask: string): number {
  return netmask
    .split(".")
    .reduce((sum, part) => sum + Number(part).toString(2).replaceAll("0", "").length, 0);
}

function freeSubnet(others: readonly NetworkRecord[]): string {
  const taken = takenSubnets(others);
  for (let i = 0; i < MAX_NETWORKS; i++) {
    const subnet = parseCidr(`10.87.${i}.0/24`);
    if (subnet === undefined) break;
    if (taken.some(({ cidr }) => isWithin(cidr, subnet) || isWithin(subnet, cidr))) continue;
    return `10.87.${i}.0/24`;
  }
  throw new NetworkError("no-free-subnet", "every subnet from 10.87.0.0/24 on is taken", {
    hint: "remove networks with: flamebox network prune, or name a subnet with --subnet",
  });
}

/** https://www.rfc-editor.org/rfc/rfc4193#section-3.2: forty random bits. */
function randomIpv6Subnet(): string {
  const bytes = randomBytes(5);
  const words = [
    `fd${bytes.toString("hex", 0, 1)}`,
    bytes.toString("hex", 1, 3),
    bytes.toString("hex", 3, 5),
  ];
  return `${words.map((word) => Number.parseInt(word, 16).toString(16)).join(":")}::/64`;
}
