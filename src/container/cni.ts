/** Networks of CNI, for containers: where they are configured, and the program of the agent's that carries frames. */
export { collectAttachments } from "../network/cni/attachment.ts";
import { loadConfigs } from "../network/cni/config.ts";
import type { CniNetworkOptions } from "../network/cni/network.ts";
import { CONF_DIR, startCniNetwork } from "../network/cni/network.ts";
import type { Network } from "../network/network.ts";
import { locatePaths } from "../util/paths.ts";
import { requireAgent } from "./host.ts";
import type { CniPlaces, ContainerOptions } from "./options.ts";

/** A network of CNI that containers can be in, as it is configured. */
export interface CniNetworkInfo {
  /** As `--network` takes it: `cni:NAME`. */
  readonly name: string;
  readonly driver: "cni";
  readonly cniVersion: string;
  /** `bridge`, `portmap`: in their order. */
  readonly plugins: readonly string[];
}

/** Those that this user can join: none but root's. Files that are no networks are left out. */
export async function cniNetworks({ confDir = CONF_DIR }: CniPlaces = {}): Promise<CniNetworkInfo[]> {
  if (process.geteuid?.() !== 0) return [];
  const { networks } = await loadConfigs(confDir);
  return networks
    .map(({ name, cniVersion, plugins }) => ({
      name: `cni:${name}`,
      driver: "cni" as const,
      cniVersion,
      plugins: plugins.map(({ type }) => type),
    }))
    .toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

/** @throws NetworkError as `startCniNetwork`; MachineError `agent-missing` */
export async function startCni(
  options: ContainerOptions,
  own: Omit<CniNetworkOptions, "dataDir" | "helper">,
): Promise<Network> {
  const { paths = locatePaths(), cni, ipAddress, dns, egress, onNotice, signal } = options;
  const helper = await requireAgent(paths);
  return await startCniNetwork({
    ...own,
    dataDir: paths.dataDir,
    helper,
    places: cni,
    address: ipAddress,
    dns,
    egress,
    onNotice,
    signal,
  });
}
