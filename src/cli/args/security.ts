/** `--security-opt`, `--device`, `--device-cgroup-rule`, and the namespaces that are never the host's. */
import { UsageError } from "../failure.ts";
import type { Device, DeviceCgroupRule } from "../library.ts";

export interface SecurityOpts {
  readonly noNewPrivileges?: boolean;
  /** `unconfined`, or a file with a profile. Undefined is the default one. */
  readonly seccomp?: "unconfined" | { readonly file: string };
  readonly systemPaths?: "unconfined";
}

const SECURITY_HINT =
  "options are no-new-privileges[=false], seccomp=FILE, seccomp=unconfined, systempaths=unconfined";

function parseOne(argument: string): SecurityOpts {
  const separator = argument.search(/[=:]/);
  const key = separator === -1 ? argument : argument.slice(0, separator);
  const value = separator === -1 ? undefined : argument.slice(separator + 1);
  const refuse = (reason: string) => new UsageError(`--security-opt '${argument}': ${reason}`, SECURITY_HINT);
  switch (key) {
    case "no-new-privileges":
      if (value !== undefined && value !== "true" && value !== "false")
        throw refuse("its value is neither true nor false");
      return { noNewPrivileges: value !== "false" };
    case "seccomp":
      if (value === undefined || value === "") throw refuse("it has no profile");
      if (value === "builtin") return {};
      return { seccomp: value === "unconfined" ? "unconfined" : { file: value } };
    case "systempaths":
      if (value !== "unconfined") throw refuse("its value can only be unconfined");
      return { systemPaths: "unconfined" };
    case "apparmor":
      // There is no profile to be confined by, so to be unconfined is no wish that goes unheard.
      if (value !== "unconfined") throw refuse("no AppArmor profile is loaded in a machine");
      return {};
    case "label":
      if (value !== "disable") throw refuse("there is no SELinux in a machine");
      return {};
    default:
      throw refuse("there is no such option");
  }
}

export function parseSecurityOpts(list: readonly string[] = []): SecurityOpts {
  return list.map(parseOne).reduce((all, one) => ({ ...all, ...one }), {});
}

const ACCESS = /^[rwm]{1,3}$/;

/** `/dev/fuse`, `/dev/fuse:rw`, `/dev/fuse:/dev/other:r`. */
export function parseDevice(argument: string): Device {
  const [path = "", second, third, ...rest] = argument.split(":");
  const hasTarget = second !== undefined && !(third === undefined && ACCESS.test(second));
  const access = hasTarget ? third : second;
  const bad = access !== undefined && !ACCESS.test(access);
  if (!path.startsWith("/") || rest.length > 0 || bad || (hasTarget && !second.startsWith("/")))
    throw new UsageError(
      `--device '${argument}' is not a device`,
      "write PATH[:PATH-IN-CONTAINER][:ACCESS], as in /dev/fuse or /dev/fuse:/dev/fuse:rw",
    );
  return { path, ...(hasTarget && { target: second }), ...(access !== undefined && { access }) };
}

/** `c 10:229 rwm`, with `*` for any number. */
export function parseDeviceCgroupRule(argument: string): DeviceCgroupRule {
  const match = /^([abc]) (\*|\d{1,7}):(\*|\d{1,7}) ([rwm]{1,3})$/.exec(argument);
  const [, type, major = "*", minor = "*", access = ""] = match ?? [];
  if (type === undefined)
    throw new UsageError(`--device-cgroup-rule '${argument}' is not a rule`, "write it as in 'c 10:229 rwm'");
  return {
    type: type as DeviceCgroupRule["type"],
    ...(major !== "*" && { major: Number(major) }),
    ...(minor !== "*" && { minor: Number(minor) }),
    access,
  };
}

export interface NamespaceFlags {
  readonly ipc?: string;
  readonly pid?: string;
  readonly uts?: string;
  readonly userns?: string;
  readonly cgroupns?: string;
}

/** A container is alone in its machine: the namespaces are its own, and there is nobody to share them with. */
export function checkNamespaces(flags: NamespaceFlags): void {
  const given = {
    ipc: flags.ipc,
    pid: flags.pid,
    uts: flags.uts,
    userns: flags.userns,
    cgroupns: flags.cgroupns,
  };
  for (const [name, mode] of Object.entries(given)) {
    if (mode === undefined || mode === "private" || (name === "ipc" && mode === "shareable")) continue;
    const reason =
      mode === "host"
        ? "a container runs in a machine of its own, out of which no namespace of this host can be entered"
        : mode.startsWith("container:")
          ? "containers run in machines of their own, and share no namespaces"
          : `'${mode}' is not supported`;
    throw new UsageError(`--${name} ${mode}: ${reason}`, `leave out --${name}, or write --${name} private`);
  }
}
