/**
 * Image config + what the user asked for -> config.json. Pure; the one place where Docker's rules about
 * entrypoint, command, environment and working directory live.
 * https://github.com/opencontainers/image-spec/blob/v1.1.0/conversion.md
 */
import { posix } from "node:path";
import type { ExecutionConfig } from "../oci/config.ts";
import { quote } from "../util/printable.ts";
import { capabilitiesOf } from "./capabilities.ts";
import type { CapabilityOptions } from "./capabilities.ts";
import type { Linux, Process, RuntimeConfig, Seccomp } from "./config.ts";
import {
  DEFAULT_MASKED_PATHS,
  DEFAULT_NAMESPACES,
  DEFAULT_PATH,
  DEFAULT_READONLY_PATHS,
} from "./defaults.ts";
import { devicesOf } from "./devices.ts";
import type { DeviceOptions } from "./devices.ts";
import { invalidOption, RuntimeSpecError } from "./error.ts";
import { mountsOf } from "./mounts.ts";
import type { MountOptions } from "./mounts.ts";
import { oomScoreAdjOf, resourcesOf } from "./resources.ts";
import type { MachineShare, ResourceOptions } from "./resources.ts";
import { rlimitsOf } from "./rlimits.ts";
import type { Ulimit } from "./rlimits.ts";
import { DEFAULT_PROFILE } from "./seccomp/default-profile.ts";
import { parseProfile } from "./seccomp/profile.ts";
import { resolveProfile } from "./seccomp/resolve.ts";
import { sysctlsOf } from "./sysctls.ts";

export { RuntimeSpecError } from "./error.ts";

export interface SecurityOptions extends CapabilityOptions, DeviceOptions {
  /** No program in the container can gain privileges: setuid bits and file capabilities do nothing. */
  readonly noNewPrivileges?: boolean | undefined;
  /** A profile in Docker's format, as JSON text; `unconfined` is no filter; default: Docker's default one. */
  readonly seccomp?: "unconfined" | { readonly profile: string } | undefined;
  /** `unconfined`: nothing below /proc and /sys is hidden or read-only. */
  readonly systemPaths?: "unconfined" | undefined;
}

/** What of a container's options shows in config.json, besides the process's own. */
export interface EnclosureOptions extends SecurityOptions, ResourceOptions, MountOptions {
  readonly sysctls?: Readonly<Record<string, string>> | undefined;
  readonly ulimits?: readonly Ulimit[] | undefined;
  /** NIS domain name, in the container's own UTS namespace. */
  readonly domainname?: string | undefined;
  /** Of the OCI configuration: for whoever reads it, and without any effect here. */
  readonly annotations?: Readonly<Record<string, string>> | undefined;
}

export interface ProcessRequest extends EnclosureOptions {
  /** 12 to 64 hexadecimal digits; names the cgroup. */
  readonly containerId: string;
  readonly command?: readonly string[] | undefined;
  readonly entrypoint?: readonly string[] | undefined;
  readonly env?: Readonly<Record<string, string>> | undefined;
  readonly workdir?: string | undefined;
  readonly hostname: string;
  readonly tty?: { readonly columns: number; readonly rows: number } | undefined;
  readonly term?: string | undefined;
  readonly share: MachineShare;
  /** `uname -r` of the guest: some rules of seccomp profiles want a kernel. */
  readonly kernelRelease: string;
  /** Places in the container that volumes and host folders are mounted at. */
  readonly mountedAt?: readonly string[] | undefined;
}

/** @throws RuntimeSpecError `no-command`, `invalid-option`, `invalid-seccomp-profile` */
export function generate(image: ExecutionConfig, request: ProcessRequest): RuntimeConfig {
  const { domainname, annotations = {}, readOnly = false, mountedAt = [] } = request;
  return {
    ociVersion: "1.2.0",
    process: processOf(image, request),
    root: { path: "rootfs", readonly: readOnly },
    hostname: hostnameOf(request),
    ...(domainname !== undefined && { domainname: domainnameOf(domainname) }),
    mounts: mountsOf(request, mountedAt),
    ...(Object.keys(annotations).length > 0 && { annotations: annotationsOf(annotations) }),
    linux: linuxOf(request),
  };
}

/**
 * What can be wrong whatever the image is.
 * @throws RuntimeSpecError `invalid-option`, `invalid-seccomp-profile`
 */
export function checkEnclosure(request: ProcessRequest): void {
  generate({ Cmd: ["true"] }, { ...request, command: undefined, entrypoint: undefined });
}

