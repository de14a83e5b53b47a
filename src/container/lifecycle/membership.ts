/**
 * Which network a container is in, changed after it was made. Its machine has one interface, whose addresses it is given
 * at its start; so a change is one of its record, and takes effect then.
 */
import { checkAddress } from "../../network/named/leases.ts";
import { requireNetwork } from "../../network/named/record.ts";
import { FlameBoxError } from "../../util/error.ts";
import type { Paths } from "../../util/paths.ts";
import { quote } from "../../util/printable.ts";
import { checkConnection } from "../connection.ts";
import type { OperationOptions } from "../options.ts";
import { noteEvent } from "./events.ts";
import { isOwned, whileIdle } from "./heal.ts";
import { infoOf } from "./info.ts";
import type { ContainerInfo } from "./info.ts";
import { optionsToStart, readRecord, replaceRecord } from "./record.ts";
import type { ContainerRecord, KeptOptions } from "./record.ts";
import { find } from "./verbs.ts";

export interface ConnectNetworkOptions extends OperationOptions {
  /** Names in the network, besides its own. */
  readonly aliases?: readonly string[] | undefined;
  /** Its address in the network; default: one that is free. */
  readonly ipAddress?: string | undefined;
}

const USER = "user";
const NONE = "none";

function isNamed(network: string): boolean {
  return network !== USER && network !== NONE;
}

/**
 * Puts a container that does not run into a network, from its next start on.
 * @param network one that `createNetwork` made, or `user`: outbound through the host
 * @throws FlameBoxError `container-running`, `container-connected` when it is in a network already, `invalid-option`;
 *   NetworkError `network-missing`
 */
export async function connectNetwork(
  network: string,
  container: string,
  options: ConnectNetworkOptions = {},
): Promise<ContainerInfo> {
  const { aliases, ipAddress } = options;
  if (network === NONE)
    throw new FlameBoxError("invalid-option", "none is no network to be in", {
      hint: "take it out of the one that it is in: flamebox network disconnect NETWORK CONTAINER",
    });
  return await changed(container, options, async (paths, { name, options: before }) => {
    if (isNamed(network)) {
      const record = await requireNetwork(paths, network);
      if (ipAddress !== undefined) checkAddress(record, ipAddress);
    }
    const { network: current = USER } = before;
    if (current === network || isNamed(current))
      throw new FlameBoxError(
        "container-connected",
        `the container ${quote(name)} is in the network ${current}`,
        {
          hint:
            current === network
              ? "it needs nothing more than to be started"
              : `it can be in one only: flamebox network disconnect ${current} ${name}`,
        },
      );
    return { ...before, network, networkAliases: aliases, ipAddress };
  });
}

/**
 * Takes a container that does not run out of its network. From its next start on it has none, until it is connected to
 * another; the ports that it publishes are published again then.
 * @throws FlameBoxError `container-running`, `container-not-connected`
 */
export async function disconnectNetwork(
  network: string,
  container: string,
  options: OperationOptions = {},
): Promise<ContainerInfo> {
  return await changed(container, options, async (_paths, { name, options: before }) => {
    const { network: current = USER } = before;
    if (current !== network || network === NONE)
      throw new FlameBoxError(
        "container-not-connected",
        `the container ${quote(name)} is not in the network ${network}`,
        { hint: current === NONE ? "it is in none" : `it is in ${current}` },
      );
    return { ...before, network: NONE, networkAliases: undefined, ipAddress: undefined };
  });
}

async function changed(
  container: string,
  options: OperationOptions,
  change: (paths: Paths, record: ContainerRecord) => Promise<KeptOptions>,
): Promise<ContainerInfo> {
  const { paths, record } = await find(container, options);
  const { id, name } = record;
  if (await isOwned(paths, id))
    throw new FlameBoxError(
      "container-running",
      `the container ${quote(name)} is running, and its network is that of its start`,
      { hint: `stop it first: flamebox stop ${name}; it can be started again then` },
    );
  return await whileIdle(paths, record, async () => {
    // Renamed, or changed by another, since it was found.
    const before = (await readRecord(paths, id)) ?? record;
    const after: ContainerRecord = { ...before, options: await change(paths, before) };
    checkConnection(optionsToStart(after));
    await replaceRecord(paths, after);
    await noteEvent(paths, "update", after);
    return await infoOf(paths, after);
  });
}
