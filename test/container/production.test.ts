import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { productionChecks } from "../../src/container/production.ts";

const ENOUGH_PROCESSES = "Max processes  7000  7000  processes\n";

/** A host that has nothing to be done. */
const GOOD: Readonly<Record<string, string>> = {
  "sys/devices/system/cpu/smt/active": "0\n",
  "sys/kernel/mm/ksm/run": "0\n",
  "proc/swaps": "Filename Type Size Used Priority\n/dev/zram0 partition 1 0 100\n",
  "sys/devices/system/cpu/vulnerabilities/meltdown": "Not affected\n",
  "sys/devices/system/cpu/vulnerabilities/mds": "Mitigation: Clear CPU buffers; SMT disabled\n",
  "proc/cpuinfo": "processor\t: 0\nmicrocode\t: 0xa20102d\n",
  "sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory pids\n",
  "proc/self/limits":
    "Limit Soft Hard Units\nMax open files            1024                 524288               files\nMax processes             7000                 7000                 processes\n",
  "proc/sys/kernel/osrelease": "6.12.117+deb12-cloud-amd64\n",
  "proc/sys/kernel/seccomp/actions_avail": "kill_process kill_thread trap errno user_notif trace log allow\n",
  "proc/sys/kernel/random/entropy_avail": "256\n",
  "proc/sys/kernel/printk": "7\t4\t1\t7\n",
  "proc/cmdline": "BOOT_IMAGE=/vmlinuz root=/dev/vda1 console=tty0\n",
  "sys/devices/system/cpu/vulnerabilities/itlb_multihit": "Not affected\n",
  "sys/devices/system/edac/mc/mc0/mc_name": "F17h\n",
  "sys/module/kvm/parameters/nx_huge_pages": "never\n",
  "sys/module/kvm/parameters/min_timer_period_us": "200\n",
  "sys/module/kvm_amd/parameters/nested": "0\n",
  "proc/sys/kernel/unprivileged_userns_clone": "1\n",
  "proc/sys/user/max_user_namespaces": "10000\n",
};

let root: string;
beforeEach(async () => (root = await mkdtemp(join(tmpdir(), "flamebox-production-"))));
afterEach(async () => await rm(root, { recursive: true, force: true }));

async function warningsOf(files: Readonly<Record<string, string | undefined>>): Promise<string[]> {
  for (const [path, text] of Object.entries(files)) {
    if (text === undefined) continue;
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), text);
  }
  const checks = await productionChecks(root);
  return checks.filter(({ status }) => status === "warning").map(({ name, hint }) => `${name}: ${hint}`);
}

