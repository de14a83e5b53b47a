/** What every command that reaches into the store or a registry is given: paths, credentials, platform. */
import { join, resolve } from "node:path";
import type { Environment } from "../context.ts";
import { UsageError } from "../failure.ts";
import type { CniPlaces, Library, Paths, PullOptions } from "../library.ts";
import { parseCount, parseSize } from "./size.ts";

export function pathsFrom(environment: Environment, library: Pick<Library, "locatePaths">): Paths {
  return library.locatePaths({
    FLAMEBOX_HOME: environment["FLAMEBOX_HOME"],
    XDG_DATA_HOME: environment["XDG_DATA_HOME"],
    XDG_RUNTIME_DIR: environment["XDG_RUNTIME_DIR"],
    HOME: environment["HOME"],
  });
}

/** The paths that `FLAMEBOX_FIRECRACKER` and `FLAMEBOX_JAILER` name, from where the command was given. */
export function firecrackerFrom(environment: Environment): {
  readonly firecracker?: string;
  readonly jailer?: string;
} {
  const { FLAMEBOX_FIRECRACKER: firecracker, FLAMEBOX_JAILER: jailer } = environment;
  return {
    ...(firecracker === undefined || firecracker === "" ? {} : { firecracker: resolve(firecracker) }),
    ...(jailer === undefined || jailer === "" ? {} : { jailer: resolve(jailer) }),
  };
}

/** Where CNI's networks and plugins are, by the variables that cnitool and nerdctl read. */
export function cniFrom(environment: Environment): CniPlaces | undefined {
  const [confDir, path] = [first(environment, "NETCONFPATH"), first(environment, "CNI_PATH")];
  if (confDir === undefined && path === undefined) return undefined;
  return {
    ...(confDir !== undefined && { confDir: resolve(confDir) }),
    ...(path !== undefined && {
      pluginDirs: path
        .split(":")
        .filter(Boolean)
        .map((dir) => resolve(dir)),
    }),
  };
}

export interface PullFlags {
  readonly platform?: string;
  readonly insecure?: boolean;
}

const PLATFORM = /^[a-z0-9]+\/[a-z0-9_]+(?:\/[a-z0-9_.]+)?$/;

export function parsePlatform(text: string): string {
  if (!PLATFORM.test(text)) {
    throw new UsageError(
      `--platform '${text}' is not a platform`,
      "write os/architecture[/variant], as in linux/arm64",
    );
  }
  return text;
}

/** The first that is set and not empty. */
function first(environment: Environment, ...names: readonly string[]): string | undefined {
  return names.map((name) => environment[name]).find((value) => value !== undefined && value !== "");
}

/** As curl and Go read them: lower case wins, and HTTP_PROXY in capitals counts as well. */
function proxiesFrom(environment: Environment): PullOptions["proxies"] {
  const all = first(environment, "all_proxy", "ALL_PROXY");
  return {
    http: first(environment, "http_proxy", "HTTP_PROXY") ?? all,
    https: first(environment, "https_proxy", "HTTPS_PROXY") ?? all,
    except: first(environment, "no_proxy", "NO_PROXY"),
  };
}

/** Where podman and skopeo keep logins: for this session, and for good. */
function containersAuthFiles(environment: Environment): string[] {
  const runtime = first(environment, "XDG_RUNTIME_DIR");
  const config = configHome(environment);
  return [runtime, config].flatMap((dir) =>
    dir === undefined ? [] : [join(dir, "containers", "auth.json")],
  );
}

function configHome(environment: Environment): string | undefined {
  const home = first(environment, "HOME");
  return first(environment, "XDG_CONFIG_HOME") ?? (home === undefined ? undefined : join(home, ".config"));
}

function settingsFiles(environment: Environment): string[] {
  const own = first(environment, "FLAMEBOX_HOME") ?? configHome(environment);
  const dir = first(environment, "FLAMEBOX_HOME") === undefined ? "flamebox" : "";
  return [...(own === undefined ? [] : [join(own, dir, "registries.json")]), "/etc/flamebox/registries.json"];
}

function certificateDirs(environment: Environment): string[] {
  const config = configHome(environment);
  const own = config === undefined ? [] : [join(config, "containers", "certs.d")];
  return [...own, "/etc/containers/certs.d", "/etc/docker/certs.d"];
}

/** As Go and Node read them. */
function trustStore(environment: Environment): PullOptions["trustStore"] {
  const file = first(environment, "SSL_CERT_FILE");
  const dirs = first(environment, "SSL_CERT_DIR");
  const extraFile = first(environment, "NODE_EXTRA_CA_CERTS");
  return {
    ...(file === undefined ? {} : { files: [resolve(file)] }),
    ...(dirs === undefined
      ? {}
      : {
          dirs: dirs
            .split(":")
            .filter((dir) => dir !== "")
            .map((dir) => resolve(dir)),
        }),
    ...(extraFile === undefined ? {} : { extraFile: resolve(extraFile) }),
  };
}

/** What an image may take, by `FLAMEBOX_MAX_IMAGE_SIZE` and `FLAMEBOX_MAX_IMAGE_ENTRIES`. */
export function imageLimitsFrom(environment: Environment): Pick<PullOptions, "imageLimits"> {
  const size = first(environment, "FLAMEBOX_MAX_IMAGE_SIZE");
  const entries = first(environment, "FLAMEBOX_MAX_IMAGE_ENTRIES");
  if (size === undefined && entries === undefined) return {};
  return {
    imageLimits: {
      ...(size === undefined ? {} : { maxBytes: parseSize(size, "FLAMEBOX_MAX_IMAGE_SIZE") }),
      ...(entries === undefined ? {} : { maxEntries: parseCount(entries, "FLAMEBOX_MAX_IMAGE_ENTRIES", 1) }),
    },
  };
}

/** `DOCKER_CONFIG` names the directory; unset, the library takes `~/.docker/config.json`. */
export function pullOptionsFrom(flags: PullFlags, environment: Environment): PullOptions {
  const directory = first(environment, "DOCKER_CONFIG");
  const home = first(environment, "HOME");
  const docker = directory ?? (home === undefined ? undefined : join(home, ".docker"));
  const authFile = first(environment, "REGISTRY_AUTH_FILE");
  return {
    ...imageLimitsFrom(environment),
    ...(flags.platform === undefined ? {} : { platform: parsePlatform(flags.platform) }),
    ...(flags.insecure === true ? { insecure: true } : {}),
    ...(docker === undefined ? {} : { dockerConfig: join(docker, "config.json") }),
    ...(authFile === undefined ? {} : { authFile }),
    containersAuthFiles: containersAuthFiles(environment),
    registrySettings: settingsFiles(environment),
    certificateDirs: certificateDirs(environment),
    trustStore: trustStore(environment),
    proxies: proxiesFrom(environment),
  };
}
