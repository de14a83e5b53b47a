/**
 * A machine's configuration as QEMU's command line. Pure: no file is looked at.
 *
 * q35, not microvm: under emulation microvm hung one boot in five. Everything is named with `-nodefaults`, so
 * that a host's own QEMU configuration has no say. Structured values are given as JSON, which has no commas to
 * escape. Nothing a user wrote is ever part of the kernel's command line.
 *
 *     fd 3  QMP       fd 4  agent (virtio-serial)       fd 5  console (serial port)       fd 6  network
 *                                                                                        fd 7  a template's state
 *
 * A template and the machines restored from it have the same devices in the same order. Their disks are empty
 * ones of the largest size, until files are put behind them.
 */
import type { BootFiles, DiskFile, MachineConfig, MachineShape, TemplateFiles } from "../machine.ts";

export type Acceleration = "kvm" | "tcg";

/** Descriptors the VMM inherits; each is one end of a socket pair, so there is no socket file to protect. */
export const QMP_FD = 3;
export const AGENT_FD = 4;
export const CONSOLE_FD = 5;
export const NETWORK_FD = 6;
export const STATE_FD = 7;

/** The name by which the agent finds its port; protocol/PROTOCOL.md. */
export const AGENT_PORT_NAME = "dev.flamebox.agent";
/** Disks are found by serial number, because the order of PCI slots is no contract. */
export const BASE_SERIAL = "flamebox-base";
export const SCRATCH_SERIAL = "flamebox-scratch";

/** Ids of the disks' devices, for the monitor. */
export const BASE_DEVICE = "disk-base";
export const SCRATCH_DEVICE = "disk-scratch";

/** The interface's address until the agent sets another. */
const TEMPLATE_MAC = "52:54:00:00:00:01";
/** No disk is larger: a guest that has seen this size believes in any smaller one. */
const PLACEHOLDER_BYTES = 2 ** 44;

const COMMON_KERNEL_ARGUMENTS = "console=ttyS0 quiet panic=-1 net.ifnames=0 random.trust_cpu=on";
/** Emulated time sources need no calibration against each other, and speculation is not emulated. */
const TCG_KERNEL_ARGUMENTS = "tsc=reliable no_timer_check mitigations=off";

export function qemuArguments(
  config: MachineConfig,
  acceleration: Acceleration,
  processor?: string,
): string[] {
  return [
    ["-M", "q35", ...processorArguments(config, acceleration, processor)],
    SANDBOX,
    bootArguments(config.boot, acceleration),
    commonDevices(),
    diskArguments(config),
    networkArguments(config.network?.mac),
  ].flat();
}

/** A machine that boots in order to be saved. */
export function savingArguments(
  boot: BootFiles,
  shape: MachineShape,
  files: TemplateFiles,
  acceleration: Acceleration,
): string[] {
  return [
    memoryArguments(shape, files, "on"),
    processorArguments(shape, acceleration),
    SANDBOX,
    bootArguments(boot, acceleration),
    commonDevices(),
    placeholderArguments(),
    networkArguments(shape.network ? TEMPLATE_MAC : undefined),
  ].flat();
}

/** A machine that waits for a template's state. Its memory is the template's, copied page by page when written. */
export function restoringArguments(
  shape: MachineShape,
  files: TemplateFiles,
  acceleration: Acceleration,
): string[] {
  return [
    memoryArguments(shape, files, "off"),
    processorArguments(shape, acceleration),
    SANDBOX,
    ["-incoming", "defer"],
    commonDevices(),
    placeholderArguments(),
    networkArguments(shape.network ? TEMPLATE_MAC : undefined),
  ].flat();
}

function memoryArguments(shape: MachineShape, { ramPath }: TemplateFiles, share: "on" | "off"): string[] {
  const memory = {
    "qom-type": "memory-backend-file",
    id: "memory",
    size: shape.memoryMib * 2 ** 20,
    "mem-path": ramPath,
    share: share === "on",
  };
  return ["-object", JSON.stringify(memory), "-M", "q35,memory-backend=memory"];
}

