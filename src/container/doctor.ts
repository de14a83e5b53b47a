/** What this host can do, one check at a time. Looks and probes; changes nothing but the probe's cache. */
import { statfs } from "node:fs/promises";
import { findKernel, prepareBoot } from "../machine/kernel/kernel.ts";
import type { Kernel } from "../machine/kernel/store.ts";
import type { BootFiles } from "../machine/machine.ts";
import { FIRECRACKER_HINT, isSupported, versionOf } from "../machine/firecracker/version.ts";
import { qemuDriver } from "../machine/qemu/qemu.ts";
import { QEMU_HINT, QEMU_PROGRAM } from "../machine/qemu/vmm.ts";
import { makePrivateDir } from "../util/atomic-file.ts";
import { runCommand } from "../util/command.ts";
import { FlameBoxError, messageOf } from "../util/error.ts";
import { findProgram } from "../util/find-program.ts";
import type { Paths } from "../util/paths.ts";
import { locatePaths } from "../util/paths.ts";
import { version } from "../util/version.ts";
import { checkKvm, findAgent } from "./host.ts";
import { checkConfinement, checkJail } from "./jail-check.ts";
import type { OperationOptions } from "./options.ts";
import { networkChecks } from "./network-checks.ts";
import { productionChecks } from "./production.ts";
import type { Candidate } from "./vmm.ts";
import { confinementOf, firecrackerCandidate, locateFirecracker } from "./vmm.ts";

export interface Check {
  /** `KVM`, `QEMU`, `kernel`; stable. */
  readonly name: string;
  readonly status: "ok" | "warning" | "missing";
  readonly detail: string;
  readonly hint?: string | undefined;
}

export interface HostReport {
  readonly version: string;
  readonly checks: readonly Check[];
  /** A container can be run, or could be once `setup` has been run by itself at first use. */
  readonly ready: boolean;
  /** What would run it; null when nothing would. */
  readonly machine: {
    readonly vmm: "firecracker" | "qemu";
    readonly version: string;
    readonly acceleration: "kvm" | "tcg";
  } | null;
}

const GIB = 1024 ** 3;
const LITTLE_SPACE_BYTES = 2 * GIB;
const OLDEST_QEMU = [7, 2] as const;

/** Programs that some abilities need: what for, and the Debian package that has it. */
const TOOLS: readonly {
  name: string;
  program: string;
  needed: string;
  debianPackage: string;
  required: boolean;
}[] = [
  { name: "passt", program: "passt", needed: "networking", debianPackage: "passt", required: false },
  {
    name: "mkfs.ext4",
    program: "mkfs.ext4",
    needed: "the writable layer",
    debianPackage: "e2fsprogs",
    required: true,
  },
  {
    name: "dpkg-deb",
    program: "dpkg-deb",
    needed: "installing the kernel",
    debianPackage: "dpkg",
    required: false,
  },
  {
    name: "depmod",
    program: "depmod",
    needed: "installing the kernel",
    debianPackage: "kmod",
    required: false,
  },
  { name: "xz", program: "xz", needed: "installing the kernel", debianPackage: "xz-utils", required: false },
  {
    name: "zstd",
    program: "zstd",
    needed: "zstd layers on Node versions without zstd",
    debianPackage: "zstd",
    required: false,
  },
];

export interface DiagnoseOptions extends OperationOptions {
  /** Look also at what Firecracker recommends for hosts that run code of several tenants. */
  readonly production?: boolean | undefined;
}

