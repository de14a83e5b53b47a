/** A container in Docker's words: what `docker inspect` prints, as far as it has a meaning here. */
import type { ContainerDetails, HealthcheckOptions } from "../library.ts";
import { bindingsOf, hostConfigOf } from "./container-host-config.ts";

const NEVER = "0001-01-01T00:00:00Z";

function stateOf({ state, error }: ContainerDetails): object {
  const {
    status,
    live,
    exitCode = 0,
    oomKilled = false,
    startedAt,
    finishedAt,
    health,
    warnings = [],
  } = state;
  return {
    Status: status,
    Running: status === "running" || status === "paused",
    Paused: status === "paused",
    Restarting: status === "restarting",
    OOMKilled: oomKilled,
    Dead: false,
    Pid: live?.vmmPid ?? 0,
    MonitorPid: live?.monitorPid ?? 0,
    ExitCode: exitCode,
    Error: error ?? "",
    StartedAt: startedAt ?? NEVER,
    FinishedAt: finishedAt ?? NEVER,
    Warnings: warnings.map(({ time, message }) => ({ Time: time, Message: message })),
    ...(health && {
      Health: {
        Status: health.status,
        FailingStreak: health.failingStreak,
        Log: health.log.map((result) => ({
          Start: result.startedAt,
          End: result.endedAt,
          ExitCode: result.exitCode,
          Output: result.output,
        })),
      },
    }),
  };
}

const nsOf = (ms: number | undefined) => (ms === undefined ? undefined : Math.round(ms * 1e6));

/** Without what nobody has said, as JSON leaves undefined members out. */
function healthcheckOf(check: HealthcheckOptions): object {
  return {
    Test: check.test,
    Interval: nsOf(check.intervalMs),
    Timeout: nsOf(check.timeoutMs),
    StartPeriod: nsOf(check.startPeriodMs),
    StartInterval: nsOf(check.startIntervalMs),
    Retries: check.retries,
  };
}

const namesOf = (names: readonly string[]) => Object.fromEntries(names.map((name) => [name, {}]));

/** What only the image's config tells is left out when that cannot be read. */
function configOf({ options, config, image, labels, id }: ContainerDetails): object {
  const { domainname = "", stopTimeoutMs } = options;
  return {
    Hostname: options.hostname ?? id.slice(0, 12),
    Domainname: domainname,
    User: config?.user ?? options.user,
    ExposedPorts: config && namesOf(config.exposedPorts),
    Tty: options.tty !== undefined,
    OpenStdin: options.interactive ?? false,
    Env: config?.env,
    Cmd: config && (config.command ?? null),
    Healthcheck: config?.healthcheck && healthcheckOf(config.healthcheck),
    Image: image,
    Volumes: config && namesOf(config.volumes.map(({ target }) => target)),
    WorkingDir: config?.workdir ?? options.workdir,
    Entrypoint: config && (config.entrypoint ?? null),
    Labels: labels,
    StopSignal: config?.stopSignal ?? options.stopSignal,
    StopTimeout: stopTimeoutMs === undefined ? undefined : stopTimeoutMs < 0 ? -1 : stopTimeoutMs / 1000,
  };
}

/** Volumes have neither a name nor a place on the host: they are on the container's own disk. */
function mountsOf({ options, config }: ContainerDetails): object[] {
  const { binds = [], tmpfs = [], volumes = [] } = config ?? options;
  return [
    ...binds.map(({ source, target, readonly }) => ({
      Type: "bind",
      Source: source,
      Destination: target,
      Mode: readonly ? "ro" : "",
      RW: !readonly,
    })),
    ...volumes.map(({ target, readOnly = false }) => ({
      Type: "volume",
      Destination: target,
      Mode: readOnly ? "ro" : "",
      RW: !readOnly,
    })),
    ...tmpfs.map(({ target, options: words = [] }) => ({
      Type: "tmpfs",
      Destination: target,
      Mode: words.join(","),
      RW: !words.includes("ro"),
    })),
  ];
}

/** One family's address, and what leads out of its network; empty while the container does not run. */
function placeOf(live: ContainerDetails["state"]["live"], isWanted: (address: string) => boolean) {
  const [address = "", prefix = "0"] = live?.addresses.find(isWanted)?.split("/") ?? [];
  return { address, prefixLength: Number(prefix), gateway: live?.gateways?.find(isWanted) ?? "" };
}

function networkSettingsOf({ state, ports, options, config, network }: ContainerDetails): object {
  const { live } = state;
  const [v4, v6] = [
    placeOf(live, (address) => !address.includes(":")),
    placeOf(live, (address) => address.includes(":")),
  ];
  const endpoint = {
    MacAddress: live?.mac ?? "",
    Gateway: v4.gateway,
    IPAddress: v4.address,
    IPPrefixLen: v4.prefixLength,
    IPv6Gateway: v6.gateway,
    GlobalIPv6Address: v6.address,
    GlobalIPv6PrefixLen: v6.prefixLength,
  };
  const closed = live === undefined ? [] : (config?.exposedPorts ?? []);
  return {
    Ports: { ...Object.fromEntries(closed.map((port) => [port, null])), ...bindingsOf(ports) },
    ...endpoint,
    Addresses: live?.addresses ?? [],
    Networks: {
      [network]: {
        IPAMConfig: options.ipAddress === undefined ? null : { IPv4Address: options.ipAddress },
        Aliases: options.networkAliases ?? [],
        ...endpoint,
      },
    },
  };
}

/** What Docker has no words for. */
function ownOf({ options, network }: ContainerDetails): object {
  const { policy, allow = [], deny = [] } = options.egress ?? {};
  if (network === "none") return {};
  return { Egress: { Policy: policy ?? (allow.length > 0 ? "deny" : "allow"), Allow: allow, Deny: deny } };
}

/** @param style `size`: with what the container takes on this host's disk */
export function containerDocument(
  container: ContainerDetails,
  { size = false }: { readonly size?: boolean } = {},
): object {
  const { id, name, createdAt, args, imageId, state, sizeBytes, dir, platform } = container;
  const { live } = state;
  return {
    Id: id,
    Name: name,
    Created: createdAt,
    Path: args[0] ?? "",
    Args: args.slice(1),
    State: stateOf(container),
    Image: imageId,
    Platform: platform,
    RestartCount: container.restartCount,
    LogPath: `${dir}/container.log`,
    ...(size && { SizeRw: sizeBytes }),
    Machine: {
      Description: live?.machine ?? "",
      Kernel: live?.kernelRelease ?? "",
      MemoryLimit: live?.memoryLimitBytes ?? 0,
    },
    FlameBox: ownOf(container),
    HostConfig: hostConfigOf(container),
    Mounts: mountsOf(container),
    Config: configOf(container),
    NetworkSettings: networkSettingsOf(container),
  };
}
