import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { productionChecks } from "../../src/container/production.ts";

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
    "Limit Soft Hard Units\nMax open files            1024                 524288               files\n",
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
    ["few open files", { "proc/self/limits": "Max open files  1024  4096  files\n" }, /^open files: raise/],
    ["no user namespaces", { "proc/sys/user/max_user_namespaces": "0" }, /^namespaces: allow/],
  ])("%s", async (_name, change, expected) => {
    const found = await warningsOf({ ...GOOD, ...change });
    expect(found).toEqual([expect.stringMatching(expected)]);
  });

  test("a host without /proc and /sys is looked at as well", async () => {
    await expect(productionChecks(root)).resolves.toHaveLength(8);
  });
});
