/**
 * What a caller may ask of a container. Names follow Docker's where it has one; units are in the names.
 */
import type { Readable, Writable } from "node:stream";
import type { OnProgress } from "../util/progress.ts";
import type { Paths } from "../util/paths.ts";

/** Given to every operation. */
export interface OperationOptions {
  /** Where images and machines live; default: the home directory's (`locatePaths()`). */
  readonly paths?: Paths | undefined;
  /** Ends the operation early; what it had begun is undone, and the call rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
  /** One line a person should see: "no usable KVM: …". */
  readonly onNotice?: ((notice: string) => void) | undefined;
}

export interface RegistryAccess {
  /** Credentials for the reference's registry; without it the Docker config file is asked. */
  readonly credentials?: { readonly username: string; readonly password: string } | undefined;
  /** Path of a Docker `config.json`; default `~/.docker/config.json`; null asks none. */
  readonly dockerConfig?: string | null | undefined;
  /** Allow http and unverified TLS for a registry that is not on loopback. */
  readonly insecure?: boolean | undefined;
  /** Extra CA certificates, PEM. */
  readonly ca?: string | undefined;
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
  /** Default 1. */
  readonly cpus?: number | undefined;
  /** Memory of the machine, default 512. */
  readonly memoryMib?: number | undefined;
  /** Size of the writable layer's disk (sparse), default 10 GiB. */
  readonly storageBytes?: number | undefined;
  /** A kernel of your own (bzImage) instead of the installed one. Its modules are looked for beside it. */
  readonly kernel?: string | undefined;
  /** Fail rather than run under software emulation, which is no isolation boundary. */
  readonly requireKvm?: boolean | undefined;
}

/** A folder or file of the host's in the container. */
export interface BindMount {
  /** Absolute path on the host. It has to exist. */
  readonly source: string;
  /** Absolute path in the container; made when it is missing. */
  readonly target: string;
  readonly readonly: boolean;
}

export interface ContainerOptions extends PullOptions, MachineOptions {
  /** When to ask the registry; default `missing`. */
  readonly pull?: "always" | "missing" | "never" | undefined;
  /** Arguments; replaces the image's Cmd. */
  readonly command?: readonly string[] | undefined;
  /** Replaces the image's Entrypoint and clears its Cmd; `[]` clears both. */
  readonly entrypoint?: readonly string[] | undefined;
  readonly env?: Readonly<Record<string, string>> | undefined;
  readonly workdir?: string | undefined;
  /** `name`, `uid`, `name:group`, `uid:gid`; looked up inside the image. */
  readonly user?: string | undefined;
  readonly groupAdd?: readonly string[] | undefined;
  /** Default: the first 12 characters of the container's id. */
  readonly hostname?: string | undefined;
  /** `host:ip` lines for /etc/hosts. */
  readonly addHosts?: readonly { readonly host: string; readonly address: string }[] | undefined;
  /** Name servers for /etc/resolv.conf; default: the host's that are reachable from a machine. */
  readonly dns?: readonly string[] | undefined;
  readonly network?: "user" | "none" | undefined;
  readonly publish?: readonly PortMapping[] | undefined;
  /** Folders and files of the host's; at most 32. */
  readonly binds?: readonly BindMount[] | undefined;
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
  /** Ends when the process takes no more; writes wait for the process (back pressure). Null unless interactive. */
  readonly stdin: Writable | null;
  readonly stdout: Readable;
  /** Ends at once with a tty. */
  readonly stderr: Readable;
  /** Resolves once the process has ended and all its output can be read. Rejects if the machine is lost. */
  wait(options?: { readonly signal?: AbortSignal | undefined }): Promise<ContainerExit>;
  /** Sends a signal (1 … 64) to the process. */
  kill(signal: number): Promise<void>;
  resize(size: { readonly columns: number; readonly rows: number }): Promise<void>;
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
