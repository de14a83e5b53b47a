/**
 * A machine: a kernel of its own, two disks, perhaps a network, and a byte stream to the agent inside.
 *
 *     MachineConfig ──driver.start()──► Machine ──dial(1024)──► Duplex ──► agent session
 *
 * Drivers (`qemu/`, `firecracker/`) are sibling folders that return this interface. It knows nothing of
 * images, containers or the protocol that is spoken on the stream.
 */
import type { Duplex } from "node:stream";
import { FlameBoxError } from "../util/error.ts";
import { printable } from "../util/printable.ts";

export interface BootFiles {
  /** bzImage for QEMU; for Firecracker, the ELF file in it (kernel/vmlinux.ts). */
  readonly kernelPath: string;
  /** newc cpio with the agent as /init. */
  readonly initramfsPath: string;
}

export interface DiskFile {
  readonly path: string;
  /** Always said to the VMM, never guessed from what an image wrote into its first bytes. */
  readonly format: "raw" | "vmdk" | "qcow2";
  /** Of a qcow2 disk: the raw one whose bytes it has until they are written. Read-only. */
  readonly backingPath?: string | undefined;
}

export interface NetworkAttachment {
  /** Given the VMM's Ethernet frames, each behind its length (u32be), as soon as the VMM has been started. */
  readonly attach: (frames: Duplex) => void;
  readonly mac: string;
}

export interface MachineConfig {
  readonly boot: BootFiles;
  readonly cpus: number;
  readonly memoryMib: number;
  /** CPUs of the host that the VMM's threads may run on; undefined is any. */
  readonly hostCpus?: readonly number[] | undefined;
  /** A machine without disks boots its agent and no more: that is what a probe asks for. */
  readonly disks: {
    /** Read-only at the VMM. */
    readonly base?: DiskFile | undefined;
    readonly scratch?: DiskFile | undefined;
  };
  readonly network?: NetworkAttachment | undefined;
}

/** What a machine has to say for itself; both are the last part of what was printed, bounded. */
export interface Diagnostics {
  /** The guest's console: kernel messages and the agent's. Untrusted text. */
  readonly console: string;
  /** The VMM's own complaints. */
  readonly stderr: string;
}

export interface MachineExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** By which the guest finds its disks: serial numbers where a VMM gives them, the kernel's names where it does not. */
export interface DiskNames {
  readonly base: string;
  readonly scratch: string;
}

/** A machine whose processors can be halted, and go on as if no time had passed. */
export interface Pausing {
  /** @throws MachineError */
  pause(): Promise<void>;
  /** @throws MachineError */
  resume(): Promise<void>;
}

export interface Machine extends AsyncDisposable {
  /** `qemu (kvm)`, `qemu (software emulation)`, `firecracker (kvm)`. */
  readonly description: string;
  /** The VMM's process id. */
  readonly pid: number;
  /** The byte stream to the agent. One stream a machine; a further call rejects. */
  dial(port: number): Promise<Duplex>;
  /** Resolves when the VMM has ended, whatever ended it. */
  readonly exited: Promise<MachineExit>;
  /** Ends the VMM at once, waits until it has, and says whether it had to be killed. */
  kill(): Promise<void>;
  diagnostics(): Diagnostics;
  /** Where the VMM can do it. */
  readonly pausing?: Pausing | undefined;
}

export interface StartOptions {
  readonly signal?: AbortSignal | undefined;
}

export interface MachineDriver {
  readonly name: string;
  /** What the base disk has to be: a description of its parts, or all of it in one file. */
  readonly baseFormat: "raw" | "vmdk";
  /** Of a machine that has both disks. */
  readonly diskNames: DiskNames;
  /** @throws MachineError; a VMM that cannot run the machine may also end, which `exited` and `diagnostics` tell */
  start(config: MachineConfig, options?: StartOptions): Promise<Machine>;
  /** Whether it takes disks that are overlays (qcow2). */
  readonly overlays: boolean;
  /** Where the driver can save a machine that has booted, and start others from it. */
  readonly templates?: TemplateDriver | undefined;
}

