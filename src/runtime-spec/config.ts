/**
 * The part of the OCI runtime specification's `config.json` that FlameBox writes.
 * https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config.md
 *
 * Names are the specification's.
 */
export interface RuntimeConfig {
  readonly ociVersion: string;
  readonly process: Process;
  readonly root: { readonly path: string; readonly readonly: boolean };
  readonly hostname: string;
  readonly domainname?: string;
  readonly mounts: readonly Mount[];
  readonly annotations?: Readonly<Record<string, string>>;
  readonly linux: Linux;
}

export interface Process {
  readonly terminal: boolean;
  /** Characters. */
  readonly consoleSize?: { readonly height: number; readonly width: number };
  /** The agent replaces it with what it finds for the user's name in the image. */
  readonly user: { readonly uid: number; readonly gid: number };
  readonly args: readonly string[];
  readonly env: readonly string[];
  readonly cwd: string;
  readonly capabilities: Capabilities;
  readonly rlimits: readonly Rlimit[];
  readonly noNewPrivileges: boolean;
  readonly oomScoreAdj?: number;
}

export interface Capabilities {
  readonly bounding: readonly string[];
  readonly effective: readonly string[];
  readonly permitted: readonly string[];
}

export interface Rlimit {
  readonly type: string;
  readonly hard: number;
  readonly soft: number;
}

export interface Mount {
  readonly destination: string;
  readonly type: string;
  readonly source: string;
  readonly options: readonly string[];
}

export interface Linux {
  readonly namespaces: readonly { readonly type: string }[];
  readonly cgroupsPath: string;
  readonly sysctl: Readonly<Record<string, string>>;
  readonly resources: Resources;
  readonly devices?: readonly DeviceNode[];
  readonly seccomp?: Seccomp;
  readonly maskedPaths: readonly string[];
  readonly readonlyPaths: readonly string[];
}

/** https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config-linux.md#control-groups */
export interface Resources {
  readonly devices: readonly DeviceRule[];
  /** Bytes; -1 is no limit. `swap` is memory and swap together. */
  readonly memory?: { readonly limit?: number; readonly reservation?: number; readonly swap?: number };
  /** `quota` and `period` are microseconds. */
  readonly cpu?: { readonly shares?: number; readonly quota?: number; readonly period?: number };
  readonly pids?: { readonly limit: number };
  readonly blockIO?: { readonly weight: number };
}

export interface DeviceRule {
  readonly allow: boolean;
  readonly type?: "a" | "b" | "c";
  /** Absent is every one. */
  readonly major?: number;
  readonly minor?: number;
  /** Of `r` read, `w` write, `m` mknod. */
  readonly access: string;
}

export interface DeviceNode {
  readonly path: string;
  readonly type: "b" | "c";
  readonly major: number;
  readonly minor: number;
  readonly fileMode: number;
  readonly uid: number;
  readonly gid: number;
}

/** https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config-linux.md#seccomp */
export interface Seccomp {
  readonly defaultAction: string;
  readonly defaultErrnoRet?: number;
  readonly architectures?: readonly string[];
  readonly flags?: readonly string[];
  readonly syscalls: readonly SyscallRule[];
}

export interface SyscallRule {
  readonly names: readonly string[];
  readonly action: string;
  readonly errnoRet?: number;
  readonly args?: readonly SyscallArgument[];
}

export interface SyscallArgument {
  readonly index: number;
  readonly value: number;
  readonly valueTwo?: number;
  readonly op: string;
}
