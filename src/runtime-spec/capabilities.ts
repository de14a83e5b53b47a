/**
 * Which capabilities a container has: Docker's default ones, changed by `--cap-add`, `--cap-drop`,
 * `--privileged`. The names are those of capabilities(7), in the order of their numbers.
 */
import { nearest } from "../util/nearest.ts";
import { quote } from "../util/printable.ts";
import type { Capabilities } from "./config.ts";
import { invalidOption } from "./error.ts";

// https://man7.org/linux/man-pages/man7/capabilities.7.html, linux/capability.h
export const ALL_CAPABILITIES: readonly string[] = `
  CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE
  NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT
  SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE
  AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ
  PERFMON BPF CHECKPOINT_RESTORE`
  .trim()
  .split(/\s+/)
  .map((name) => `CAP_${name}`);

export const DEFAULT_CAPABILITIES: readonly string[] = [
  "CAP_AUDIT_WRITE",
  "CAP_CHOWN",
  "CAP_DAC_OVERRIDE",
  "CAP_FOWNER",
  "CAP_FSETID",
  "CAP_KILL",
  "CAP_MKNOD",
  "CAP_NET_BIND_SERVICE",
  "CAP_NET_RAW",
  "CAP_SETFCAP",
  "CAP_SETGID",
  "CAP_SETPCAP",
  "CAP_SETUID",
  "CAP_SYS_CHROOT",
];

const ALL = "ALL";

/** `net_admin`, `CAP_NET_ADMIN` -> `CAP_NET_ADMIN`; `all` -> `ALL`. @throws RuntimeSpecError `invalid-option` */
function normalize(name: string): string {
  const upper = name.toUpperCase();
  if (upper === ALL || upper === "CAP_ALL") return ALL;
  const full = upper.startsWith("CAP_") ? upper : `CAP_${upper}`;
  if (ALL_CAPABILITIES.includes(full)) return full;
  const near = nearest(full, ALL_CAPABILITIES);
  throw invalidOption(
    `there is no capability ${quote(name)}`,
    near === undefined ? "capabilities(7) lists them; ALL stands for every one" : `did you mean ${near}?`,
  );
}

export interface CapabilityOptions {
  /** `NET_ADMIN`, `CAP_NET_ADMIN`, `ALL`, in upper or lower case. */
  readonly capAdd?: readonly string[] | undefined;
  readonly capDrop?: readonly string[] | undefined;
  readonly privileged?: boolean | undefined;
}

/**
 * As Docker has it: privileged has all, whatever else is said; ALL added, less what is dropped; ALL dropped,
 * only what is added; else the default ones, and what is both dropped and added is there.
 * @throws RuntimeSpecError `invalid-option`
 */
export function capabilitiesOf(options: CapabilityOptions): Capabilities {
  const add = new Set((options.capAdd ?? []).map(normalize));
  const drop = new Set((options.capDrop ?? []).map(normalize));
  const has = (name: string): boolean => {
    if (options.privileged === true) return true;
    if (add.has(ALL)) return !drop.has(name);
    if (drop.has(ALL)) return add.has(name);
    return add.has(name) || (DEFAULT_CAPABILITIES.includes(name) && !drop.has(name));
  };
  const held = ALL_CAPABILITIES.filter(has);
  return { bounding: held, effective: held, permitted: held };
}