describe("Firecracker's recommendations for production", () => {
  test("a host that follows them", async () => {
    expect(await warningsOf(GOOD)).toEqual([]);
  });

  test.each<[string, Record<string, string | undefined>, RegExp]>([
    ["SMT", { "sys/devices/system/cpu/smt/active": "1" }, /^SMT: .*smt\/control/],
    ["KSM", { "sys/kernel/mm/ksm/run": "1" }, /^KSM: .*ksm\/run/],
    ["swap", { "proc/swaps": "Filename\n/dev/sda2 partition 1 0 -2\n" }, /^swap: .*swapoff/],
    ["swap in a file", { "proc/swaps": "Filename\n/swapfile file 1 0 -2\n" }, /^swap: /],
    [
      "a weakness that is open",
      { "sys/devices/system/cpu/vulnerabilities/mds": "Vulnerable: no microcode" },
      /^mitigations: update/,
    ],
    ["no microcode", { "proc/cpuinfo": "processor : 0\n" }, /^microcode: /],
    ["cgroups of version 1", { "sys/fs/cgroup/cgroup.controllers": undefined }, /^cgroups: /],
    [
      "few open files",
      { "proc/self/limits": `${ENOUGH_PROCESSES}Max open files  1024  4096  files\n` },
      /^open files: raise/,
    ],
    [
      "few processes",
      { "proc/self/limits": "Max open files  65536  65536  files\nMax processes  500  1000  processes\n" },
      /^processes: raise it: LimitNPROC=4096/,
    ],
    [
      "a weakness that a mitigation leaves open in part",
      {
        "sys/devices/system/cpu/vulnerabilities/l1tf":
          "Mitigation: PTE Inversion; VMX: conditional cache flushes, SMT vulnerable\n",
      },
      /^mitigations: .*l1tf=full,force/,
    ],
    [
      "a weakness that is not known",
      { "sys/devices/system/cpu/vulnerabilities/srbds": "Unknown: Dependent on hypervisor status\n" },
      /^mitigations: /,
    ],
    ["an old kernel", { "proc/sys/kernel/osrelease": "5.4.0-90-generic" }, /^host kernel: use Linux 5\.10/],
    ["no filters", { "proc/sys/kernel/seccomp/actions_avail": undefined }, /^seccomp: use a kernel/],
    ["no entropy", { "proc/sys/kernel/random/entropy_avail": "12" }, /^entropy: give/],
    [
      "a serial console for all messages",
      { "proc/cmdline": "console=ttyS0,115200" },
      /^kernel messages: put quiet/,
    ],
    ["memory without ECC", { "sys/devices/system/edac/mc/mc0/mc_name": undefined }, /^memory: use ECC/],
    [
      "executable huge pages where that is a weakness",
      { "sys/devices/system/cpu/vulnerabilities/itlb_multihit": "KVM: Mitigation: VMX disabled" },
      /^KVM's huge pages: put .*nx_huge_pages=auto/,
    ],
    [
      "a thread for each machine's huge pages",
      { "sys/module/kvm/parameters/nx_huge_pages": "N" },
      /^KVM's huge pages: put .*nx_huge_pages=never.*favordynmods/,
    ],
    [
      "the same where the thread is needed",
      {
        "sys/module/kvm/parameters/nx_huge_pages": "Y",
        "sys/devices/system/cpu/vulnerabilities/itlb_multihit": "KVM: Mitigation: Split huge pages",
      },
      /^KVM's huge pages: sudo mount -o remount,favordynmods/,
    ],
    [
      "timers without bounds",
      { "sys/module/kvm/parameters/min_timer_period_us": "0" },
      /^KVM's timers: put .*min_timer_period_us=200/,
    ],
    [
      "nested machines",
      { "sys/module/kvm_intel/parameters/nested": "Y" },
      /^nested KVM: put .*kvm_intel nested=0/,
    ],
    ["no user namespaces", { "proc/sys/user/max_user_namespaces": "0" }, /^namespaces: allow/],
  ])("%s", async (_name, change, expected) => {
    const found = await warningsOf({ ...GOOD, ...change });
    expect(found).toEqual([expect.stringMatching(expected)]);
  });

  test.each<[string, Record<string, string | undefined>]>([
    [
      "only errors go to a serial console",
      { "proc/cmdline": "console=ttyS0", "proc/sys/kernel/printk": "1 4 1 7" },
    ],
    [
      "the kernel is older than the wait for cgroups",
      { "sys/module/kvm/parameters/nx_huge_pages": "Y", "proc/sys/kernel/osrelease": "5.10.0-30-amd64" },
    ],
    [
      "cgroups do not let it wait",
      {
        "sys/module/kvm/parameters/nx_huge_pages": "Y",
        "proc/mounts": "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid,nsdelegate,favordynmods 0 0\n",
      },
    ],
    [
      "KVM is not loaded",
      {
        "sys/module/kvm/parameters/nx_huge_pages": undefined,
        "sys/module/kvm/parameters/min_timer_period_us": undefined,
        "sys/module/kvm_amd/parameters/nested": undefined,
      },
    ],
  ])("nothing is said when %s", async (_name, change) => {
    expect(await warningsOf({ ...GOOD, ...change })).toEqual([]);
  });

  test("a host without /proc and /sys is looked at as well", async () => {
    await expect(productionChecks(root)).resolves.toHaveLength(17);
  });
});
