/**
 * Which VMM runs a machine: Firecracker where its program is and a guest runs on KVM in it, else QEMU, with KVM
 * where a guest runs on that, else in software emulation.
 *
 *     firecracker found ─► guest answers on KVM ─► firecracker          --vmm firecracker: no other
 *          │ no                 │ no                                    --vmm qemu: not looked for
 *          └───────────► qemu ◄─┘ ─► guest answers on KVM? kvm : tcg
 */
import { isAbsolute } from "node:path";
import type { Kernel } from "../machine/kernel/kernel.ts";
import { elfKernel } from "../machine/kernel/vmlinux.ts";
import { firecrackerDriver } from "../machine/firecracker/firecracker.ts";
import {
  FIRECRACKER_HINT,
  findFirecracker,
  requireSupported,
  versionOf,
} from "../machine/firecracker/version.ts";
import type { FirecrackerVersion } from "../machine/firecracker/version.ts";
import type { BootFiles, MachineDriver } from "../machine/machine.ts";
import { MachineError } from "../machine/machine.ts";
import type { KvmVerdict } from "../machine/probe/kvm.ts";
import { qemuDriver } from "../machine/qemu/qemu.ts";
import { findQemu } from "../machine/qemu/vmm.ts";
import { FlameBoxError } from "../util/error.ts";
import type { Paths } from "../util/paths.ts";
import { quote } from "../util/printable.ts";
import type { HostOptions } from "./options.ts";

export interface Vmm {
  readonly driver: MachineDriver;
  /** The kernel as this VMM takes it. */
  readonly boot: BootFiles;
  readonly kvm: KvmVerdict;
}

export interface VmmRequest {
  readonly paths: Paths;
  readonly kernel: Kernel;
  readonly boot: BootFiles;
  readonly options: HostOptions;
  /** Runs a guest, or remembers how that went. */
  readonly tryKvm: (driver: MachineDriver, program: string, boot: BootFiles) => Promise<KvmVerdict>;
}

/** @throws MachineError `vmm-missing`, `kvm-unusable`, `firecracker-version`, `network-refused` */
export async function chooseVmm(request: VmmRequest): Promise<Vmm> {
  const { options, boot, tryKvm } = request;
  const firecracker = options.vmm === "qemu" ? undefined : await chooseFirecracker(request);
  if (firecracker !== undefined) return firecracker;
  const program = await findQemu();
  const kvm = await tryKvm(qemuDriver({ acceleration: "kvm", program }), program, boot);
  return { driver: qemuDriver({ acceleration: kvm.usable ? "kvm" : "tcg", program }), boot, kvm };
}

async function chooseFirecracker(request: VmmRequest): Promise<Vmm | undefined> {
  const { options, paths, kernel, tryKvm } = request;
  const { vmm, network = "user", signal } = options;
  const isWanted = vmm === "firecracker";
  if (network !== "none") {
    if (!isWanted) return undefined;
    throw new MachineError("network-refused", "Firecracker's machines have no network yet", {
      hint: "choose --network none, or --vmm qemu",
    });
  }
  try {
    const found = await locateFirecracker(options.firecracker, signal);
    if (found === undefined) return missing(isWanted);
    requireSupported(found.version);
    const boot = { ...request.boot, kernelPath: await elfKernel(kernel.path, paths, signal) };
    const driver = firecrackerDriver({ program: found.program, runtimeDir: paths.runtimeDir });
    const kvm = await tryKvm(driver, found.program, boot);
    if (kvm.usable) return { driver, boot, kvm };
    if (!isWanted) return undefined;
    throw new MachineError("kvm-unusable", `Firecracker needs KVM, which is not usable: ${kvm.reason}`, {
      hint: kvm.hint ?? "leave out --vmm firecracker: QEMU runs without KVM, too",
    });
  } catch (error) {
    signal?.throwIfAborted();
    if (isWanted || !(error instanceof FlameBoxError)) throw error;
    options.onNotice?.(`QEMU runs the machine, because Firecracker cannot: ${error.message}`);
    return undefined;
  }
}

function missing(isWanted: boolean): undefined {
  if (isWanted)
    throw new MachineError("vmm-missing", "there is no firecracker program", { hint: FIRECRACKER_HINT });
}

export interface FoundFirecracker {
  readonly program: string;
  readonly version: FirecrackerVersion;
}

/**
 * @param given its absolute path; by default it is looked up
 * @throws FlameBoxError for one that is not there, or is something else
 */
export async function locateFirecracker(
  given: string | undefined,
  signal?: AbortSignal,
): Promise<FoundFirecracker | undefined> {
  if (given !== undefined && !isAbsolute(given))
    throw new MachineError("vmm-missing", `${quote(given)} is not an absolute path`, {
      hint: FIRECRACKER_HINT,
    });
  const program = given ?? (await findFirecracker());
  return program === undefined ? undefined : { program, version: await versionOf(program, signal) };
}