function processorArguments(
  shape: Pick<MachineShape, "cpus" | "memoryMib">,
  acceleration: Acceleration,
  model = acceleration === "kvm" ? "host" : "max",
): string[] {
  return ["-accel", acceleration, "-cpu", model, "-smp", String(shape.cpus), "-m", `${shape.memoryMib}M`];
}

const SANDBOX = [
  ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"],
  // No child processes, no new privileges, no set*uid: what a broken-out guest would want first.
  ["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"],
].flat();

function bootArguments({ kernelPath, initramfsPath }: BootFiles, acceleration: Acceleration): string[] {
  return ["-kernel", kernelPath, "-initrd", initramfsPath, "-append", kernelCommandLine(acceleration)];
}

function commonDevices(): string[] {
  return [
    ["-chardev", `socket,id=qmp,fd=${QMP_FD}`, "-mon", "chardev=qmp,mode=control"],
    ["-chardev", `socket,id=console,fd=${CONSOLE_FD}`, "-serial", "chardev:console"],
    ["-device", "virtio-serial-pci,id=ports,max_ports=2"],
    ["-chardev", `socket,id=agent,fd=${AGENT_FD}`],
    ["-device", `virtserialport,bus=ports.0,nr=1,chardev=agent,name=${AGENT_PORT_NAME}`],
    ["-object", "rng-random,id=entropy,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=entropy"],
  ].flat();
}

function kernelCommandLine(acceleration: Acceleration): string {
  return acceleration === "tcg"
    ? `${COMMON_KERNEL_ARGUMENTS} ${TCG_KERNEL_ARGUMENTS}`
    : COMMON_KERNEL_ARGUMENTS;
}

function diskArguments(config: MachineConfig): string[] {
  const { base, scratch } = config.disks;
  return [
    base === undefined ? [] : ["-blockdev", JSON.stringify(baseNode(base)), ...baseDevice("base")],
    scratch === undefined
      ? []
      : ["-blockdev", JSON.stringify(scratchNode(scratch)), ...scratchDevice("scratch")],
  ].flat();
}

function placeholderArguments(): string[] {
  const empty = (name: string, isReadOnly: boolean) =>
    JSON.stringify({
      driver: "null-co",
      "node-name": name,
      size: PLACEHOLDER_BYTES,
      "read-zeroes": true,
      "read-only": isReadOnly,
    });
  return [
    ["-blockdev", empty("no-base", true), ...baseDevice("no-base")],
    ["-blockdev", empty("no-scratch", false), ...scratchDevice("no-scratch")],
  ].flat();
}

function baseDevice(node: string): string[] {
  return ["-device", `virtio-blk-pci,id=${BASE_DEVICE},drive=${node},serial=${BASE_SERIAL}`];
}

function scratchDevice(node: string): string[] {
  return ["-device", `virtio-blk-pci,id=${SCRATCH_DEVICE},drive=${node},serial=${SCRATCH_SERIAL},discard=on`];
}

/** Block nodes, as `-blockdev` and the monitor's `blockdev-add` take them. */
export function baseNode(base: DiskFile): object {
  const file = { driver: "file", filename: base.path, "read-only": true };
  return { driver: base.format, "node-name": "base", "read-only": true, file };
}

export function scratchNode(scratch: DiskFile): object {
  // What is on it ends with the container, so nothing is gained by waiting for the host's disk.
  const throwaway = { discard: "unmap", cache: { "no-flush": true } };
  const file = { driver: "file", filename: scratch.path, ...throwaway };
  return { driver: scratch.format, "node-name": "scratch", ...throwaway, file };
}

function networkArguments(mac: string | undefined): string[] {
  if (mac === undefined) return [];
  const backend = {
    type: "stream",
    id: "net0",
    server: false,
    addr: { type: "fd", str: String(NETWORK_FD) },
  };
  // An empty romfile: no network boot code is loaded or run.
  return ["-netdev", JSON.stringify(backend), "-device", `virtio-net-pci,netdev=net0,mac=${mac},romfile=`];
}
