/**
 * Image config + what the user asked for -> config.json. Pure; the one place where Docker's rules about
 * entrypoint, command, environment and working directory live.
 * https://github.com/opencontainers/image-spec/blob/v1.1.0/conversion.md
 */
import { posix } from "node:path";
import type { ExecutionConfig } from "../oci/config.ts";
import { FlameBoxError } from "../util/error.ts";
import type { RuntimeConfig } from "./config.ts";
import {
  DEFAULT_CAPABILITIES,
  DEFAULT_MASKED_PATHS,
  DEFAULT_MOUNTS,
  DEFAULT_NAMESPACES,
  DEFAULT_PATH,
  DEFAULT_READONLY_PATHS,
  DEFAULT_RLIMITS,
} from "./defaults.ts";

export interface ProcessRequest {
  /** 12 to 64 hexadecimal digits; names the cgroup. */
  readonly containerId: string;
  readonly command?: readonly string[] | undefined;
  readonly entrypoint?: readonly string[] | undefined;
  readonly env?: Readonly<Record<string, string>> | undefined;
  readonly workdir?: string | undefined;
  readonly hostname: string;
  readonly tty?: { readonly columns: number; readonly rows: number } | undefined;
  readonly term?: string | undefined;
}

export class RuntimeSpecError extends FlameBoxError {
  override readonly name = "RuntimeSpecError";
}

/** @throws RuntimeSpecError `no-command`, `invalid-option` */
export function generate(image: ExecutionConfig, request: ProcessRequest): RuntimeConfig {
  const { tty } = request;
  return {
    ociVersion: "1.2.0",
    process: {
      terminal: tty !== undefined,
      ...(tty && { consoleSize: { height: tty.rows, width: tty.columns } }),
      user: { uid: 0, gid: 0 },
      args: argumentsOf(image, request),
      env: environmentOf(image, request),
      cwd: workingDirectoryOf(image, request),
      capabilities: {
        bounding: DEFAULT_CAPABILITIES,
        effective: DEFAULT_CAPABILITIES,
        permitted: DEFAULT_CAPABILITIES,
      },
      rlimits: DEFAULT_RLIMITS,
      noNewPrivileges: false,
    },
    root: { path: "rootfs", readonly: false },
    hostname: hostnameOf(request),
    mounts: DEFAULT_MOUNTS,
    linux: {
      namespaces: DEFAULT_NAMESPACES.map((type) => ({ type })),
      cgroupsPath: `/flamebox/${request.containerId}`,
      maskedPaths: DEFAULT_MASKED_PATHS,
      readonlyPaths: DEFAULT_READONLY_PATHS,
    },
  };
}

/** `--entrypoint` clears the image's Cmd, as it was written for the image's own entrypoint. */
function argumentsOf(image: ExecutionConfig, request: ProcessRequest): string[] {
  const entrypoint = request.entrypoint ?? image.Entrypoint ?? [];
  const imageCommand = request.entrypoint === undefined ? (image.Cmd ?? []) : [];
  const command =
    request.command !== undefined && request.command.length > 0 ? request.command : imageCommand;
  const args = [...entrypoint, ...command];
  if (args.length === 0)
    throw new RuntimeSpecError(
      "no-command",
      "no command given, and the image has neither an entrypoint nor a command",
      {
        hint: "write the command behind the image: flamebox run IMAGE COMMAND…",
      },
    );
  for (const arg of args) refuseNul(arg, "an argument");
  return args;
}

function environmentOf(image: ExecutionConfig, request: ProcessRequest): string[] {
  const merged = new Map<string, string>();
  const put = (line: string): void => {
    const equals = line.indexOf("=");
    merged.set(equals < 0 ? line : line.slice(0, equals), line);
  };
  put(DEFAULT_PATH);
  put(`HOSTNAME=${request.hostname}`);
  if (request.tty !== undefined) put(`TERM=${request.term ?? "xterm"}`);
  for (const line of image.Env ?? []) put(line);
  for (const [name, value] of Object.entries(request.env ?? {})) {
    if (name === "" || name.includes("="))
      throw new RuntimeSpecError(
        "invalid-option",
        `not a name for an environment variable: ${JSON.stringify(name)}`,
      );
    refuseNul(name + value, `the environment variable ${name.slice(0, 100)}`);
    put(`${name}=${value}`);
  }
  return [...merged.values()];
}

function workingDirectoryOf(image: ExecutionConfig, request: ProcessRequest): string {
  const { workdir } = request;
  if (workdir !== undefined && !workdir.startsWith("/"))
    throw new RuntimeSpecError(
      "invalid-option",
      `the working directory ${JSON.stringify(workdir)} is not an absolute path`,
    );
  refuseNul(workdir ?? "", "the working directory");
  // An image may say `app` and mean /app; Docker lets that pass.
  return posix.normalize(`/${workdir ?? image.WorkingDir ?? ""}`).replace(/^\/+(?=.)/, "/");
}

/** https://man7.org/linux/man-pages/man7/hostname.7.html */
function hostnameOf(request: ProcessRequest): string {
  const { hostname } = request;
  if (hostname.length > 64 || !/^[0-9A-Za-z]([0-9A-Za-z_.-]*[0-9A-Za-z])?$/.test(hostname))
    throw new RuntimeSpecError(
      "invalid-option",
      `not a host name: ${JSON.stringify(hostname.slice(0, 100))}`,
      {
        hint: "use at most 64 letters, digits, dots and hyphens, beginning and ending with a letter or digit",
      },
    );
  return hostname;
}

function refuseNul(text: string, what: string): void {
  if (text.includes("\0")) throw new RuntimeSpecError("invalid-option", `${what} contains a NUL character`);
}
