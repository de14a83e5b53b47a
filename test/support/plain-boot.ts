/**
 * A machine of QEMU's own with nothing of FlameBox in it but the kernel: an initramfs that mounts its only disk and makes it
 * the root directory, as any other VMM's user would. Busybox of the host is what the initramfs has; what runs behind it is
 * the disk's.
 */
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import { writeCpio } from "../../src/formats/cpio/writer.ts";
import type { Kernel } from "../../src/machine/kernel/store.ts";
import { CLEAN, debugfs, e2fsck } from "./ext4-image.ts";

const INIT = `#!/busybox sh
/busybox mount -t devtmpfs none /dev
[ ! -s /virtio_blk.ko ] || /busybox insmod /virtio_blk.ko
/busybox mount -t ext4 -o rw /dev/vda /root || /busybox poweroff -f
/busybox mount -t devtmpfs none /root/dev
exec /busybox switch_root -c /dev/console /root /bin/sh -c "$(/busybox cat /script)"
`;

/**
 * Boots the disk and runs the script as process 1 of it, with the disk as its root, mounted read-write. The script has to
 * power the machine off.
 * @returns what was said on the console
 */
export function bootDisk(kernel: Kernel, disk: string, script: string, dir: string): string {
  // A kernel that was made for FlameBox has it built in.
  const driver = kernel.modules.find((name) => name.endsWith("virtio_blk.ko"));
  const module = driver === undefined ? Buffer.alloc(0) : readFileSync(join(kernel.moduleDir, driver));
  const initramfs = join(dir, "plain.cpio");
  writeFileSync(
    initramfs,
    writeCpio([
      { path: "dev", kind: "directory", mode: 0o755 },
      { path: "root", kind: "directory", mode: 0o755 },
      { path: "busybox", kind: "file", mode: 0o755, data: readFileSync("/usr/bin/busybox") },
      { path: "virtio_blk.ko", kind: "file", mode: 0o644, data: module },
      { path: "script", kind: "file", mode: 0o644, data: Buffer.from(script) },
      { path: "init", kind: "file", mode: 0o755, data: Buffer.from(INIT) },
    ]),
  );
  const { stdout, stderr, status } = spawnSync(
    "qemu-system-x86_64",
    [
      ["-nodefaults", "-no-reboot", "-nographic", "-machine", "q35,accel=tcg", "-cpu", "max", "-m", "256"],
      ["-kernel", kernel.path, "-initrd", initramfs, "-serial", "stdio"],
      ["-append", "console=ttyS0 quiet panic=-1 rdinit=/init mitigations=off"],
      ["-drive", `file=${disk},format=raw,if=virtio`],
    ].flat(),
    { encoding: "latin1", timeout: 120_000 },
  );
  if (status !== 0) throw new Error(`QEMU ended with ${status}: ${stdout}${stderr}`);
  return stdout;
}

const FILES = 200;
const SCRIPT = `mount -t proc none /proc; grep ' / ext4 ' /proc/mounts; ls -l /bin/busybox
mkdir -p /var/new; i=0; while [ $i -lt ${FILES} ]; do echo $i > /var/new/file$i; i=$((i+1)); done
cp /bin/busybox /var/copy; cmp /bin/busybox /var/copy && mv /var/copy /var/moved; rm /var/new/file7
sync; mount -o remount,ro / && echo all is written; poweroff -f`;

/** Boots an ext4 disk with busybox on it, writes to it there, and looks at it from here. */
export async function expectBooted(kernel: Kernel, disk: string, dir: string): Promise<void> {
  expect(e2fsck(disk)).toEqual(CLEAN);
  const said = bootDisk(kernel, disk, SCRIPT, dir);
  expect(said).toMatch(/\/dev\/vda \/ ext4 rw/);
  expect(said).toContain("all is written");
  expect(said).not.toMatch(/EXT4-fs (?:error|warning)|panic/i);
  expect(e2fsck(disk)).toEqual(CLEAN);
  const last = FILES - 1;
  const [written, gone, copy] = debugfs(disk, [
    `cat /var/new/file${last}`,
    "stat /var/new/file7",
    "stat /var/moved",
  ]);
  expect(written).toContain(`${last}`);
  // It says on standard error that there is none.
  expect(gone).toBe("");
  expect(copy).toMatch(/Type: regular/);
}
