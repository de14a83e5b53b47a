/** A container in Docker's words: what `docker inspect` prints, as far as it has a meaning here. */
import type { ContainerDetails } from "../library.ts";

const NEVER = "0001-01-01T00:00:00Z";
const MIB = 2 ** 20;

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

function portsOf({ ports }: ContainerDetails): Record<string, object[]> {
  const bindings: Record<string, object[]> = {};
  for (const { hostAddress = "127.0.0.1", hostPort, containerPort, protocol } of ports)
    (bindings[`${containerPort}/${protocol}`] ??= []).push({
      HostIp: hostAddress,
      HostPort: String(hostPort),
    });
  return bindings;
}

function hostConfigOf({ options, restart, log, autoRemove }: ContainerDetails): object {
  const { memoryMib, cpus, pidsLimit, shmSizeBytes, storageBytes, binds = [], network = "user" } = options;
  return {
    NetworkMode: network,
    RestartPolicy: { Name: restart.name, MaximumRetryCount: restart.maximumRetryCount },
    AutoRemove: autoRemove,
    LogConfig: {
      Type: log.driver,
      Config: { "max-size": String(log.maxSizeBytes), "max-file": String(log.maxFiles) },
    },
    Binds: binds.map(({ source, target, readonly }) => `${source}:${target}${readonly ? ":ro" : ""}`),
    Privileged: options.privileged ?? false,
    ReadonlyRootfs: options.readOnly ?? false,
    CapAdd: options.capAdd ?? [],
    CapDrop: options.capDrop ?? [],
    Dns: options.dns ?? [],
    Init: options.init ?? false,
    ...(memoryMib !== undefined && { Memory: memoryMib * MIB }),
    ...(cpus !== undefined && { NanoCpus: cpus * 1e9 }),
    ...(pidsLimit !== undefined && { PidsLimit: pidsLimit }),
    ...(shmSizeBytes !== undefined && { ShmSize: shmSizeBytes }),
    ...(storageBytes !== undefined && { StorageSize: storageBytes }),
  };
}

function configOf({ options, image, labels, id, args }: ContainerDetails): object {
  return {
    Hostname: options.hostname ?? id.slice(0, 12),
    User: options.user ?? "",
    Tty: options.tty !== undefined,
    OpenStdin: options.interactive ?? false,
    Env: Object.entries(options.env ?? {}).map(([name, value]) => `${name}=${value}`),
    Cmd: args,
    Image: image,
    WorkingDir: options.workdir ?? "",
    Labels: labels,
  };
}

export function containerDocument(container: ContainerDetails): object {
  const { id, name, createdAt, args, imageId, state, options, sizeBytes, dir, platform } = container;
  const { live } = state;
  const [address = ""] = live?.addresses ?? [];
  const [ip = "", prefix = "0"] = address.split("/");
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
    SizeRw: sizeBytes,
    Machine: {
      Description: live?.machine ?? "",
      Kernel: live?.kernelRelease ?? "",
      MemoryLimit: live?.memoryLimitBytes ?? 0,
    },
    HostConfig: hostConfigOf(container),
    Mounts: (options.binds ?? []).map(({ source, target, readonly }) => ({
      Type: "bind",
      Source: source,
      Destination: target,
      RW: !readonly,
    })),
    Config: configOf(container),
    NetworkSettings: {
      Ports: portsOf(container),
      IPAddress: ip,
      IPPrefixLen: Number(prefix),
      MacAddress: live?.mac ?? "",
      Addresses: live?.addresses ?? [],
    },
  };
}
