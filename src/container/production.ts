/**
 * What Firecracker recommends for hosts that run code of several tenants, one check each. Reads /proc and /sys only.
 * https://github.com/firecracker-microvm/firecracker/blob/main/docs/prod-host-setup.md
 */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { systemCode } from "../util/error.ts";
import { printable } from "../util/printable.ts";
import type { Check } from "./doctor.ts";
import { ok, textOf, warning } from "./host-files.ts";
import { kernelChecks } from "./production-kernel.ts";

/** Each machine has a handful of descriptors open, and its network as many. */
const LEAST_OPEN_FILES = 65_536;
/** Threads count: a machine has its VMM's, one for each CPU, and its network program. */
const LEAST_PROCESSES = 4_096;

/** @param root where `proc` and `sys` are; other than `/` in tests */
export async function productionChecks(root = "/"): Promise<Check[]> {
  return await Promise.all([
    checkSmt(root),
    checkSamePages(root),
    checkSwap(root),
    checkVulnerabilities(root),
    checkMicrocode(root),
    checkCgroups(root),
    checkLimit(root, OPEN_FILES),
    checkLimit(root, PROCESSES),
    checkUserNamespaces(root),
    checkMemory(root),
    ...kernelChecks(root),
  ]);
}

async function checkSmt(root: string): Promise<Check> {
  const active = await textOf(root, "sys/devices/system/cpu/smt/active");
  if (active !== "1") return ok("SMT", active === "0" ? "off" : "this processor has none");
  return warning(
    "SMT",
    "on: two machines may share a core, and learn of each other by it",
    "turn it off: echo off | sudo tee /sys/devices/system/cpu/smt/control; nosmt on the kernel command line keeps it so",
  );
}

async function checkSamePages(root: string): Promise<Check> {
  const run = await textOf(root, "sys/kernel/mm/ksm/run");
  if (run === undefined || run === "0") return ok("KSM", "off");
  return warning(
    "KSM",
    "on: a machine can find out what pages another one has",
    "turn it off: echo 2 | sudo tee /sys/kernel/mm/ksm/run",
  );
}

async function checkSwap(root: string): Promise<Check> {
  const lines = (await textOf(root, "proc/swaps"))?.split("\n").slice(1) ?? [];
  // zram never leaves the memory.
  const devices = lines.map((line) => line.split(/\s+/)[0] ?? "").filter((name) => !name.includes("/zram"));
  if (devices.every((name) => name === "")) return ok("swap", "none on a disk");
  return warning(
    "swap",
    `on ${printable(devices.join(", "))}: memory of machines may be written there`,
    "turn it off (sudo swapoff -a, and out of /etc/fstab), or encrypt it",
  );
}

async function checkVulnerabilities(root: string): Promise<Check> {
  const dir = "sys/devices/system/cpu/vulnerabilities";
  const name = "mitigations";
  const names = await readdir(join(root, dir)).catch((error: unknown) => {
    if (systemCode(error) === "ENOENT") return undefined;
    throw error;
  });
  if (names === undefined)
    return warning(name, "this kernel does not say", "use Linux 5.10 or later on the host");
  const open: string[] = [];
  for (const vulnerability of names.sort()) {
    const text = (await textOf(root, join(dir, vulnerability))) ?? "";
    // A mitigation may be one in part: "PTE Inversion; VMX: vulnerable", "Clear CPU buffers; SMT vulnerable".
    if (/\bvulnerable\b|^unknown\b/i.test(text)) open.push(`${vulnerability} (${text})`);
  }
  if (open.length === 0) return ok(name, `nothing of ${names.length} known weaknesses of processors is open`);
  return warning(
    name,
    `this processor is or may be open to ${printable(open.join(", "))}`,
    "update microcode and kernel, take mitigations=off off the kernel command line, turn SMT off; for l1tf: l1tf=full,force",
  );
}

async function checkMicrocode(root: string): Promise<Check> {
  const version = /^microcode\s*:\s*(\S+)$/m.exec((await textOf(root, "proc/cpuinfo")) ?? "")?.[1];
  if (version !== undefined && version !== "0xffffffff") return ok("microcode", printable(version));
  return warning(
    "microcode",
    "its version is hidden, as in a virtual machine",
    "see to it that whoever runs the physical host keeps it up to date",
  );
}

async function checkCgroups(root: string): Promise<Check> {
  if ((await textOf(root, "sys/fs/cgroup/cgroup.controllers")) !== undefined)
    return ok("cgroups", "version 2");
  return warning(
    "cgroups",
    "version 1, with which snapshots are restored slowly",
    "boot with systemd.unified_cgroup_hierarchy=1",
  );
}

interface Limit {
  readonly name: string;
  /** In /proc/self/limits. */
  readonly title: string;
  readonly least: number;
  /** Of systemd, and of limits.conf. */
  readonly unit: string;
  readonly file: string;
}

const OPEN_FILES: Limit = {
  name: "open files",
  title: "Max open files",
  least: LEAST_OPEN_FILES,
  unit: "LimitNOFILE",
  file: "nofile",
};
const PROCESSES: Limit = {
  name: "processes",
  title: "Max processes",
  least: LEAST_PROCESSES,
  unit: "LimitNPROC",
  file: "nproc",
};

async function checkLimit(root: string, { name, title, least, unit, file }: Limit): Promise<Check> {
  const limits = (await textOf(root, "proc/self/limits")) ?? "";
  const hard = new RegExp(`^${title}\\s+\\S+\\s+(\\S+)`, "m").exec(limits)?.[1] ?? "0";
  if (hard === "unlimited" || Number(hard) >= least) return ok(name, `limit ${hard}`);
  return warning(
    name,
    `limit ${printable(hard)}, too few for many machines`,
    `raise it: ${unit}=${least} in a systemd unit, or ${file} in /etc/security/limits.conf`,
  );
}

/** Memory that corrects errors has a controller that counts them. */
async function checkMemory(root: string): Promise<Check> {
  const names = await readdir(join(root, "sys/devices/system/edac/mc")).catch(() => []);
  if (names.some((name) => /^mc\d+$/.test(name))) return ok("memory", "errors are corrected (ECC)");
  return warning(
    "memory",
    "no controller says that it corrects errors, so that Rowhammer may change what others have",
    "use ECC memory with target row refresh; in a virtual machine, see to it that whoever runs the physical host does",
  );
}

/** Each VMM without root has one of its own, and so has passt. */
async function checkUserNamespaces(root: string): Promise<Check> {
  const name = "namespaces";
  const [allowed, most] = await Promise.all([
    textOf(root, "proc/sys/kernel/unprivileged_userns_clone"),
    textOf(root, "proc/sys/user/max_user_namespaces"),
  ]);
  if (allowed !== "0" && most !== "0") return ok(name, "users may make them");
  return warning(
    name,
    "users may not make user namespaces, which Firecracker's network and passt's sandbox take without root",
    "allow them: sudo sysctl kernel.unprivileged_userns_clone=1 user.max_user_namespaces=10000",
  );
}