export async function diagnose(options: DiagnoseOptions = {}): Promise<HostReport> {
  const { paths = locatePaths() } = options;
  const qemu = await checkQemu();
  const boot = await checkBoot(paths);
  const acceleration = await checkAcceleration(paths, boot.parts, qemu.program, options);
  const firecracker = await checkFirecracker(paths, boot.parts, acceleration.kvm, options);
  const { production = false } = options;
  const jail = await checkJail({ ...options, paths, firecracker: firecracker.program, production });
  const tools = await Promise.all([checkDisk(paths), ...TOOLS.map(checkTool), ...networkChecks()]);
  const rest = [jail, ...tools];
  if (production) {
    rest.push(...(await productionChecks()));
    const running = firecracker.candidate ?? acceleration.candidate;
    if (running !== undefined)
      rest.push(await checkConfinement(running.driver, running.boot, options.signal));
  }
  // One VMM is enough.
  const isSpare = firecracker.machine !== undefined && qemu.check.status === "missing";
  const qemuCheck: Check = isSpare ? { ...qemu.check, status: "warning" } : qemu.check;
  const checks = [acceleration.check, qemuCheck, firecracker.check, ...boot.checks, ...rest];
  const ready = checks.every(({ status }) => status !== "missing");
  const { kvm } = acceleration;
  const inQemu: HostReport["machine"] =
    qemu.program === undefined
      ? null
      : { vmm: "qemu", version: qemu.version, acceleration: kvm ? "kvm" : "tcg" };
  return { version, checks, ready, machine: firecracker.machine ?? inQemu };
}

