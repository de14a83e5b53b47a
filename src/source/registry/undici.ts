/**
 * The part of undici that registries need. Loading all of it takes 50 ms, most of it for `fetch`, caches and
 * web sockets; its agent and its `request` take 20 ms. They have no public path of their own, so where a
 * version has moved them, all of it is loaded.
 */
import { createRequire } from "node:module";
import type { Agent, buildConnector, Dispatcher, ProxyAgent } from "undici";
import { systemCode } from "../../util/error.ts";

type Request = (options: Dispatcher.RequestOptions) => Promise<Dispatcher.ResponseData>;

export interface Undici {
  readonly Agent: typeof Agent;
  readonly buildConnector: typeof buildConnector;
  /** Not loaded before it is wanted. */
  loadProxyAgent(): Promise<typeof ProxyAgent>;
  request(agent: Dispatcher, options: Dispatcher.RequestOptions): Promise<Dispatcher.ResponseData>;
}

function loadParts(): Undici {
  const require = createRequire(import.meta.url);
  const parts = {
    Agent: require("undici/lib/dispatcher/agent.js") as typeof Agent,
    buildConnector: require("undici/lib/core/connect.js") as typeof buildConnector,
    request: require("undici/lib/api/api-request.js") as (
      this: Dispatcher,
      ...args: Parameters<Request>
    ) => ReturnType<Request>,
  };
  // It calls methods that only the whole package gives to its classes.
  const loadProxyAgent = async () => (await import("undici")).ProxyAgent;
  return { ...parts, loadProxyAgent, request: (agent, options) => parts.request.call(agent, options) };
}

let loaded: Promise<Undici> | undefined;

async function load(): Promise<Undici> {
  try {
    return loadParts();
  } catch (error) {
    const moved = ["MODULE_NOT_FOUND", "ERR_PACKAGE_PATH_NOT_EXPORTED"].includes(systemCode(error) ?? "");
    if (!moved) throw error;
    const whole = await import("undici");
    const { Agent, buildConnector } = whole;
    const loadProxyAgent = async () => whole.ProxyAgent;
    return { Agent, buildConnector, loadProxyAgent, request: (agent, options) => agent.request(options) };
  }
}

export function loadUndici(): Promise<Undici> {
  return (loaded ??= load());
}
