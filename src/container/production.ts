/**
 * What Firecracker recommends for hosts that run code of several tenants, one check each. Reads /proc and /sys only.
 * https://github.com/firecracker-microvm/firecracker/blob/main/docs/prod-host-setup.md
 */
import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import { systemCode } from "../util/error.ts";
import { printable } from "../util/printable.ts";
import type { Check } from "./doctor.ts";

/** Each machine has a handful of descriptors open, and its network as many. */
const LEAST_OPEN_FILES = 65_536;

/** @param root where `proc` and `sys` are; other than `/` in tests */
export async function productionChecks(root = "/"): Promise<Check[]> {
  return await Promise.all([
    checkSmt(root),
    checkSamePages(root),
    checkSwap(root),
    checkVulnerabilities(root),
    checkMicrocode(root),
    checkCgroups(root),
    checkOpenFiles(root),
    checkUserNamespaces(root),
  ]);
}

/** Undefined when there is no such file. */
async function textOf(root: string, path: string): Promise<string | undefined> {
  try {
    return (await readFile(join(root, path), "utf8")).trim();
  } catch (error) {
    if (["ENOENT", "ENOTDIR", "EACCES"].includes(systemCode(error) ?? "")) return undefined;
    throw error;
  }
}

function ok(name: string, detail: string): Check {
  return { name, status: "ok", detail };
}

function warning(name: string, detail: string, hint: string): Check {
  return { name, status: "warning", detail, hint };
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
  for (const vulnerability of names.sort())
    if ((await textOf(root, join(dir, vulnerability)))?.startsWith("Vulnerable") === true)
      open.push(vulnerability);
  if (open.length === 0) return ok(name, `nothing of ${names.length} known weaknesses of processors is open`);
  return warning(
    name,
    `this processor is open to ${printable(open.join(", "))}`,
    "update microcode and kernel, and take mitigations=off off the kernel command line",
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

async function checkOpenFiles(root: string): Promise<Check> {
  const name = "open files";
  const limits = (await textOf(root, "proc/self/limits")) ?? "";
  const hard = /^Max open files\s+\S+\s+(\S+)/m.exec(limits)?.[1] ?? "0";
  if (hard === "unlimited" || Number(hard) >= LEAST_OPEN_FILES) return ok(name, `limit ${hard}`);
  return warning(
    name,
    `limit ${printable(hard)}, too few for many machines`,
    `raise it: LimitNOFILE=${LEAST_OPEN_FILES} in a systemd unit, or nofile in /etc/security/limits.conf`,
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
