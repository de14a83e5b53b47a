/**
 * A chain of plugins: each is given what the one before it has made; at the end all are told, the last one first.
 * https://github.com/containernetworking/cni/blob/spec-v1.0.0/SPEC.md#lifecycle--ordering
 */
import { NetworkError } from "../network.ts";
import type { CniNetworkConfig, CniPlugin, JsonObject } from "./config.ts";
import { isObject } from "./config.ts";
import type { PluginCall } from "./plugin.ts";
import { runPlugin } from "./plugin.ts";
import type { CniResult } from "./result.ts";
import { parseResult } from "./result.ts";

/** Of the interface in the namespace; the agent's program knows it by that name, too. */
export const INTERFACE = "eth0";

/** What a container wants of its network, by the capabilities that plugins declare. */
export interface RuntimeConfig {
  readonly portMappings?: readonly {
    readonly hostIP: string;
    readonly hostPort: number;
    readonly containerPort: number;
    readonly protocol: "tcp" | "udp";
  }[];
  readonly ips?: readonly string[];
  readonly mac?: string;
}

export interface Chain {
  readonly network: CniNetworkConfig;
  readonly pluginDirs: readonly string[];
  readonly containerId: string;
  readonly runtimeConfig: RuntimeConfig;
  /** `IgnoreUnknown=1;IP=10.1.0.7` */
  readonly args: string;
}

/** https://github.com/containernetworking/cni/blob/main/CONVENTIONS.md#dynamic-plugin-specific-fields-capabilities--runtime-configuration */
export function configFor(
  { network, runtimeConfig }: Pick<Chain, "network" | "runtimeConfig">,
  plugin: CniPlugin,
  prevResult: JsonObject | undefined,
): object {
  const { name, cniVersion } = network;
  const wanted = Object.entries(runtimeConfig).filter(([key]) => plugin.capabilities.includes(key));
  return {
    ...plugin.config,
    name,
    cniVersion,
    ...(wanted.length > 0 && { runtimeConfig: Object.fromEntries(wanted) }),
    ...(prevResult !== undefined && { prevResult }),
  };
}

type CallOptions = Pick<PluginCall, "command" | "netns" | "signal">;

function callOf({ pluginDirs, containerId, args }: Chain, options: CallOptions): Omit<PluginCall, "config"> {
  return { pluginDirs, containerId, args, interfaceName: INTERFACE, ...options };
}

/**
 * Makes the interface. When it fails, whoever asked for it has to call `removeAll`: part of it may be made.
 * @throws NetworkError `cni-plugin-missing`, `cni-failed`, `cni-bad-result`; the signal's reason
 */
export async function addAll(chain: Chain, netns: string, signal?: AbortSignal): Promise<CniResult> {
  const call = callOf(chain, { command: "ADD", netns, signal });
  let text = "";
  let prevResult: JsonObject | undefined;
  for (const plugin of chain.network.plugins) {
    text = await runPlugin(plugin.type, { ...call, config: configFor(chain, plugin, prevResult) });
    prevResult = resultOf(plugin, text);
  }
  return parseResult(text, INTERFACE);
}

function resultOf({ type }: CniPlugin, text: string): JsonObject {
  try {
    const value: unknown = JSON.parse(text);
    if (isObject(value)) return value;
  } catch {
    // Said below.
  }
  throw new NetworkError("cni-bad-result", `the CNI plugin ${type} did not say what it has made`);
}

/**
 * Takes away what was made, and goes on when one of them fails.
 * @param netns "" when it is gone
 * @param result of the whole chain; undefined when it did not come to one
 * @returns why it is not all gone
 */
export async function removeAll(
  chain: Chain,
  netns: string,
  result: JsonObject | undefined,
): Promise<NetworkError[]> {
  const call = callOf(chain, { command: "DEL", netns });
  const failures: NetworkError[] = [];
  for (const plugin of chain.network.plugins.toReversed()) {
    try {
      await runPlugin(plugin.type, { ...call, config: configFor(chain, plugin, result) });
    } catch (error) {
      if (!(error instanceof NetworkError)) throw error;
      failures.push(error);
    }
  }
  return failures;
}
