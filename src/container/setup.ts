/** What the first container needs: the kernel, the guest's agent, the initramfs of both, and a template. */
import { access, mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { InstalledFirecracker } from "../machine/firecracker/installed.ts";
import { installFirecracker } from "../machine/firecracker/release.ts";
import { findKernel, installKernel, prepareBoot } from "../machine/kernel/kernel.ts";
import { MachineError } from "../machine/machine.ts";
import { runCommand } from "../util/command.ts";
import { FlameBoxError } from "../util/error.ts";
import type { Paths } from "../util/paths.ts";
import { locatePaths } from "../util/paths.ts";
import type { OnProgress } from "../util/progress.ts";
import { silent } from "../util/progress.ts";
import { findAgent, guestSourceDir, requireAgent } from "./host.ts";
import type { MachineOptions, OperationOptions } from "./options.ts";
import type { TemplateInfo } from "./templates.ts";
import { buildTemplate } from "./templates.ts";

export type { InstalledFirecracker };

export interface SetupOptions extends OperationOptions {
  /** A Debian kernel package by name; default: the newest 6.12 cloud kernel. */
  readonly kernelPackage?: string | undefined;
  /** Fetch the kernel again even when there is one. */
  readonly force?: boolean | undefined;
  /** Fetch the Firecracker release that FlameBox is tested with, too. */
  readonly withFirecracker?: boolean | undefined;
  /** Whose template is made; default: as a container's. */
  readonly vmm?: MachineOptions["vmm"];
}

export interface SetupReport {
  /** The one in use. */
  readonly kernel: { readonly path: string; readonly release: string };
  readonly agent: { readonly path: string };
  readonly initramfs: { readonly path: string };
  /** What was fetched by `withFirecracker`; null without. */
  readonly firecracker: InstalledFirecracker | null;
  /** For containers of the default size; null where none could be made, which is told. */
  readonly template: TemplateInfo | null;
}

/**
 * Idempotent, and quick when all is there.
 * @throws MachineError `kernel-unavailable`, `kernel-missing`, `agent-missing`, `firecracker-unavailable`
 */
export async function setup(options: SetupOptions = {}): Promise<SetupReport> {
  const { paths = locatePaths(), signal, onProgress = silent, kernelPackage, force } = options;
  const fetched = await installKernel({ paths, signal, onProgress, packageName: kernelPackage, force });
  const kernel = (await findKernel(paths)) ?? fetched;
  if (kernel.name !== fetched.name)
    options.onNotice?.(`the kernel ${fetched.name} is here; ${kernel.name} stays the one in use`);
  if ((await findAgent(paths)) === undefined) await buildAgent(paths, onProgress, signal);
  const agent = await requireAgent(paths);
  const boot = await prepareBoot(kernel, agent, paths);
  const firecracker =
    options.withFirecracker === true ? await installFirecracker({ paths, force, signal, onProgress }) : null;
  return {
    kernel: { path: kernel.path, release: kernel.release },
    agent: { path: agent },
    initramfs: { path: boot.initramfsPath },
    firecracker,
    template: await makeTemplate(options),
  };
}

/** The first container would make it; one that cannot be made keeps nobody from the rest. */
async function makeTemplate(options: SetupOptions): Promise<TemplateInfo | null> {
  const { kernelPackage: _package, force: _force, withFirecracker: _firecracker, ...machine } = options;
  const { signal, onNotice } = options;
  try {
    return await buildTemplate(machine);
  } catch (error) {
    signal?.throwIfAborted();
    if (!(error instanceof FlameBoxError)) throw error;
    onNotice?.(`no template was made: ${error.message.split("\n")[0] ?? ""}`);
    return null;
  }
}

/** The package brings the agent's source; Cargo makes the program, outside the package, which may be read-only. */
async function buildAgent(paths: Paths, onProgress: OnProgress, signal?: AbortSignal): Promise<void> {
  const source = guestSourceDir();
  const report = (state: "running" | "done" | "failed"): void =>
    onProgress({ id: "agent", label: "building the guest's agent", state });
  try {
    await access(join(source, "Cargo.toml"));
  } catch (error) {
    throw new MachineError(
      "agent-missing",
      `the guest's agent is missing, and so is its source (${source})`,
      {
        hint: "install the package flamebox again",
        cause: error,
      },
    );
  }
  const targetDir = join(paths.dataDir, "guest", "target");
  await mkdir(targetDir, { recursive: true, mode: 0o700 });
  report("running");
  try {
    const args = ["build", "--release", "--locked", "--quiet", "--target-dir", targetDir];
    // In the source's own folder, where Cargo finds the settings for a static program.
    await runCommand("cargo", args, { cwd: source, signal, timeoutMs: 1_800_000, maxOutputBytes: 8 << 20 });
    report("done");
  } catch (error) {
    report("failed");
    signal?.throwIfAborted();
    const why = error instanceof FlameBoxError ? error.message : String(error);
    throw new MachineError("agent-missing", `the guest's agent could not be built: ${why}`, {
      hint: "install Rust 1.85 or later (rustup.rs), a C compiler and the network access that Cargo needs",
      cause: error,
    });
  }
}
