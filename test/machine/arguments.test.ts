import { describe, expect, it } from "vitest";
import type { MachineConfig } from "../../src/machine/machine.ts";
import { qemuArguments } from "../../src/machine/qemu/arguments.ts";
import { jailArguments, parseQemuVersion, sandboxArguments } from "../../src/machine/qemu/confinement.ts";

const config: MachineConfig = {
  boot: { kernelPath: "/k/vmlinuz", initramfsPath: "/k/initramfs.cpio" },
  cpus: 2,
  memoryMib: 384,
  disks: {
    base: { path: "/d/a,b.vmdk", format: "vmdk" },
    scratch: { path: "/d/scratch.ext4", format: "raw" },
  },
};

/** The value behind the n-th occurrence of an option. */
function valuesOf(args: readonly string[], option: string): string[] {
  return args.flatMap((arg, index) => (arg === option ? [args[index + 1] ?? ""] : []));
}

describe("QEMU's command line", () => {
  const args = qemuArguments(config, "tcg");

  it("is a q35 machine with nothing of the host's own configuration", () => {
    expect(args.slice(0, 2)).toEqual(["-M", "q35"]);
    for (const flag of ["-nodefaults", "-no-user-config", "-no-reboot"]) expect(args).toContain(flag);
    expect(valuesOf(args, "-display")).toEqual(["none"]);
  });

  it("shows the host's processor, or an emulated one without string instructions that would be slow", () => {
    expect(valuesOf(args, "-cpu")).toEqual(["max,-erms,-fsrm,-la57,-pku"]);
    expect(valuesOf(qemuArguments(config, "kvm"), "-cpu")).toEqual(["host"]);
  });

  it("forbids new processes and privileges", () => {
    expect(sandboxArguments({ isJailed: false })).toEqual([
      "-sandbox",
      "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
    ]);
    expect(sandboxArguments({ isJailed: true })[1]).toContain("elevateprivileges=allow");
  });

  it.each([
    [
      "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)",
      ["-chroot", "/j/a,b", "-runas", "1001:1000"],
    ],
    ["QEMU emulator version 8.1.0", ["-run-with", "chroot=/j/a,,b", "-runas", "1001:1000"]],
    ["QEMU emulator version 9.1.0", ["-run-with", "chroot=/j/a,,b,user=1001:1000"]],
    ["QEMU emulator version 10.0.2", ["-run-with", "chroot=/j/a,,b,user=1001:1000"]],
  ])("makes a directory all there is, and becomes its user, as %s has it", (text, expected) => {
    const user = { uid: 1001, gid: 1000, [Symbol.asyncDispose]: async () => {} };
    const version = parseQemuVersion(text);
    if (version === undefined) throw new Error(`no version in ${text}`);
    expect(jailArguments({ dir: "/j/a,b", user }, version)).toEqual(expected);
  });

  it.each(["", "QEMU", "version x.y", "version 7"])("%j is no version", (text) => {
    expect(parseQemuVersion(text)).toBeUndefined();
  });

  it("opens the base read-only, with its format said, whatever is in the path", () => {
    const [base, scratch] = valuesOf(args, "-blockdev").map((json): unknown => JSON.parse(json));
    expect(base).toEqual({
      driver: "vmdk",
      "node-name": "base",
      "read-only": true,
      file: { driver: "file", filename: "/d/a,b.vmdk", "read-only": true },
    });
    expect(scratch).toMatchObject({ driver: "raw", file: { driver: "file", filename: "/d/scratch.ext4" } });
  });

  it("names disks by serial number", () => {
    const devices = valuesOf(args, "-device").join("\n");
    expect(devices).toContain("serial=flamebox-base");
    expect(devices).toContain("serial=flamebox-scratch");
  });

  it("has no network interface unless asked", () => {
    expect(args.join(" ")).not.toContain("virtio-net");
    const network = { attach: () => {}, mac: "52:54:00:01:02:03" };
    const withNetwork = qemuArguments({ ...config, network }, "tcg");
    expect(JSON.parse(valuesOf(withNetwork, "-netdev")[0] ?? "")).toEqual({
      type: "stream",
      id: "net0",
      server: false,
      addr: { type: "fd", str: "6" },
    });
    expect(valuesOf(withNetwork, "-device").join("\n")).toContain("mac=52:54:00:01:02:03");
  });

  it("has no disks for a probe", () => {
    expect(valuesOf(qemuArguments({ ...config, disks: {} }, "kvm"), "-blockdev")).toEqual([]);
  });

  it("gives the guest's kernel only fixed words", () => {
    expect(valuesOf(args, "-append")).toEqual([
      "console=ttyS0 quiet panic=-1 net.ifnames=0 random.trust_cpu=on lsm=landlock,yama audit=0 tsc=reliable no_timer_check mitigations=off init_on_alloc=0",
    ]);
    expect(valuesOf(qemuArguments(config, "kvm"), "-append")).toEqual([
      "console=ttyS0 quiet panic=-1 net.ifnames=0 random.trust_cpu=on lsm=landlock,yama audit=0",
    ]);
  });
});