function processOf(image: ExecutionConfig, request: ProcessRequest): Process {
  const { tty, noNewPrivileges = false, ulimits } = request;
  const oomScoreAdj = oomScoreAdjOf(request);
  return {
    terminal: tty !== undefined,
    ...(tty && { consoleSize: { height: tty.rows, width: tty.columns } }),
    user: { uid: 0, gid: 0 },
    args: argumentsOf(image, request),
    env: environmentOf(image, request),
    cwd: workingDirectoryOf(image, request),
    capabilities: capabilitiesOf(request),
    rlimits: rlimitsOf(ulimits),
    noNewPrivileges,
    ...(oomScoreAdj !== undefined && { oomScoreAdj }),
  };
}

function linuxOf(request: ProcessRequest): Linux {
  const { privileged = false, systemPaths, sysctls, share } = request;
  const devices = devicesOf(request);
  const seccomp = seccompOf(request);
  const open = privileged || systemPaths === "unconfined";
  return {
    namespaces: DEFAULT_NAMESPACES.map((type) => ({ type })),
    cgroupsPath: `/flamebox/${request.containerId}`,
    sysctl: sysctlsOf(sysctls),
    resources: resourcesOf(request, share, devices.rules),
    ...(devices.nodes.length > 0 && { devices: devices.nodes }),
    ...(seccomp && { seccomp }),
    maskedPaths: open ? [] : DEFAULT_MASKED_PATHS,
    readonlyPaths: open ? [] : DEFAULT_READONLY_PATHS,
  };
}

/** As in Docker, privileges take the default filter away, and leave one that was asked for. */
function seccompOf(request: ProcessRequest): Seccomp | undefined {
  const { seccomp, privileged = false, kernelRelease } = request;
  if (seccomp === "unconfined" || (seccomp === undefined && privileged)) return undefined;
  const profile = seccomp === undefined ? DEFAULT_PROFILE : parseProfile(seccomp.profile);
  const capabilities = capabilitiesOf(request).bounding;
  const architecture = process.arch === "arm64" ? "arm64" : "amd64";
  return resolveProfile(profile, { architecture, capabilities, kernelRelease });
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

/** @throws RuntimeSpecError `invalid-option` */
export function environmentOf(
  image: ExecutionConfig,
  request: Pick<ProcessRequest, "env" | "hostname" | "term" | "tty">,
): string[] {
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
      throw invalidOption(`not a name for an environment variable: ${quote(name)}`);
    refuseNul(name + value, `the environment variable ${name.slice(0, 100)}`);
    put(`${name}=${value}`);
  }
  return [...merged.values()];
}

/** @throws RuntimeSpecError `invalid-option` */
export function workingDirectoryOf(image: ExecutionConfig, request: Pick<ProcessRequest, "workdir">): string {
  const { workdir } = request;
  if (workdir !== undefined && !workdir.startsWith("/"))
    throw invalidOption(`the working directory ${quote(workdir)} is not an absolute path`);
  refuseNul(workdir ?? "", "the working directory");
  // An image may say `app` and mean /app; Docker lets that pass.
  return posix.normalize(`/${workdir ?? image.WorkingDir ?? ""}`).replace(/^\/+(?=.)/, "/");
}

/** https://man7.org/linux/man-pages/man7/hostname.7.html */
function hostnameOf({ hostname }: ProcessRequest): string {
  if (!isHostName(hostname)) throw invalidOption(`not a host name: ${quote(hostname)}`, HOST_NAME_HINT);
  return hostname;
}

function domainnameOf(domainname: string): string {
  if (!isHostName(domainname)) throw invalidOption(`not a domain name: ${quote(domainname)}`, HOST_NAME_HINT);
  return domainname;
}

const HOST_NAME_HINT =
  "use at most 64 letters, digits, dots and hyphens, beginning and ending with a letter or digit";

function isHostName(name: string): boolean {
  return name.length <= 64 && /^[0-9A-Za-z]([0-9A-Za-z_.-]*[0-9A-Za-z])?$/.test(name);
}

const MAX_ANNOTATIONS = 1_000;
const MAX_ANNOTATION_LENGTH = 64 * 1024;

function annotationsOf(annotations: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  const entries = Object.entries(annotations);
  const isLong = entries.some(([name, value]) => name.length + value.length > MAX_ANNOTATION_LENGTH);
  if (entries.length > MAX_ANNOTATIONS || isLong)
    throw invalidOption(`at most ${MAX_ANNOTATIONS} annotations of 64 KiB each can be given`);
  if (entries.some(([name]) => name === "")) throw invalidOption("an annotation has no name");
  return annotations;
}

function refuseNul(text: string, what: string): void {
  if (text.includes("\0")) throw invalidOption(`${what} contains a NUL character`);
}
