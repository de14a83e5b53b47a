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
 * A template and the machines restored from it have the same devices in the same order. The image's disk is an empty
 * one of the largest size, until a file is put behind it; the writable disk is the template's own while it is made, and
 * an empty one of the same size in a restored machine, until a copy of that is put behind it.
 */
import type { BootFiles, DiskFile, MachineConfig, MachineShape, TemplateFiles } from "../machine.ts";
import { TEMPLATE_MAC } from "../machine.ts";

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

/** No disk is larger: a guest that has seen this size believes in any smaller one. */
const PLACEHOLDER_BYTES = 2 ** 44;

const COMMON_KERNEL_ARGUMENTS = "console=ttyS0 quiet panic=-1 net.ifnames=0 random.trust_cpu=on";
/** Security modules that nobody has given a policy are only asked at every step. What programs use themselves stays. */
const SECURITY_ARGUMENTS = "lsm=landlock,yama audit=0";
/**
 * Emulated time sources need no calibration against each other, and speculation is not emulated. Pages are cleared when
 * they are handed out, not also before.
 */
const TCG_KERNEL_ARGUMENTS = "tsc=reliable no_timer_check mitigations=off init_on_alloc=0";
/**
 * What kind of processor a guest sees. Under emulation all that can be emulated, but for what makes a kernel choose ways
 * that only hardware is fast on: strings that are copied and cleared byte by byte (`rep movsb`), a fifth level of page
 * tables, and registers that every switch has to save.
 */
export const PROCESSORS: Readonly<Record<Acceleration, string>> = {
  kvm: "host",
  tcg: "max,-erms,-fsrm,-la57,-pku",
};

export function qemuArguments(
  config: MachineConfig,
  acceleration: Acceleration,
  processor?: string,
): string[] {
  return [
    ["-M", "q35", ...processorArguments(config, acceleration, processor)],
    NOTHING_ELSE,
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
    NOTHING_ELSE,
    bootArguments(boot, acceleration),
    commonDevices(),
    basePlaceholder(),
    blockdev(scratchNode({ path: files.scratchPath, format: "raw" })),
    scratchDevice("scratch"),
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
    NOTHING_ELSE,
    ["-incoming", "defer"],
    commonDevices(),
    basePlaceholder(),
    blockdev(emptyNode("no-scratch", shape.storageBytes, false)),
    scratchDevice("no-scratch"),
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
  model = PROCESSORS[acceleration],
): string[] {
  return ["-accel", acceleration, "-cpu", model, "-smp", String(shape.cpus), "-m", `${shape.memoryMib}M`];
}

const NOTHING_ELSE = ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"];

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
  const common = `${COMMON_KERNEL_ARGUMENTS} ${SECURITY_ARGUMENTS}`;
  return acceleration === "tcg" ? `${common} ${TCG_KERNEL_ARGUMENTS}` : common;
}

function diskArguments(config: MachineConfig): string[] {
  const { base, scratch } = config.disks;
  return [
    base === undefined ? [] : [...blockdev(baseNode(base)), ...baseDevice("base")],
    scratch === undefined ? [] : [...blockdev(scratchNode(scratch)), ...scratchDevice("scratch")],
  ].flat();
}

function basePlaceholder(): string[] {
  return [...blockdev(emptyNode("no-base", PLACEHOLDER_BYTES, true)), ...baseDevice("no-base")];
}

function emptyNode(name: string, sizeBytes: number, isReadOnly: boolean): object {
  const reads = { "read-zeroes": true, "read-only": isReadOnly };
  return { driver: "null-co", "node-name": name, size: sizeBytes, ...reads };
}

function blockdev(node: object): string[] {
  return ["-blockdev", JSON.stringify(node)];
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
  const backing = scratch.backingPath === undefined ? {} : { backing: backingNode(scratch.backingPath) };
  return { driver: scratch.format, "node-name": "scratch", ...throwaway, file, ...backing };
}

function backingNode(path: string): object {
  const file = { driver: "file", filename: path, "read-only": true, locking: "off" };
  return { driver: "raw", "read-only": true, file };
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
