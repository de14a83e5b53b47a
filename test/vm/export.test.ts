/**
 * The ext4 export as a kernel sees it: a second disk of a machine, mounted read-write there, entry by entry against
 * what `umoci unpack` makes of the same image; then written to, and checked once more on the host.
 */
import { spawnSync } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, inject, test } from "vitest";
import { SCRATCH_SERIAL } from "../../src/machine/qemu/arguments.ts";
import { findKernel } from "../../src/machine/kernel/kernel.ts";
import { e2fsck } from "../support/ext4-image.ts";
import { makeHome } from "../support/home.ts";
import { expectBooted } from "../support/plain-boot.ts";
import { config, told } from "../support/raw-config.ts";
import { startRawMachine } from "../support/raw-machine.ts";
import { differencesBetween, treeOf, unpackedEdge, walker } from "../support/umoci-tree.ts";

const root = process.getuid?.() === 0;
const ALL = [
  "CAP_SYS_ADMIN",
  "CAP_MKNOD",
  "CAP_DAC_OVERRIDE",
  "CAP_DAC_READ_SEARCH",
  "CAP_CHOWN",
  "CAP_FOWNER",
];

/** Runs a script with the disk on /mnt, as no container could that was not given all of this. */
function withDisk(script: string): object {
  const mount = `set -e
for d in /sys/block/vd*; do [ "$(cat $d/serial)" = ${SCRATCH_SERIAL} ] && number=$(cat $d/dev); done
mknod /tmp/disk b $(echo $number | tr : " ")
mkdir -p /tmp/mnt
mount -t ext4 -o rw /tmp/disk /tmp/mnt
${script}
umount /tmp/mnt`;
  const capabilities = { bounding: ALL, effective: ALL, permitted: ALL };
  return config(mount, {
    process: { capabilities, env: ["PATH=/usr/bin:/bin:/usr/sbin:/sbin"] },
    linux: { resources: { devices: [{ allow: true, access: "rwm" }] } },
  });
}

test("ext4 is the root of a machine that has nothing else, read-write, and stays sound", async () => {
  await using home = await makeHome(inject("kernelDir"));
  const image = `${inject("registry")}/flamebox/busybox:1`;
  const disk = join(home.dir, "boot.ext4");
  const made = await home.run(["rootfs", "-q", image, "--format", "ext4", "-o", disk]);
  expect(made).toMatchObject({ code: 0, stderr: "" });
  const kernel = await findKernel(home.paths);
  if (kernel === undefined) throw new Error("the test's home has no kernel");
  await expectBooted(kernel, disk, home.dir);
});

describe.skipIf(!root)("ext4 (skipped without root: umoci needs it for devices and owners)", () => {
  test("is mounted read-write by a kernel, has umoci's tree, and stays sound", async () => {
    await using home = await makeHome(inject("kernelDir"));
    const image = `${inject("registry")}/flamebox/edge:1`;
    const disk = join(home.dir, "edge.ext4");
    const made = await home.run(["rootfs", "-q", image, "--format", "ext4", "-o", disk]);
    expect(made).toMatchObject({ code: 0, stdout: `${disk}\n`, stderr: "" });
    expect(e2fsck(disk)).toEqual({ status: 0, said: "" });

    await using machine = await startRawMachine(image, inject("kernelDir"), {
      memoryMib: 1024,
      scratchPath: disk,
    });
    const walk = `python3 - /tmp/mnt <<'END'\n${await readFile(walker, "utf8")}\nEND`;
    const [outcome, host] = await Promise.all([machine.run(withDisk(walk)), unpackedEdge()]);
    expect(outcome).toMatchObject({ exitCode: 0, stderr: "" });
    const guest = treeOf(outcome.stdout);
    expect(guest.size).toBeGreaterThan(8000);
    expect(differencesBetween(guest, host, [])).toEqual([]);

    const writing = `cd /tmp/mnt
mkdir new; for i in $(seq 3000); do echo $i > new/file$i; done
cp -a usr/share new/share; rm -r usr/share; ln new/file1 etc/link; mv etc/passwd etc/moved
echo more >> etc/moved; truncate -s 10M new/file2; setfattr -n user.a -v b etc/moved 2>/dev/null || true
cat new/file2999; ls new | grep -c ^file; cd /`;
    expect(told(await machine.run(withDisk(writing)))).toBe("2999\n3000");
    expect(e2fsck(disk)).toEqual({ status: 0, said: "" });
    const { stdout } = spawnSync("/usr/sbin/debugfs", ["-R", "cat /new/file3000", disk], {
      encoding: "utf8",
    });
    expect(stdout).toBe("3000\n");
    expect(machine.console()).not.toMatch(/EXT4-fs (?:error|warning)/);
  });
});
