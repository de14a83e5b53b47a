/**
 * What a caller may ask of a container. Names follow Docker's where it has one; units are in the names.
 */
import type { FirecrackerTuning } from "../machine/firecracker/tuning.ts";
import type { Readable, Writable } from "node:stream";
import type { CniPlaces } from "../network/cni/network.ts";
import type { EgressOptions } from "../network/policy/policy.ts";
import type { Refusal } from "../network/policy/refusals.ts";
import type { Proxies } from "../source/registry/proxy.ts";
import type { TrustStore } from "../source/registry/trust.ts";
import type { EnclosureOptions } from "../runtime-spec/generate.ts";
import type { ContainerStats } from "../agent/protocol/messages.ts";
import type { ExecOptions, ExecProcess } from "./exec.ts";
import type { MachineUse } from "./machine-use.ts";
import type { ImageLimits } from "../images/budget.ts";
import type { OnProgress } from "../util/progress.ts";
import type { Paths } from "../util/paths.ts";

export type { Balloon } from "../machine/firecracker/api/balloon.ts";
export type { LogLevel } from "../machine/firecracker/api/logger.ts";
export type { RateLimiter, TokenBucket } from "../machine/firecracker/api/rate-limiter.ts";
export type { FirecrackerTuning, RateLimits } from "../machine/firecracker/tuning.ts";
export type { ExecOptions, ExecProcess } from "./exec.ts";
export type { CniPlaces } from "../network/cni/network.ts";
export type { EgressOptions } from "../network/policy/policy.ts";
export type { Transport } from "../network/policy/rules.ts";
export type { Proxies } from "../source/registry/proxy.ts";
export type { TrustStore } from "../source/registry/trust.ts";
export type { Refusal } from "../network/policy/refusals.ts";
export type { Device, DeviceCgroupRule } from "../runtime-spec/devices.ts";
export type { TmpfsMount } from "../runtime-spec/mounts.ts";
export type { Ulimit } from "../runtime-spec/rlimits.ts";

/** Given to every operation. */
export interface OperationOptions {
  /** Where images and machines live; default: the home directory's (`locatePaths()`). */
  readonly paths?: Paths | undefined;
  /** Ends the operation early; what it had begun is undone, and the call rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
  /** One line a person should see: "no usable KVM: …". */
  readonly onNotice?: ((notice: string) => void) | undefined;
  /** Absolute path of the Firecracker program; default: looked up in the PATH. */
  readonly firecracker?: string | undefined;
  /** Absolute path of Firecracker's jailer; default: beside it, or looked up in the PATH. Only root uses it. */
  readonly jailer?: string | undefined;
  /** What an image may take that is fetched, loaded or imported. */
  readonly imageLimits?: ImageLimits | undefined;
}

export interface RegistryAccess {
  /**
   * Credentials for the reference's registry, and for no mirror and no registry that a pushed image came from; without
   * it the Docker config file is asked.
   */
  readonly credentials?: { readonly username: string; readonly password: string } | undefined;
  /** Path of a Docker `config.json`; default `~/.docker/config.json`; null asks none. */
  readonly dockerConfig?: string | null | undefined;
  /** Allow http and unverified TLS for the reference's registry, as for one on loopback; for no other one. */
  readonly insecure?: boolean | undefined;
  /** Extra CA certificates, PEM. */
  readonly ca?: string | undefined;
  /** Path of an `auth.json` that is asked before the Docker config file: `$REGISTRY_AUTH_FILE`. */
  readonly authFile?: string | undefined;
  /** Paths of podman's `auth.json`, asked after it; default `~/.config/containers/auth.json`. */
  readonly containersAuthFiles?: readonly string[] | undefined;
  /** Paths of settings for registries; default `~/.config/flamebox/registries.json` and that in `/etc/flamebox`. */
  readonly registrySettings?: readonly string[] | undefined;
  /** Directories with certificates by registry; default podman's and Docker's `certs.d`. */
  readonly certificateDirs?: readonly string[] | undefined;
  /** Where the system has the authorities that it trusts; default where distributions have them. */
  readonly trustStore?: TrustStore | undefined;
  readonly proxies?: Proxies | undefined;
}

