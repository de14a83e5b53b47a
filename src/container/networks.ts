/** Networks as a person manages them. A container finds its own by itself: connection.ts. */
import { rm, rmdir } from "node:fs/promises";
import { dirname } from "node:path";
import type { Member } from "../network/named/leases.ts";
import { leaseDir, placeOf, tidyNetwork } from "../network/named/leases.ts";
import type { NetworkRecord } from "../network/named/record.ts";
import * as records from "../network/named/record.ts";
import { NetworkError } from "../network/network.ts";
import type { Paths } from "../util/paths.ts";
import { locatePaths } from "../util/paths.ts";
import type { OperationOptions } from "./options.ts";

export type { Member };

export interface NetworkInfo extends NetworkRecord {
  readonly gateway: string;
  readonly ipv6Gateway: string;
  /** The containers that run in it now. */
  readonly members: readonly Member[];
}

/** Where networks are kept, and what ends the wait for others. */
export type NetworkOptions = Pick<OperationOptions, "paths" | "signal">;

export interface CreateNetworkOptions extends NetworkOptions {
  /** `10.87.1.0/24`, of 16 to 29 bits; default: one that is free. */
  readonly subnet?: string | undefined;
  /** Its containers reach each other, and nothing else. */
  readonly internal?: boolean | undefined;
  readonly labels?: Readonly<Record<string, string>> | undefined;
}

async function infoOf(paths: Paths, record: NetworkRecord, signal?: AbortSignal): Promise<NetworkInfo> {
  const members = (await tidyNetwork(paths, record, signal)).map(({ member }) => member);
  const { gateway } = placeOf(record.subnet, 1);
  return { ...record, gateway, ipv6Gateway: placeOf(record.ipv6Subnet, 1).gateway, members };
}

/** @throws NetworkError `invalid-network`, `network-exists`, `no-free-subnet` */
export async function createNetwork(name: string, options: CreateNetworkOptions = {}): Promise<NetworkInfo> {
  const { paths = locatePaths(), signal, ...request } = options;
  const record = await records.createNetwork(paths, { name, ...request }, signal);
  return await infoOf(paths, record, signal);
}

/** By name. */
export async function listNetworks(options: NetworkOptions = {}): Promise<NetworkInfo[]> {
  const { paths = locatePaths(), signal } = options;
  const all = await records.listRecords(paths);
  return await Promise.all(all.map(async (record) => await infoOf(paths, record, signal)));
}

/** @throws NetworkError `network-missing` */
export async function inspectNetwork(name: string, options: NetworkOptions = {}): Promise<NetworkInfo> {
  const { paths = locatePaths(), signal } = options;
  return await infoOf(paths, await records.requireNetwork(paths, name), signal);
}

/**
 * Removes a network that nobody is in.
 * @throws NetworkError `network-missing`, `network-in-use`
 */
export async function removeNetwork(name: string, options: NetworkOptions = {}): Promise<NetworkInfo> {
  const { paths = locatePaths() } = options;
  const info = await inspectNetwork(name, options);
  const { members } = info;
  if (members.length > 0)
    throw new NetworkError(
      "network-in-use",
      `the network ${name} is in use by ${members.map((member) => member.name ?? member.hostname).join(", ")}`,
      { hint: "stop its containers first" },
    );
  await records.removeRecord(paths, name);
  const leases = leaseDir(paths, info);
  await rm(leases, { recursive: true, force: true });
  // The last one takes their common folder with it.
  await rmdir(dirname(leases)).catch(() => {});
  return info;
}

/** Removes every network that nobody is in. */
export async function pruneNetworks(options: NetworkOptions = {}): Promise<NetworkInfo[]> {
  const idle = (await listNetworks(options)).filter(({ members }) => members.length === 0);
  const removed: NetworkInfo[] = [];
  for (const { name } of idle) {
    try {
      removed.push(await removeNetwork(name, options));
    } catch (error) {
      // Somebody has joined it, or removed it, meanwhile.
      if (!(error instanceof NetworkError)) throw error;
    }
  }
  return removed;
}
