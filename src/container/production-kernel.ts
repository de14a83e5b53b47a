/**
 * What Firecracker recommends of the host's kernel and of its KVM. What cannot be seen from here (rate limits of devices,
 * a watcher for VMMs that hang) is the machines' own: their options, and the boot watchdog.
 * https://github.com/firecracker-microvm/firecracker/blob/main/docs/prod-host-setup.md
 */
import { printable } from "../util/printable.ts";
import type { Check } from "./doctor.ts";
import { ok, textOf, warning } from "./host-files.ts";

/** The oldest that Firecracker has been tested on. */
const OLDEST_KERNEL = [5, 10] as const;
/** Since then, making a virtual machine waits for cgroups in a way that can be turned off. */
const WAITING_SINCE = [6, 1] as const;
const LEAST_ENTROPY_BITS = 128;
/** KVM's own: how often a guest may have this host interrupted. */
const LEAST_TIMER_PERIOD_US = 200;
/** Errors and what is worse. */
const MOST_LOGLEVEL = 4;

const KVM = "sys/module/kvm/parameters";
const RELOAD = "into /etc/modprobe.d/kvm.conf, and load the modules anew";

/** One check each. @param root where `proc` and `sys` are */
export function kernelChecks(root: string): Promise<Check>[] {
  return [
    checkRelease(root),
    checkSeccomp(root),
    checkEntropy(root),
    checkConsole(root),
    checkHugePages(root),
    checkTimer(root),
    checkNested(root),
  ];
}

async function releaseOf(root: string): Promise<readonly [major: number, minor: number]> {
  const [, major, minor] =
    /^(\d+)\.(\d+)/.exec((await textOf(root, "proc/sys/kernel/osrelease")) ?? "") ?? [];
  return [Number(major ?? 0), Number(minor ?? 0)];
}

function isBefore(
  [major, minor]: readonly [number, number],
  [first, second]: readonly [number, number],
): boolean {
  return major < first || (major === first && minor < second);
}

async function checkRelease(root: string): Promise<Check> {
  const release = await releaseOf(root);
  const text = release.join(".");
  const name = "host kernel";
  if (!isBefore(release, OLDEST_KERNEL)) return ok(name, `Linux ${text}`);
  return warning(
    name,
    `Linux ${text}, older than all that Firecracker is tested on`,
    `use Linux ${OLDEST_KERNEL.join(".")} or later on the host`,
  );
}

async function checkSeccomp(root: string): Promise<Check> {
  const actions = (await textOf(root, "proc/sys/kernel/seccomp/actions_avail"))?.split(" ") ?? [];
  if (actions.includes("kill_process")) return ok("seccomp", "filters are there");
  return warning(
    "seccomp",
    "this kernel has no filters that end a process, so a VMM may call all of it",
    "use a kernel with CONFIG_SECCOMP_FILTER",
  );
}

/** Each machine's randomness begins with some of the host's. */
async function checkEntropy(root: string): Promise<Check> {
  const bits = Number((await textOf(root, "proc/sys/kernel/random/entropy_avail")) ?? 0);
  if (bits >= LEAST_ENTROPY_BITS) return ok("entropy", `${bits} bits`);
  return warning(
    "entropy",
    `${bits} bits: machines may get numbers that can be guessed`,
    "give the host a source: a hardware generator, or Debian's package rng-tools5",
  );
}

/** With each machine the kernel has something to say: of its tap device, of what its guest asks of KVM. */
async function checkConsole(root: string): Promise<Check> {
  const name = "kernel messages";
  const level = Number((await textOf(root, "proc/sys/kernel/printk"))?.split(/\s+/)[0] ?? 0);
  const serial = /\bconsole=(tty(?:S|AMA)\d+)/.exec((await textOf(root, "proc/cmdline")) ?? "")?.[1];
  if (serial === undefined) return ok(name, "not on a serial console");
  if (level <= MOST_LOGLEVEL) return ok(name, `only errors go to ${serial}`);
  return warning(
    name,
    `all of them go to ${printable(serial)}, which is slow, and starts wait for it`,
    "put quiet loglevel=1 on the kernel command line",
  );
}

/**
 * On a processor with iTLB multihit, a guest with executable huge pages can halt the host. On another one, the thread that
 * looks after split pages only makes starts slower.
 */
async function checkHugePages(root: string): Promise<Check> {
  const name = "KVM's huge pages";
  const value = await textOf(root, `${KVM}/nx_huge_pages`);
  if (value === undefined) return ok(name, "not known: kvm is not loaded");
  const multihit = await textOf(root, "sys/devices/system/cpu/vulnerabilities/itlb_multihit");
  const isAffected = multihit !== "Not affected";
  if (isAffected && ["N", "never"].includes(value))
    return warning(
      name,
      `executable (nx_huge_pages is ${value}), and iTLB multihit is not ruled out: a guest may halt this host`,
      `put "options kvm nx_huge_pages=auto" ${RELOAD}`,
    );
  const isQuick =
    isBefore(await releaseOf(root), WAITING_SINCE) ||
    /^\S+ \S+ cgroup2? \S*favordynmods/m.test((await textOf(root, "proc/mounts")) ?? "");
  if (value === "never" || isQuick) return ok(name, `nx_huge_pages is ${printable(value)}`);
  const remount =
    "sudo mount -o remount,favordynmods /sys/fs/cgroup (with cgroups of version 1: cgroup_favordynmods=true on the kernel command line)";
  return warning(
    name,
    "each start waits until a thread for split pages is in its cgroup",
    isAffected ? remount : `put "options kvm nx_huge_pages=never" ${RELOAD}; or ${remount}`,
  );
}

async function checkTimer(root: string): Promise<Check> {
  const name = "KVM's timers";
  const value = await textOf(root, `${KVM}/min_timer_period_us`);
  if (value === undefined) return ok(name, "not known: kvm is not loaded");
  if (Number(value) >= LEAST_TIMER_PERIOD_US) return ok(name, `one in ${Number(value)} µs at most`);
  return warning(
    name,
    `one in ${printable(value)} µs: a guest can keep this host busy with interrupts`,
    `put "options kvm min_timer_period_us=${LEAST_TIMER_PERIOD_US}" or more ${RELOAD}`,
  );
}

async function checkNested(root: string): Promise<Check> {
  const name = "nested KVM";
  for (const module of ["kvm_intel", "kvm_amd"]) {
    const value = await textOf(root, `sys/module/${module}/parameters/nested`);
    if (value !== undefined && /^[1Y]/.test(value))
      return warning(
        name,
        "on: guests may use the part of KVM that is for machines within machines",
        `put "options ${module} nested=0" ${RELOAD}, unless containers are to have KVM`,
      );
  }
  return ok(name, "off");
}
