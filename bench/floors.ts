/**
 * The least that a start can take: native/restore.c for QEMU, test/support/bare-firecracker.c for Firecracker, compiled
 * once, and what they are to be given.
 */
import { execFile } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { diagnose, setup } from "flamebox";
import type { TemplateInfo } from "flamebox";
import { FrameType, encodeJson } from "../src/agent/protocol/frame.ts";
import { requireAgent } from "../src/container/host.ts";
import { locateFirecracker } from "../src/container/vmm.ts";
import { elfKernel } from "../src/machine/kernel/vmlinux.ts";
import type { BootFiles, TemplateFiles } from "../src/machine/machine.ts";
import { qemuArguments, restoringArguments } from "../src/machine/qemu/arguments.ts";
import { sandboxArguments } from "../src/machine/qemu/confinement.ts";
import { findQemu } from "../src/machine/qemu/vmm.ts";
import { bareBootMs, bareRestoreMs, compileBare } from "../test/support/bare-firecracker.ts";
import type { Home } from "../test/support/home.ts";
import { repository } from "../test/support/images/layouts.ts";

const execute = promisify(execFile);

/** Each in milliseconds, of one VMM. */
export interface Floors {
  readonly restore: () => Promise<number>;
  readonly boot: () => Promise<number>;
}

/** What the library is told of VMMs, as the command line is by its environment. */
export function vmmOptions(): { readonly firecracker: string | undefined } {
  return { firecracker: process.env["FLAMEBOX_FIRECRACKER"] };
}

/** Whole processes, from before they are spawned to their end. */
export async function timeMs(words: readonly string[], env = process.env): Promise<number> {
  const [program = "", ...args] = words;
  const started = performance.now();
  await execute(program, args, { env });
  return performance.now() - started;
}

/** Of the VMM that FlameBox chooses on this host. @throws Error without a compiler, which setup.sh installs */
export async function prepareFloors(home: Home, template: TemplateInfo): Promise<Floors> {
  const { paths } = home;
  const dir = join(home.dir, "floors");
  await mkdir(dir);
  const templateDir = join(paths.dataDir, "templates", template.key);
  const files = {
    ramPath: join(templateDir, "ram"),
    statePath: join(templateDir, "state"),
    scratchPath: join(templateDir, "scratch"),
  };
  const { kernel, initramfs } = await setup({ paths });
  const boot = { kernelPath: kernel.path, initramfsPath: initramfs.path };
  const { firecracker } = vmmOptions();
  const { machine } = await diagnose({ paths, firecracker });
  const request = { home, dir, template, files, boot };
  if (machine?.vmm === "firecracker") return await firecrackerFloors(request);
  return await qemuFloors(request, machine?.acceleration ?? "tcg");
}

interface FloorRequest {
  readonly home: Home;
  readonly dir: string;
  readonly template: TemplateInfo;
  readonly files: TemplateFiles;
  readonly boot: BootFiles;
}

async function qemuFloors(
  { dir, template, files, boot }: FloorRequest,
  acceleration: "kvm" | "tcg",
): Promise<Floors> {
  const program = join(dir, "restore");
  await execute("cc", ["-O2", "-o", program, join(repository, "bench", "native", "restore.c")]);
  const hello = join(dir, "hello");
  await writeFile(hello, encodeJson(FrameType.hello, 0, { generation: 3 }));
  const vmm = await findQemu();
  const { cpus, memoryMib } = template;
  const sandbox = sandboxArguments({ isJailed: false });
  const restoring = [
    ...restoringArguments(template, { ...files, scratchPath: "" }, acceleration),
    ...sandbox,
  ];
  const booting = [...qemuArguments({ boot, cpus, memoryMib, disks: {} }, acceleration), ...sandbox];
  return {
    restore: async () => await printedMs([program, files.statePath, hello, vmm, ...restoring]),
    boot: async () => await printedMs([program, "-", hello, vmm, ...booting]),
  };
}

async function firecrackerFloors({ home, dir, template, files, boot }: FloorRequest): Promise<Floors> {
  const { paths } = home;
  const firecracker = await locateFirecracker(vmmOptions().firecracker, paths);
  if (firecracker === undefined) throw new Error("the firecracker that doctor has found is gone");
  const helper = await requireAgent(paths);
  const options = { bare: await compileBare(dir), firecracker, helper, dir, shape: template };
  const elf = { ...boot, kernelPath: await elfKernel(boot.kernelPath, paths) };
  return {
    restore: async () => await bareRestoreMs(options, files),
    boot: async () => await bareBootMs(options, elf),
  };
}

async function printedMs(words: readonly string[]): Promise<number> {
  const [program = "", ...args] = words;
  const { stdout } = await execute(program, args);
  return Number(stdout);
}