async function checkQemu(): Promise<{ check: Check; program: string | undefined; version: string }> {
  const program = await findProgram(QEMU_PROGRAM);
  if (program === undefined)
    return {
      check: { name: "QEMU", status: "missing", detail: `no ${QEMU_PROGRAM}`, hint: QEMU_HINT },
      program,
      version: "",
    };
  const output = (await runCommand(program, ["--version"])).stdout.toString();
  const found = /version (\d+)\.(\d+)[^\s(]*/.exec(output);
  const [major, minor] = [Number(found?.[1] ?? 0), Number(found?.[2] ?? 0)];
  const text = found?.[0].slice("version ".length) ?? "of unknown version";
  const old = major < OLDEST_QEMU[0] || (major === OLDEST_QEMU[0] && minor < OLDEST_QEMU[1]);
  const check: Check = old
    ? {
        name: "QEMU",
        status: "warning",
        detail: `${text} at ${program}`,
        hint: "networking needs QEMU 7.2 or later",
      }
    : { name: "QEMU", status: "ok", detail: `${text} at ${program}` };
  return { check, program, version: text };
}

interface BootParts {
  readonly kernel: Kernel;
  readonly agent: string;
  readonly files: BootFiles;
}

interface FirecrackerReport {
  readonly check: Check;
  /** Where it would run containers. */
  readonly program?: string;
  readonly candidate?: Candidate;
  /** Where it would run a container. */
  readonly machine?: HostReport["machine"];
}

/** Nothing is missing without it: machines run in QEMU then. @param kvm whether QEMU's guests run on KVM */
async function checkFirecracker(
  paths: Paths,
  parts: BootParts | undefined,
  kvm: boolean,
  options: OperationOptions,
): Promise<FirecrackerReport> {
  const name = "Firecracker";
  const { signal, onProgress } = options;
  try {
    const program = await locateFirecracker(options.firecracker, paths);
    if (program === undefined)
      return { check: { name, status: "ok", detail: "not installed; machines run in QEMU" } };
    const found = await versionOf(program, signal);
    const detail = `${found.text} at ${program}`;
    if (!isSupported(found))
      return { check: { name, status: "warning", detail: `${detail}, too old`, hint: FIRECRACKER_HINT } };
    const { kernel, agent, files: boot } = parts ?? {};
    if (kernel === undefined || agent === undefined || boot === undefined)
      return { check: { name, status: "ok", detail } };
    const candidate = await firecrackerCandidate({ options, paths, kernel, agent, boot });
    if (candidate === undefined) return { check: { name, status: "ok", detail } };
    const verdict = await checkKvm({ ...candidate, paths, signal, onProgress });
    if (verdict.usable)
      return {
        check: { name, status: "ok", detail },
        machine: { vmm: "firecracker", version: found.text, acceleration: "kvm" },
        program,
        candidate,
      };
    // Where there is no KVM, that has been said already.
    const status = kvm ? "warning" : "ok";
    return { check: { name, status, detail: `${detail}; not used: ${verdict.reason}`, hint: verdict.hint } };
  } catch (error) {
    signal?.throwIfAborted();
    return { check: { name, status: "warning", detail: messageOf(error), hint: FIRECRACKER_HINT } };
  }
}

async function checkBoot(paths: Paths): Promise<{ checks: Check[]; parts: BootParts | undefined }> {
  const [{ kernel, check }, agent] = await Promise.all([checkKernel(paths), findAgent(paths)]);
  const checks: Check[] = [
    check,
    agent === undefined
      ? { name: "agent", status: "missing", detail: "not built", hint: 'run "flamebox setup"' }
      : { name: "agent", status: "ok", detail: agent },
  ];
  if (kernel === undefined || agent === undefined) return { checks, parts: undefined };
  return { checks, parts: { kernel, agent, files: await prepareBoot(kernel, agent, paths) } };
}

async function checkKernel(paths: Paths): Promise<{ check: Check; kernel: Kernel | undefined }> {
  const name = "kernel";
  try {
    const kernel = await findKernel(paths);
    if (kernel !== undefined)
      return { check: { name, status: "ok", detail: `${kernel.release} at ${kernel.path}` }, kernel };
    const hint = "flamebox setup installs it; so does the first run";
    return { check: { name, status: "warning", detail: "not installed yet", hint }, kernel };
  } catch (error) {
    if (!(error instanceof FlameBoxError)) throw error;
    const { message: detail, hint } = error;
    return { check: { name, status: "missing", detail, hint }, kernel: undefined };
  }
}

async function checkAcceleration(
  paths: Paths,
  parts: BootParts | undefined,
  program: string | undefined,
  options: OperationOptions,
): Promise<{ check: Check; kvm: boolean; candidate?: Pick<Candidate, "driver" | "boot"> }> {
  if (parts === undefined || program === undefined) {
    const detail = "not tried: that takes QEMU, a kernel and the agent";
    return { check: { name: "KVM", status: "warning", detail }, kvm: false };
  }
  const { signal, onProgress } = options;
  const { agent, files: boot } = parts;
  // What stands in the way of a jail is a line of its own.
  const confined = await confinementOf(program, { options: { signal }, paths, agent });
  const isJailed = confined.jail !== undefined;
  const driver = qemuDriver({ acceleration: "kvm", ...confined });
  const verdict = await checkKvm({ paths, boot, driver, program, isJailed, signal, onProgress });
  if (verdict.usable)
    return {
      check: { name: "KVM", status: "ok", detail: verdict.reason },
      kvm: true,
      candidate: { driver, boot },
    };
  const hint = `${verdict.hint === undefined ? "" : `${verdict.hint}; until then `}machines run in software emulation, which is no isolation boundary`;
  return {
    check: { name: "KVM", status: "warning", detail: `not usable: ${verdict.reason}`, hint },
    kvm: false,
    candidate: { driver: qemuDriver({ acceleration: "tcg", ...confined }), boot },
  };
}

async function checkDisk(paths: Paths): Promise<Check> {
  try {
    await makePrivateDir(paths.dataDir);
    const { bavail, bsize } = await statfs(paths.dataDir);
    const freeBytes = bavail * bsize;
    const detail = `${(freeBytes / GIB).toFixed(1)} GiB free in ${paths.dataDir}`;
    if (freeBytes >= LITTLE_SPACE_BYTES) return { name: "disk", status: "ok", detail };
    return { name: "disk", status: "warning", detail, hint: "free some space; flamebox rmi removes images" };
  } catch (error) {
    const hint = "set FLAMEBOX_HOME to a folder that can be written";
    return { name: "disk", status: "missing", detail: `${paths.dataDir}: ${messageOf(error)}`, hint };
  }
}

async function checkTool(tool: (typeof TOOLS)[number]): Promise<Check> {
  const path = await findProgram(tool.program);
  if (path !== undefined) return { name: tool.name, status: "ok", detail: path };
  return {
    name: tool.name,
    status: tool.required ? "missing" : "warning",
    detail: `not installed; needed for ${tool.needed}`,
    hint: `install Debian's package ${tool.debianPackage}`,
  };
}