export interface PullOptions extends OperationOptions, RegistryAccess {
  /** `linux/amd64`, `linux/arm/v7`; default: the host's. */
  readonly platform?: string | undefined;
}

/** One `-p [ADDR:]HOST:CONTAINER[/udp]`. */
export interface PortMapping {
  /** Host address to listen on; default 127.0.0.1. */
  readonly hostAddress?: string | undefined;
  /** 0 takes a free port; `RunningContainer.ports` tells which. */
  readonly hostPort: number;
  readonly containerPort: number;
  readonly protocol: "tcp" | "udp";
}

export interface MachineOptions {
  /** CPUs of the container, 0.01 to the host's; the machine has as many vCPUs, rounded up. Default 1. */
  readonly cpus?: number | undefined;
  /**
   * Memory of the container, at least 6. Its machine has more, for its kernel (sizing.ts); by default the machine
   * has 512 MiB, and the container what that leaves.
   */
  readonly memoryMib?: number | undefined;
  /** CPUs of the host that the machine runs on: `0-3,5`. The container sees its vCPUs, and not these. */
  readonly cpusetCpus?: string | undefined;
  /** Size of the writable layer's disk (sparse), default 10 GiB. */
  readonly storageBytes?: number | undefined;
  /** A kernel of your own (bzImage) instead of the installed one. Its modules are looked for beside it. */
  readonly kernel?: string | undefined;
  /** Start from a saved machine, which is made at the first start of its size; default true. False boots one. */
  readonly template?: boolean | undefined;
  /** Fail rather than run under software emulation, which is no isolation boundary. */
  readonly requireKvm?: boolean | undefined;
  /** Default: Firecracker where it is and KVM is usable, else QEMU. */
  readonly vmm?: "firecracker" | "qemu" | undefined;
  /**
   * What Firecracker can do besides: rate limiters of disks, network, entropy and console, a CPU template, a balloon, the
   * level of its log. Part of a template's key. Where QEMU runs the machine, it has no effect, and a notice says so.
   */
  readonly firecrackerTuning?: FirecrackerTuning | undefined;
}

/** What choosing a VMM depends on. */
export interface HostOptions
  extends OperationOptions,
    Pick<MachineOptions, "firecrackerTuning" | "kernel" | "requireKvm" | "vmm"> {
  readonly network?: string | undefined;
}

/** A folder or file of the host in the container. */
export interface BindMount {
  /** Absolute path on the host. */
  readonly source: string;
  /** Absolute path in the container. */
  readonly target: string;
  readonly readonly: boolean;
  /** Make a missing folder rather than fail, as `docker run -v` does. */
  readonly createSource?: boolean | undefined;
}

/** A directory on the container's own disk, which goes with it. */
export interface Volume {
  /** Absolute path in the container. */
  readonly target: string;
  readonly readOnly?: boolean | undefined;
  /** Whether it begins with what the image has there; default true. */
  readonly copy?: boolean | undefined;
}

/** Over the image's, member by member. */
export interface HealthcheckOptions {
  /** `["CMD", program, …]` or `["CMD-SHELL", command]`; default: the image's. */
  readonly test?: readonly string[] | undefined;
  /** From the end of one check to the next; default 30 s. 0 is the default here and below. */
  readonly intervalMs?: number | undefined;
  /** A check that takes longer is ended, and has failed; default 30 s. */
  readonly timeoutMs?: number | undefined;
  /** So many failures in a row are unhealthy; default 3. */
  readonly retries?: number | undefined;
  /** In the beginning, failures do not count for so long; default 0. */
  readonly startPeriodMs?: number | undefined;
  /** The interval in that time, if it is shorter; default 5 s. */
  readonly startIntervalMs?: number | undefined;
}

export interface HealthResult {
  readonly startedAt: Date;
  readonly endedAt: Date;
  /** 0 is healthy; -1 when the check could not be run, or took too long. */
  readonly exitCode: number;
  /** At most 4096 bytes of standard output and error, or why it could not be run. */
  readonly output: string;
}

