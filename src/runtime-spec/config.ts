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
  readonly mounts: readonly Mount[];
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
  readonly rlimits: readonly { readonly type: string; readonly hard: number; readonly soft: number }[];
  readonly noNewPrivileges: boolean;
}

export interface Capabilities {
  readonly bounding: readonly string[];
  readonly effective: readonly string[];
  readonly permitted: readonly string[];
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
  readonly maskedPaths: readonly string[];
  readonly readonlyPaths: readonly string[];
}