/** What of a machine is fixed when its template is made. Disks, network and stream come at the restore. */
export interface MachineShape {
  readonly cpus: number;
  readonly memoryMib: number;
  /** Whether it has a network interface. */
  readonly network: boolean;
  /** Of its writable disk. */
  readonly storageBytes: number;
  readonly disk: DiskUse;
}

/**
 * What becomes of a machine's writable disk: `passing` ones go with their container, and need no journal; `lasting` ones
 * are used again; a `used` one is brought along by a container that had it before, and no template has opened it.
 */
export type DiskUse = (typeof DISK_USES)[number];
export const DISK_USES = ["passing", "lasting", "used"] as const;

/**
 * A saved machine: its memory, mapped copy-on-write by all that are restored from it, the devices' state, and its
 * writable disk as it was then, raw. A restored machine wants that disk's bytes behind its own.
 */
export interface TemplateFiles {
  readonly ramPath: string;
  readonly statePath: string;
  readonly scratchPath: string;
}

export interface SaveRequest {
  readonly boot: BootFiles;
  readonly shape: MachineShape;
  /** Memory and state are made here; the disk is there, and the machine may have written to it in the end. */
  readonly files: TemplateFiles;
  /** Resolves when the guest is ready; what it returns is disposed once the machine is saved. */
  readonly ready: (machine: Machine) => Promise<AsyncDisposable>;
}

export interface RestoreRequest {
  readonly shape: MachineShape;
  readonly files: TemplateFiles;
  /** CPUs of the host that the VMM's threads may run on; undefined is any. */
  readonly hostCpus?: readonly number[] | undefined;
}

/** A machine that was restored before its disks and its network were known. */
export interface RestoredMachine extends Machine {
  /** Puts files behind the disks, which were empty until now. Once, before the guest opens them. */
  attachDisks(disks: MachineConfig["disks"]): Promise<void>;
  /** Gives the machine's Ethernet frames to a network; what the guest sent before is read first. Once. */
  attachNetwork(network: NetworkAttachment): void;
}

export interface TemplateDriver {
  /** Everything but boot files and shape that a template depends on, as one line: program, version, CPU. */
  identity(): Promise<string>;
  /** Boots a machine, waits until it is ready and saves it. @throws MachineError */
  save(request: SaveRequest, options?: StartOptions): Promise<void>;
  /**
   * Returns as soon as the VMM runs: that the restore has succeeded is known when the guest answers. A state that does
   * not fit ends the VMM, which `exited` and `diagnostics` tell.
   * @throws MachineError `vmm-missing`
   */
  restore(request: RestoreRequest, options?: StartOptions): Promise<RestoredMachine>;
}

/** The network interface's address in a template, until the agent sets another. */
export const TEMPLATE_MAC = "52:54:00:00:00:01";

/** The agent's vsock port; drivers without ports have one stream and take only this one. */
export const AGENT_PORT = 1024;

export class MachineError extends FlameBoxError {
  override readonly name = "MachineError";
}

/** What moves a cursor or sets a colour; firmware and kernels write them. */
const ESCAPE_SEQUENCE = /\p{Cc}\[[0-9;?]*[ -/]*[@-~]/gu;

/** The last lines of what a machine said, indented, for an error message's end. Control characters are escaped. */
export function lastWords(diagnostics: Diagnostics, maxLines = 12): string {
  const parts: string[] = [];
  for (const [title, text] of [
    ["the VMM said", diagnostics.stderr],
    ["the guest's console ended with", diagnostics.console],
  ] as const) {
    const lines = text
      .replace(ESCAPE_SEQUENCE, "")
      .split(/\r?\n/)
      .map((line) => printable(line.trimEnd()))
      .filter((line) => line !== "");
    if (lines.length > 0) parts.push(`${title}:\n    ${lines.slice(-maxLines).join("\n    ")}`);
  }
  return parts.join("\n  ");
}