export interface Health {
  readonly status: "starting" | "healthy" | "unhealthy";
  /** Failures in a row that count. */
  readonly failingStreak: number;
  /** The last five, oldest first. */
  readonly log: readonly HealthResult[];
}

export interface ContainerOptions extends PullOptions, MachineOptions, EnclosureOptions {
  /** When to ask the registry; default `missing`. */
  readonly pull?: "always" | "missing" | "never" | undefined;
  /** Read every byte of the image's layers at each start, and fetch what is damaged again. Default false. */
  readonly verify?: boolean | undefined;
  /** Arguments; replaces the image's Cmd. */
  readonly command?: readonly string[] | undefined;
  /** Replaces the image's Entrypoint and clears its Cmd; `[]` clears both. */
  readonly entrypoint?: readonly string[] | undefined;
  /** Its first process does nothing, until it is stopped: for containers that others are only executed into. */
  readonly idle?: boolean | undefined;
  readonly env?: Readonly<Record<string, string>> | undefined;
  readonly workdir?: string | undefined;
  /** `name`, `uid`, `name:group`, `uid:gid`; looked up inside the image. */
  readonly user?: string | undefined;
  readonly groupAdd?: readonly string[] | undefined;
  /** Default: the first 12 characters of the container's id. */
  readonly hostname?: string | undefined;
  /**
   * `host:ip` lines for /etc/hosts. The address `host-gateway` is the gateway's, which then stands for the host's own
   * loopback: its services are the container's, too.
   */
  readonly addHosts?: readonly { readonly host: string; readonly address: string }[] | undefined;
  /** Name servers for /etc/resolv.conf; default: the host's that are reachable from a machine. */
  readonly dns?: readonly string[] | undefined;
  /** Domains that short names are looked up in; default: the host's. `["."]` is none. */
  readonly dnsSearch?: readonly string[] | undefined;
  /** `ndots:2`, `rotate`: resolv.conf(5); default: the host's. */
  readonly dnsOptions?: readonly string[] | undefined;
  /**
   * `user`: outbound through the host; `none`; a network that `createNetwork` made; or `cni:NAME`, root's only, which is
   * configured in a folder of CNI. Default `user`.
   */
  readonly network?: string | undefined;
  /** Where networks of CNI and their plugins are. */
  readonly cni?: CniPlaces | undefined;
  /** Names in its network, besides its own. */
  readonly networkAliases?: readonly string[] | undefined;
  /** Its address in its network; default: one that is free. */
  readonly ipAddress?: string | undefined;
  /** Where it may connect to; by default everywhere but to the host, its link and other containers. */
  readonly egress?: EgressOptions | undefined;
  /** Told of what it wanted and may not have, at most some times a minute; default: `onNotice` is. */
  readonly onRefused?: ((refusal: Refusal) => void) | undefined;
  readonly publish?: readonly PortMapping[] | undefined;
  /** Every port that the image or `expose` names gets a free port of the host. */
  readonly publishAll?: boolean | undefined;
  /** `80`, `53/udp`, `8000-8010`: ports besides those that the image names. */
  readonly expose?: readonly string[] | undefined;
  /** Of the machine's network interface: `02:00:00:12:34:56`; default: one made up. */
  readonly macAddress?: string | undefined;
  readonly binds?: readonly BindMount[] | undefined;
  readonly volumes?: readonly Volume[] | undefined;
  /** Process 1 is an init that reaps orphans and hands signals on; the command is its child. */
  readonly init?: boolean | undefined;
  /** What asks the process to end: `SIGTERM`, `15`, `SIGRTMIN+3`; default: the image's, or SIGTERM. */
  readonly stopSignal?: string | undefined;
  /** How long `stop` waits before it kills; default 10 s; -1 is without end. */
  readonly stopTimeoutMs?: number | undefined;
  /** False is none, whatever the image says. */
  readonly healthcheck?: HealthcheckOptions | false | undefined;
  /** Told each time the health's status changes. */
  readonly onHealth?: ((health: Health) => void) | undefined;
  /** Over the image's labels. */
  readonly labels?: Readonly<Record<string, string>> | undefined;
  /** Letters, digits, `_`, `.`, `-`. Only a label today: nothing is looked up by it. */
  readonly name?: string | undefined;
  /** A terminal: its first size. stdout and stderr are one then. */
  readonly tty?: { readonly columns: number; readonly rows: number } | undefined;
  /** Keep stdin open and give it to the process; otherwise it reads /dev/null. */
  readonly interactive?: boolean | undefined;
  /** `TERM` for a tty; default `xterm`. */
  readonly term?: string | undefined;
}

