/** `--sysctl`, with Docker's list of what a container may set, and Docker's own settings. */
import { quote } from "../util/printable.ts";
import { invalidOption } from "./error.ts";

/** Docker sets them so that a container's user may bind low ports and ping. */
const DEFAULTS: Readonly<Record<string, string>> = {
  "net.ipv4.ip_unprivileged_port_start": "0",
  "net.ipv4.ping_group_range": "0 2147483647",
};

// The IPC namespace's, and the families of the network's and of POSIX message queues.
const NAMES = new Set([
  "kernel.msgmax",
  "kernel.msgmnb",
  "kernel.msgmni",
  "kernel.sem",
  "kernel.shmall",
  "kernel.shmmax",
  "kernel.shmmni",
  "kernel.shm_rmid_forced",
]);
const FAMILIES = ["net.", "fs.mqueue."];
const MAX_SYSCTLS = 256;
const MAX_VALUE_LENGTH = 4_096;

// A name is a path below /proc/sys, so its parts are plain words; an interface's name may hold a hyphen or a colon.
const NAME = /^[a-z0-9_]+(?:\.[A-Za-z0-9_:-]+)+$/;

/** @throws RuntimeSpecError `invalid-option` */
export function sysctlsOf(sysctls: Readonly<Record<string, string>> = {}): Record<string, string> {
  const given = Object.entries(sysctls);
  if (given.length > MAX_SYSCTLS) throw invalidOption(`at most ${MAX_SYSCTLS} sysctls can be set`);
  for (const [name, value] of given) {
    const allowed = NAMES.has(name) || FAMILIES.some((family) => name.startsWith(family));
    if (!allowed || !NAME.test(name))
      throw invalidOption(
        `the sysctl ${quote(name)} cannot be set for a container`,
        `as in Docker, those of net.*, fs.mqueue.* and ${[...NAMES].join(", ")} can`,
      );
    if (value.length > MAX_VALUE_LENGTH || /[\0\n]/.test(value))
      throw invalidOption(`the value of the sysctl ${name} is not one line of text`);
  }
  return { ...DEFAULTS, ...sysctls };
}
