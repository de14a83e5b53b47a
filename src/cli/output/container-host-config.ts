/** `HostConfig` of `inspect`: what a container was asked to be, in Docker's words. As there, 0 and "" are not set. */
import type { ContainerDetails, PortMapping } from "../library.ts";

const MIB = 2 ** 20;

type Bindings = Record<string, { readonly HostIp: string; readonly HostPort: string }[]>;

/** By container port, `80/tcp`. */
export function bindingsOf(ports: readonly PortMapping[]): Bindings {
  const bindings: Bindings = {};
  for (const { hostAddress = "127.0.0.1", hostPort, containerPort, protocol } of ports)
    (bindings[`${containerPort}/${protocol}`] ??= []).push({
      HostIp: hostAddress,
      // One that is free, whichever.
      HostPort: hostPort === 0 ? "" : String(hostPort),
    });
  return bindings;
}

export function hostConfigOf(container: ContainerDetails): object {
  const { options, restart, log, autoRemove, network } = container;
  const { binds = [] } = options;
  return {
    Binds: binds.map(({ source, target, readonly }) => `${source}:${target}${readonly ? ":ro" : ""}`),
    LogConfig: {
      Type: log.driver,
      Config: { "max-size": String(log.maxSizeBytes), "max-file": String(log.maxFiles) },
    },
    NetworkMode: network,
    PortBindings: bindingsOf(options.publish ?? []),
    PublishAllPorts: options.publishAll ?? false,
    RestartPolicy: { Name: restart.name, MaximumRetryCount: restart.maximumRetryCount },
    AutoRemove: autoRemove,
    Init: options.init ?? false,
    ...resolverOf(container),
    ...securityOf(container),
    ...limitsOf(container),
    Tmpfs: Object.fromEntries(
      (options.tmpfs ?? []).map(({ target, options: words = [] }) => [target, words.join(",")]),
    ),
  };
}

function resolverOf({ options }: ContainerDetails): object {
  return {
    Dns: options.dns ?? [],
    DnsOptions: options.dnsOptions ?? [],
    DnsSearch: options.dnsSearch ?? [],
    ExtraHosts: (options.addHosts ?? []).map(({ host, address }) => `${host}:${address}`),
  };
}

function securityOf({ options }: ContainerDetails): object {
  const { seccomp, systemPaths, noNewPrivileges = false, devices = [] } = options;
  return {
    Privileged: options.privileged ?? false,
    ReadonlyRootfs: options.readOnly ?? false,
    CapAdd: options.capAdd ?? [],
    CapDrop: options.capDrop ?? [],
    GroupAdd: options.groupAdd ?? [],
    SecurityOpt: [
      ...(noNewPrivileges ? ["no-new-privileges"] : []),
      ...(seccomp === undefined ? [] : [`seccomp=${seccomp === "unconfined" ? seccomp : seccomp.profile}`]),
      ...(systemPaths === undefined ? [] : [`systempaths=${systemPaths}`]),
    ],
    Sysctls: options.sysctls ?? {},
    Devices: devices.map(({ path, target = path, access = "rwm" }) => ({
      PathOnHost: path,
      PathInContainer: target,
      CgroupPermissions: access,
    })),
  };
}

function limitsOf({ options }: ContainerDetails): object {
  const { memoryMib = 0, cpus = 0, pidsLimit, shmSizeBytes, storageBytes, ulimits = [] } = options;
  return {
    Memory: memoryMib * MIB,
    MemoryReservation: options.memoryReservationBytes ?? 0,
    MemorySwap: options.memorySwapBytes ?? 0,
    NanoCpus: Math.round(cpus * 1e9),
    CpuShares: options.cpuShares ?? 0,
    CpuPeriod: options.cpuPeriodUs ?? 0,
    CpuQuota: options.cpuQuotaUs ?? 0,
    CpusetCpus: options.cpusetCpus ?? "",
    BlkioWeight: options.blkioWeight ?? 0,
    OomScoreAdj: options.oomScoreAdj ?? 0,
    Ulimits: ulimits.map(({ name, soft, hard }) => ({ Name: name, Soft: soft, Hard: hard })),
    ...(pidsLimit !== undefined && { PidsLimit: pidsLimit }),
    ...(shmSizeBytes !== undefined && { ShmSize: shmSizeBytes }),
    ...(storageBytes !== undefined && { StorageSize: storageBytes }),
  };
}