/** How a container's process ended. Exactly one of exitCode and signal says why; `code` is Docker's number. */
export interface ContainerExit {
  /** 0 … 255; 128+n when a signal ended it. */
  readonly code: number;
  /** Number of the signal that ended it. */
  readonly signal?: number | undefined;
  /** The kernel ended a process of the container because it had used up its memory; if its first, `code` is 137. */
  readonly oomKilled: boolean;
}

/** A container whose process has been started. Dispose it to end the machine and remove what it had. */
export interface RunningContainer extends AsyncDisposable {
  readonly id: string;
  /** What really runs it: `qemu (kvm)`, `qemu (software emulation)`. */
  readonly machine: string;
  /** The guest's kernel release. */
  readonly kernelRelease: string;
  /** Starts that the boot watchdog had to repeat; 0 is usual. */
  readonly bootRetries: number;
  /** Published ports, with the host's real port where 0 was asked. */
  readonly ports: readonly Required<PortMapping>[];
  readonly name: string | undefined;
  /** The image's and the option's. */
  readonly labels: Readonly<Record<string, string>>;
  /** The container's limit, bytes: a little less than its machine has. */
  readonly memoryLimitBytes: number;
  /** Undefined without a health check. */
  readonly health: Health | undefined;
  /** Ends when the process takes no more; writes wait for the process (back pressure). Null unless interactive. */
  readonly stdin: Writable | null;
  readonly stdout: Readable;
  /** Ends at once with a tty. */
  readonly stderr: Readable;
  /** Resolves once the process has ended and all its output can be read. Rejects if the machine is lost. */
  wait(options?: { readonly signal?: AbortSignal | undefined }): Promise<ContainerExit>;
  /** Sends a signal (1 … 64) to the process. */
  kill(signal: number): Promise<void>;
  /**
   * Asks the process to end with the stop signal, kills it when it has not within the time, and ends the machine
   * when that has no effect either. `signal` is as `stopSignal`, `timeoutMs` as `stopTimeoutMs`.
   * @returns how it ended; 137 when it was the machine that had to be ended
   */
  stop(options?: {
    readonly signal?: string | number | undefined;
    readonly timeoutMs?: number | undefined;
  }): Promise<ContainerExit>;
  /** Tells the container's terminal its size. */
  resize(size: { readonly columns: number; readonly rows: number }): Promise<void>;
  /**
   * Executes a further process in the container.
   * @throws FlameBoxError `command-not-found`, `command-not-executable`, `user-not-found`, `container-paused`, …
   */
  exec(command: readonly string[], options?: ExecOptions): Promise<ExecProcess>;
  /** Halts the machine, with all that is in it. @throws FlameBoxError `container-paused`, `pause-unsupported` */
  pause(): Promise<void>;
  /** Lets the machine go on, and sets its clock. @throws FlameBoxError `container-not-paused` */
  unpause(): Promise<void>;
  readonly isPaused: boolean;
  /** What the container uses now. */
  stats(): Promise<ContainerStatistics>;
}

export interface ContainerStatistics extends ContainerStats {
  readonly memoryLimitBytes: number;
  /** What its machine costs the host. */
  readonly machine: MachineUse;
}

export interface RunOptions extends ContainerOptions {
  /** What the process reads; sets `interactive`. */
  readonly stdin?: Readable | Uint8Array | string | undefined;
  /** Where output goes; without them it is collected into the result, at most `maxOutputBytes` (16 MiB) each. */
  readonly stdout?: Writable | undefined;
  readonly stderr?: Writable | undefined;
  readonly maxOutputBytes?: number | undefined;
}

export interface RunResult extends ContainerExit {
  /** Collected output; empty where a stream was given. */
  readonly stdout: Buffer;
  readonly stderr: Buffer;
  readonly bootRetries: number;
}
