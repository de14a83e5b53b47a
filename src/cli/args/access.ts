/** What every command that reaches into the store or a registry is given: paths, credentials, platform. */
import { join, resolve } from "node:path";
import type { Environment } from "../context.ts";
import { UsageError } from "../failure.ts";
import type { Library, Paths, PullOptions } from "../library.ts";

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

/** `DOCKER_CONFIG` names the directory; unset, the library takes `~/.docker/config.json`. */
export function pullOptionsFrom(flags: PullFlags, environment: Environment): PullOptions {
  const directory = environment["DOCKER_CONFIG"];
  return {
    ...(flags.platform === undefined ? {} : { platform: parsePlatform(flags.platform) }),
    ...(flags.insecure === true ? { insecure: true } : {}),
    ...(directory === undefined || directory === "" ? {} : { dockerConfig: join(directory, "config.json") }),
  };
}
