/**
 * A network of CNI as somebody has configured it: a list of plugins, each a program with a configuration of its own.
 * https://github.com/containernetworking/cni/blob/spec-v1.0.0/SPEC.md#section-1-network-configuration-format
 *
 *     confDir/10-name.conflist   { cniVersion, name, plugins: [{ type, … }, …] }
 *     confDir/20-other.conf      { cniVersion, name, type, … }: a list of one
 *
 * Whoever can write there is root; what is checked is what would otherwise end as a path or as an argument.
 */
import { open, readdir } from "node:fs/promises";
import { join } from "node:path";
import { messageOf, systemCode } from "../../util/error.ts";
import { nearest } from "../../util/nearest.ts";
import { printable, quote } from "../../util/printable.ts";
import { NetworkError } from "../network.ts";

export type JsonObject = Readonly<Record<string, unknown>>;

export interface CniPlugin {
  /** The name of its program. */
  readonly type: string;
  /** `portMappings`, `ips`, `mac`: what it wants to be told of the container. */
  readonly capabilities: readonly string[];
  /** As it was written. */
  readonly config: JsonObject;
}

export interface CniNetworkConfig {
  readonly name: string;
  readonly cniVersion: string;
  readonly plugins: readonly CniPlugin[];
}

const MAX_FILE_BYTES = 1 << 20;
const MAX_FILES = 1_000;
const MAX_PLUGINS = 32;
/** What `libcni` takes for a network's name. */
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$/;
/** A file's name, and no path. */
const PROGRAM = /^[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,63}$/;
const FILE = /\.(conflist|conf|json)$/;
/** From the first with a chain's previous result on; a result of an older one is of another shape. */
const VERSIONS: ReadonlySet<string> = new Set(["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]);
/** What it does, a packet socket does here. */
const NOT_NEEDED = "tc-redirect-tap";

export function isCniName(name: string): boolean {
  return NAME.test(name);
}

/** Undefined: not one of plugins. @throws NetworkError `cni-bad-config` */
export function parseConfig(text: string, file: string): CniNetworkConfig {
  const refuse = (why: string): never => {
    throw new NetworkError("cni-bad-config", `${printable(file)} is no network of CNI: ${why}`);
  };
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return refuse(`it is no JSON (${printable(messageOf(error), 120)})`);
  }
  if (!isObject(value)) return refuse("it is no object");
  const { name, cniVersion, plugins = [value] } = value;
  if (typeof name !== "string" || !NAME.test(name)) return refuse("it has no name, or one with other signs");
  if (typeof cniVersion !== "string" || !VERSIONS.has(cniVersion))
    return refuse(
      `its cniVersion is ${printable(JSON.stringify(cniVersion) ?? "missing", 40)}, and not one of ${[...VERSIONS].join(", ")}`,
    );
  if (!Array.isArray(plugins) || plugins.length === 0 || plugins.length > MAX_PLUGINS)
    return refuse(`it has no list of 1 to ${MAX_PLUGINS} plugins`);
  const parsed = plugins.map((plugin: unknown) => parsePlugin(plugin, refuse));
  const used = parsed.filter(({ type }) => type !== NOT_NEEDED);
  if (used.length === 0) return refuse("nothing in it makes an interface");
  return { name, cniVersion, plugins: used };
}

function parsePlugin(value: unknown, refuse: (why: string) => never): CniPlugin {
  if (!isObject(value)) return refuse("a plugin is no object");
  const { type, capabilities = {}, ipam } = value;
  if (typeof type !== "string" || !PROGRAM.test(type))
    return refuse("a plugin's type is no name of a program");
  // Plugins execute this one themselves.
  if (ipam !== undefined && !isObject(ipam)) return refuse(`the ipam of ${type} is no object`);
  const inner = ipam?.["type"];
  if (inner !== undefined && (typeof inner !== "string" || (inner !== "" && !PROGRAM.test(inner))))
    return refuse(`the ipam type of ${type} is no name of a program`);
  if (!isObject(capabilities)) return refuse(`the capabilities of ${type} are no object`);
  const asked = Object.keys(capabilities).filter((name) => capabilities[name] === true);
  return { type, capabilities: asked, config: value };
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export interface FoundConfigs {
  /** The first file of each name, by the files' names, as `libcni` has it. */
  readonly networks: readonly CniNetworkConfig[];
  /** Why others are none. */
  readonly problems: readonly NetworkError[];
}

/** A folder that is not there has none. @throws NetworkError `cni-bad-config` for one that cannot be read */
export async function loadConfigs(confDir: string): Promise<FoundConfigs> {
  const names = await readdir(confDir).catch((error: unknown) => {
    if (systemCode(error) === "ENOENT") return [];
    throw new NetworkError("cni-bad-config", `${confDir} cannot be read: ${messageOf(error)}`, {
      cause: error,
    });
  });
  const files = names.filter((name) => FILE.test(name)).toSorted();
  const networks = new Map<string, CniNetworkConfig>();
  const problems: NetworkError[] = [];
  for (const file of files.slice(0, MAX_FILES)) {
    try {
      const network = parseConfig(await readBounded(join(confDir, file)), join(confDir, file));
      if (!networks.has(network.name)) networks.set(network.name, network);
    } catch (error) {
      if (!(error instanceof NetworkError)) throw error;
      problems.push(error);
    }
  }
  return { networks: [...networks.values()], problems };
}

async function readBounded(path: string): Promise<string> {
  try {
    await using file = await open(path, "r");
    const stat = await file.stat();
    if (!stat.isFile() || stat.size > MAX_FILE_BYTES)
      throw new NetworkError(
        "cni-bad-config",
        `${printable(path)} is no file of at most ${MAX_FILE_BYTES} bytes`,
      );
    const { buffer, bytesRead } = await file.read(Buffer.alloc(stat.size), 0, stat.size, 0);
    return buffer.toString("utf8", 0, bytesRead);
  } catch (error) {
    if (error instanceof NetworkError) throw error;
    throw new NetworkError("cni-bad-config", `${printable(path)} cannot be read: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

/** @throws NetworkError `network-missing`, `cni-bad-config` */
export async function findConfig(confDir: string, name: string): Promise<CniNetworkConfig> {
  const { networks, problems } = await loadConfigs(confDir);
  const found = networks.find((one) => one.name === name);
  if (found !== undefined) return found;
  const near = nearest(
    name,
    networks.map((one) => one.name),
  );
  const [problem] = problems;
  throw new NetworkError(
    "network-missing",
    `there is no network ${quote(name)} in ${confDir}${problem === undefined ? "" : `, where ${problem.message}`}`,
    {
      hint:
        near === undefined
          ? `a file of that folder has to have "name": ${quote(name)}; flamebox network ls lists those that there are`
          : `did you mean cni:${near}?`,
    },
  );
}
