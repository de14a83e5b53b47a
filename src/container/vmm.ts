/**
 * Which VMM runs a machine: Firecracker where its program is and a guest runs on KVM in it, else QEMU, with KVM
 * where a guest runs on that, else in software emulation.
 *
 *     firecracker found ─► guest answers on KVM ─► firecracker          --vmm firecracker: no other
 *          │ no                 │ no                                    --vmm qemu: not looked for
 *          └───────────► qemu ◄─┘ ─► guest answers on KVM? kvm : tcg
 */
import { constants } from "node:fs";
import { access } from "node:fs/promises";
import { isAbsolute } from "node:path";
import type { Kernel } from "../machine/kernel/store.ts";
import { elfKernel } from "../machine/kernel/vmlinux.ts";
import { findJailer } from "../machine/firecracker/find-jailer.ts";
import { firecrackerDriver } from "../machine/firecracker/firecracker.ts";
import type { JailerOptions } from "../machine/firecracker/jailer.ts";
import { installedFirecracker } from "../machine/firecracker/installed.ts";
import { FIRECRACKER_HINT, findFirecracker } from "../machine/firecracker/version.ts";
import { NOT_ROOT, jailProblem } from "../machine/jail/ability.ts";
import type { BootFiles, MachineDriver } from "../machine/machine.ts";
import { MachineError } from "../machine/machine.ts";
import type { KvmVerdict } from "../machine/probe/kvm.ts";
import { versionText } from "../machine/probe/remembered.ts";
import { parseQemuVersion } from "../machine/qemu/confinement.ts";
import { qemuDriver } from "../machine/qemu/qemu.ts";
import type { QemuOptions } from "../machine/qemu/vmm.ts";
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

export interface Candidate {
  readonly driver: MachineDriver;
  readonly program: string;
  readonly boot: BootFiles;
  readonly network?: boolean;
  /** Whether its VMMs are jailed, which may stand in their way. */
  readonly isJailed?: boolean;
}

export interface VmmRequest {
  readonly paths: Paths;
  readonly kernel: Kernel;
  readonly boot: BootFiles;
  readonly options: HostOptions;
  /** The agent's program. */
  readonly agent: string;
  /** Runs a guest, or remembers how that went. */
  readonly tryKvm: (candidate: Candidate) => Promise<KvmVerdict>;
}

/** @throws MachineError `vmm-missing`, `kvm-unusable`, `kernel-unavailable` */
export async function chooseVmm(request: VmmRequest): Promise<Vmm> {
  const { options, boot, tryKvm } = request;
  const firecracker = options.vmm === "qemu" ? undefined : await chooseFirecracker(request);
  if (firecracker !== undefined) return firecracker;
  if (options.firecrackerTuning !== undefined)
    options.onNotice?.("QEMU runs the machine: firecrackerTuning has no effect");
  const program = await findQemu();
  const confined = await confinementOf(program, request);
  const candidate = { driver: qemuDriver({ acceleration: "kvm", ...confined }), program, boot };
  const kvm = await tryKvm({ ...candidate, isJailed: confined.jail !== undefined });
  return { driver: qemuDriver({ acceleration: kvm.usable ? "kvm" : "tcg", ...confined }), boot, kvm };
}

/** What QEMU is started with besides its machine: a jail where this is root. */
export async function confinementOf(
  program: string,
  { options, paths, agent }: Pick<VmmRequest, "options" | "paths" | "agent">,
): Promise<Omit<QemuOptions, "acceleration">> {
  const { signal } = options;
  const problem = await jailProblem(paths.dataDir, { jailer: false });
  if (problem !== undefined) {
    if (problem !== NOT_ROOT) options.onNotice?.(`QEMU runs as root, because ${problem}`);
    return { program, helper: agent };
  }
  const version = parseQemuVersion(await versionText(program, { paths, signal }));
  if (version === undefined) throw new MachineError("vmm-missing", `${program} is no QEMU`);
  return { program, helper: agent, jail: { dataDir: paths.dataDir, version } };
}

async function chooseFirecracker(request: VmmRequest): Promise<Vmm | undefined> {
  const { options, tryKvm } = request;
  const isWanted = options.vmm === "firecracker";
  try {
    const candidate = await firecrackerCandidate(request);
    if (candidate === undefined) return missing(isWanted);
    const kvm = await tryKvm(candidate);
    if (kvm.usable) return { driver: candidate.driver, boot: candidate.boot, kvm };
    if (!isWanted) return undefined;
    throw new MachineError("kvm-unusable", `Firecracker cannot run the machine: ${kvm.reason}`, {
      hint: kvm.hint ?? "leave out --vmm firecracker: QEMU runs without KVM, too",
    });
  } catch (error) {
    options.signal?.throwIfAborted();
    if (isWanted || !(error instanceof FlameBoxError)) throw error;
    options.onNotice?.(`QEMU runs the machine, because Firecracker cannot: ${error.message}`);
    return undefined;
  }
}

/** Undefined where there is no such program. Its version is looked at when it is tried. */
export async function firecrackerCandidate({
  options,
  paths,
  kernel,
  boot,
  agent,
}: Omit<VmmRequest, "tryKvm">): Promise<Candidate | undefined> {
  const { firecracker, firecrackerTuning: tuning, network = "user", signal } = options;
  const program = await locateFirecracker(firecracker, paths);
  if (program === undefined) return undefined;
  const jailer = await jailerFor(program, { options, paths });
  return {
    driver: firecrackerDriver({ program, runtimeDir: paths.runtimeDir, helper: agent, jailer, tuning }),
    program,
    boot: { ...boot, kernelPath: await elfKernel(kernel.path, paths, signal) },
    network: network !== "none",
    isJailed: jailer !== undefined,
  };
}

async function jailerFor(
  firecracker: string,
  { options, paths }: Pick<VmmRequest, "options" | "paths">,
): Promise<JailerOptions | undefined> {
  const { jailer, signal, onNotice } = options;
  const problem = await jailProblem(paths.dataDir, { jailer: true });
  if (problem === NOT_ROOT) return undefined;
  const found =
    problem === undefined ? await findJailer({ paths, firecracker, jailer, signal }) : { problem };
  if ("program" in found) return { program: found.program, dataDir: paths.dataDir };
  onNotice?.(`Firecracker runs as root, because ${found.problem}`);
  return undefined;
}

function missing(isWanted: boolean): undefined {
  if (isWanted)
    throw new MachineError("vmm-missing", "there is no firecracker program", { hint: FIRECRACKER_HINT });
}

/** @param given its path, which has to be absolute; default: what `setup` has fetched, or what is in the PATH */
export async function locateFirecracker(
  given: string | undefined,
  paths: Paths,
): Promise<string | undefined> {
  if (given === undefined) return (await installedFirecracker(paths))?.path ?? (await findFirecracker());
  const isThere = isAbsolute(given) && (await canExecute(given));
  if (isThere) return given;
  throw new MachineError("vmm-missing", `${quote(given)} is no program`, { hint: FIRECRACKER_HINT });
}

async function canExecute(path: string): Promise<boolean> {
  return await access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}
