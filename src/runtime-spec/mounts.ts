/** The mounts of config.json: the kernel's file systems that every container has, and the user's tmpfs. */
import { posix } from "node:path";
import { quote } from "../util/printable.ts";
import type { Mount } from "./config.ts";
import { DEFAULT_MOUNTS } from "./defaults.ts";
import { invalidOption } from "./error.ts";

export interface TmpfsMount {
  /** Absolute path in the container. */
  readonly target: string;
  /** `size=64m`, `mode=1770`, `exec`, `ro`, …: mount(8)'s words for tmpfs, behind Docker's `noexec,nosuid,nodev`. */
  readonly options?: readonly string[] | undefined;
}

export interface MountOptions {
  readonly tmpfs?: readonly TmpfsMount[] | undefined;
  /** Size of /dev/shm; default 64 MiB. */
  readonly shmSizeBytes?: number | undefined;
  /** The root file system takes no writes; volumes and tmpfs do. */
  readonly readOnly?: boolean | undefined;
  readonly privileged?: boolean | undefined;
}

const MAX_TMPFS = 64;
const MAX_PATH_BYTES = 4_095;
const TMPFS_DEFAULTS = ["noexec", "nosuid", "nodev"];
const TMPFS_FLAGS = new Set(
  [
    "rw ro exec noexec suid nosuid dev nodev atime noatime diratime nodiratime",
    "relatime norelatime strictatime nostrictatime sync async dirsync",
  ]
    .join(" ")
    .split(" "),
);
const TMPFS_VALUES =
  /^(?:size=\d{1,15}[kmg%]?|mode=[0-7]{1,4}|[ug]id=\d{1,10}|nr_inodes=\d{1,12}[kmg]?|nr_blocks=\d{1,12}[kmg]?)$/i;

/**
 * A path in the container where something is mounted, without `.`, `..` and slashes too many.
 * @throws RuntimeSpecError `invalid-option`
 */
export function mountTarget(path: string, what: string): string {
  if (!path.startsWith("/") || path.includes("\0") || Buffer.byteLength(path) > MAX_PATH_BYTES)
    throw invalidOption(`the place of ${what} in the container, ${quote(path)}, is not an absolute path`);
  const target = posix
    .normalize(path)
    .replace(/^\/+/, "/")
    .replace(/(?<=.)\/$/, "");
  if (target === "/") throw invalidOption(`${what} cannot stand for the container's root`);
  // Whoever writes there, also before the process runs, would believe to be speaking to the kernel.
  if (/^\/proc(\/|$)/.test(target))
    throw invalidOption(`${what} cannot be mounted at ${quote(target)}, which belongs to the kernel`);
  return target;
}

function tmpfsOf({ target, options = [] }: TmpfsMount): Mount {
  const destination = mountTarget(target, "a tmpfs");
  for (const option of options)
    if (!TMPFS_FLAGS.has(option) && !TMPFS_VALUES.test(option))
      throw invalidOption(
        `the tmpfs at ${quote(destination)} has the option ${quote(option)}, which tmpfs does not have`,
        "options are size=, mode=, uid=, gid=, nr_inodes=, and words like ro, exec, suid, noatime",
      );
  return { destination, type: "tmpfs", source: "tmpfs", options: [...TMPFS_DEFAULTS, ...options] };
}

function withShmSize(mount: Mount, sizeBytes: number | undefined): Mount {
  if (mount.destination !== "/dev/shm" || sizeBytes === undefined) return mount;
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 1)
    throw invalidOption(`the size of /dev/shm is a positive number of bytes, not ${sizeBytes}`);
  return {
    ...mount,
    options: [...mount.options.filter((option) => !option.startsWith("size=")), `size=${sizeBytes}`],
  };
}

/** With all privileges, sysfs and the cgroups can be written. */
function withWrites(mount: Mount, privileged: boolean): Mount {
  if (!privileged || (mount.type !== "sysfs" && mount.type !== "cgroup")) return mount;
  return { ...mount, options: mount.options.map((option) => (option === "ro" ? "rw" : option)) };
}

function depth({ destination }: Mount): number {
  return destination.split("/").length;
}

/**
 * @param taken where volumes and host folders are mounted: what is asked for wins over what every container has
 * @throws RuntimeSpecError `invalid-option`
 */
export function mountsOf(options: MountOptions, taken: readonly string[]): Mount[] {
  const { tmpfs = [], shmSizeBytes, privileged = false } = options;
  if (tmpfs.length > MAX_TMPFS) throw invalidOption(`at most ${MAX_TMPFS} tmpfs can be mounted`);
  const given = tmpfs.map(tmpfsOf);
  const replaced = new Set([...taken, ...given.map(({ destination }) => destination)]);
  const defaults = DEFAULT_MOUNTS.filter(({ destination }) => !replaced.has(destination)).map((mount) =>
    withWrites(withShmSize(mount, shmSizeBytes), privileged),
  );
  // The shallow ones first, as they would hide what is mounted below them.
  return [...defaults, ...given.toSorted((a, b) => depth(a) - depth(b))];
}
