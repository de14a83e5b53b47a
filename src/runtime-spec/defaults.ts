/**
 * What Docker gives every container unless it is told otherwise. Compared line by line with the check-list in
 * docs/; the values are Docker's (moby `oci/defaults.go` holds the same facts).
 */
import type { Mount } from "./config.ts";

export const DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** The machine is the container's own, so there is no network namespace: its network is the machine's. */
export const DEFAULT_NAMESPACES = ["pid", "mount", "ipc", "uts", "cgroup"] as const;

const NO_EXTRAS = ["nosuid", "noexec", "nodev"] as const;

export const DEFAULT_MOUNTS: readonly Mount[] = [
  { destination: "/proc", type: "proc", source: "proc", options: NO_EXTRAS },
  {
    destination: "/dev",
    type: "tmpfs",
    source: "tmpfs",
    options: ["nosuid", "strictatime", "mode=755", "size=65536k"],
  },
  {
    destination: "/dev/pts",
    type: "devpts",
    source: "devpts",
    options: ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
  },
  {
    destination: "/dev/shm",
    type: "tmpfs",
    source: "shm",
    options: [...NO_EXTRAS, "mode=1777", "size=67108864"],
  },
  { destination: "/dev/mqueue", type: "mqueue", source: "mqueue", options: NO_EXTRAS },
  { destination: "/sys", type: "sysfs", source: "sysfs", options: [...NO_EXTRAS, "ro"] },
  {
    destination: "/sys/fs/cgroup",
    type: "cgroup",
    source: "cgroup",
    options: [...NO_EXTRAS, "relatime", "ro"],
  },
];

export const DEFAULT_MASKED_PATHS = [
  "/proc/asound",
  "/proc/acpi",
  "/proc/interrupts",
  "/proc/kcore",
  "/proc/keys",
  "/proc/latency_stats",
  "/proc/timer_list",
  "/proc/timer_stats",
  "/proc/sched_debug",
  "/proc/scsi",
  "/sys/firmware",
  "/sys/devices/virtual/powercap",
] as const;

export const DEFAULT_READONLY_PATHS = [
  "/proc/bus",
  "/proc/fs",
  "/proc/irq",
  "/proc/sys",
  "/proc/sysrq-trigger",
] as const;
