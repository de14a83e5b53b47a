/** The least that a start can take: native/restore.c, compiled once, and what it is to be given. */
import { execFile } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { setup } from "flamebox";
import type { TemplateInfo } from "flamebox";
import { FrameType, encodeJson } from "../src/agent/protocol/frame.ts";
import { qemuArguments, restoringArguments } from "../src/machine/qemu/arguments.ts";
import { sandboxArguments } from "../src/machine/qemu/confinement.ts";
import { findQemu } from "../src/machine/qemu/vmm.ts";
import type { Home } from "../test/support/home.ts";
import { repository } from "../test/support/images/layouts.ts";

const execute = promisify(execFile);

export interface Floors {
  readonly restore: readonly string[];
  readonly boot: readonly string[];
}

/** Whole processes, from before they are spawned to their end. */
export async function timeMs(words: readonly string[], env = process.env): Promise<number> {
  const [program = "", ...args] = words;
  const started = performance.now();
  await execute(program, args, { env });
  return performance.now() - started;
}

/** @throws Error without a compiler, which setup.sh installs */
export async function prepareFloors(home: Home, template: TemplateInfo): Promise<Floors> {
  const dir = join(home.dir, "floors");
  await mkdir(dir);
  const program = join(dir, "restore");
  await execute("cc", ["-O2", "-o", program, join(repository, "bench", "native", "restore.c")]);
  const hello = join(dir, "hello");
  await writeFile(hello, encodeJson(FrameType.hello, 0, { generation: 3 }));
  const vmm = await findQemu();
  const files = {
    ramPath: join(home.paths.dataDir, "templates", template.key, "ram"),
    statePath: join(home.paths.dataDir, "templates", template.key, "state"),
    scratchPath: "",
  };
  const { kernel, initramfs } = await setup({ paths: home.paths });
  const boot = { kernelPath: kernel.path, initramfsPath: initramfs.path };
  const { cpus, memoryMib } = template;
  const sandbox = sandboxArguments({ isJailed: false });
  const restoring = [...restoringArguments(template, files, "tcg"), ...sandbox];
  const booting = [...qemuArguments({ boot, cpus, memoryMib, disks: {} }, "tcg"), ...sandbox];
  return {
    restore: [program, files.statePath, hello, vmm, ...restoring],
    boot: [program, "-", hello, vmm, ...booting],
  };
}

async function printedMs(words: readonly string[]): Promise<number> {
  const [program = "", ...args] = words;
  const { stdout } = await execute(program, args);
  return Number(stdout);
}

export const bareRestore = async ({ restore }: Floors): Promise<number> => await printedMs(restore);
export const bareBoot = async ({ boot }: Floors): Promise<number> => await printedMs(boot);
