/**
 * A machine's configuration as QEMU's command line. Pure: no file is looked at.
 *
 * q35, not microvm: under emulation microvm hung one boot in five. Everything is named with `-nodefaults`, so
 * that a host's own QEMU configuration has no say. Structured values are given as JSON, which has no commas to
 * escape. Nothing a user wrote is ever part of the kernel's command line.
 *
 *     fd 3  QMP       fd 4  agent (virtio-serial)       fd 5  console (serial port)       fd 6  network
 */
import type { MachineConfig } from "../machine.ts";

export type Acceleration = "kvm" | "tcg";

/** Descriptors the VMM inherits; each is one end of a socket pair, so there is no socket file to protect. */
export const QMP_FD = 3;
export const AGENT_FD = 4;
export const CONSOLE_FD = 5;
export const NETWORK_FD = 6;

/** The name by which the agent finds its port; protocol/PROTOCOL.md. */
export const AGENT_PORT_NAME = "dev.flamebox.agent";
/** Disks are found by serial number, because the order of PCI slots is no contract. */
export const BASE_SERIAL = "flamebox-base";
export const SCRATCH_SERIAL = "flamebox-scratch";

const COMMON_KERNEL_ARGUMENTS = "console=ttyS0 quiet panic=-1 net.ifnames=0 random.trust_cpu=on";
/** Emulated time sources need no calibration against each other, and speculation is not emulated. */
const TCG_KERNEL_ARGUMENTS = "tsc=reliable no_timer_check mitigations=off";

export function qemuArguments(config: MachineConfig, acceleration: Acceleration): string[] {
  return [
    ["-M", "q35", "-accel", acceleration, "-cpu", acceleration === "kvm" ? "host" : "max"],
    ["-smp", String(config.cpus), "-m", `${config.memoryMib}M`],
    ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"],
    // No child processes, no new privileges, no set*uid: what a broken-out guest would want first.
    ["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"],
    ["-kernel", config.boot.kernelPath, "-initrd", config.boot.initramfsPath],
    ["-append", kernelCommandLine(acceleration)],
    ["-chardev", `socket,id=qmp,fd=${QMP_FD}`, "-mon", "chardev=qmp,mode=control"],
    ["-chardev", `socket,id=console,fd=${CONSOLE_FD}`, "-serial", "chardev:console"],
    ["-device", "virtio-serial-pci,id=ports,max_ports=2"],
    ["-chardev", `socket,id=agent,fd=${AGENT_FD}`],
    ["-device", `virtserialport,bus=ports.0,nr=1,chardev=agent,name=${AGENT_PORT_NAME}`],
    ["-object", "rng-random,id=entropy,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=entropy"],
    diskArguments(config),
    networkArguments(config),
  ].flat();
}

function kernelCommandLine(acceleration: Acceleration): string {
  return acceleration === "tcg"
    ? `${COMMON_KERNEL_ARGUMENTS} ${TCG_KERNEL_ARGUMENTS}`
    : COMMON_KERNEL_ARGUMENTS;
}

function diskArguments(config: MachineConfig): string[] {
  const { base, scratch } = config.disks;
  const result: string[] = [];
  if (base !== undefined) {
    const file = { driver: "file", filename: base.path, "read-only": true };
    const node = { driver: base.format, "node-name": "base", "read-only": true, file };
    result.push(
      "-blockdev",
      JSON.stringify(node),
      "-device",
      `virtio-blk-pci,drive=base,serial=${BASE_SERIAL}`,
    );
  }
  if (scratch !== undefined) {
    // What is on it ends with the container, so nothing is gained by waiting for the host's disk.
    const throwaway = { discard: "unmap", cache: { "no-flush": true } };
    const file = { driver: "file", filename: scratch.path, ...throwaway };
    const node = { driver: scratch.format, "node-name": "scratch", ...throwaway, file };
    result.push("-blockdev", JSON.stringify(node));
    result.push("-device", `virtio-blk-pci,drive=scratch,serial=${SCRATCH_SERIAL},discard=on`);
  }
  return result;
}

function networkArguments(config: MachineConfig): string[] {
  const { network } = config;
  if (network === undefined) return [];
  return [
    "-netdev",
    JSON.stringify({
      type: "stream",
      id: "net0",
      server: false,
      addr: { type: "fd", str: String(NETWORK_FD) },
    }),
    "-device",
    // An empty romfile: no network boot code is loaded or run.
    `virtio-net-pci,netdev=net0,mac=${network.mac},romfile=`,
  ];
}
