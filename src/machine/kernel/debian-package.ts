/**
 * Debian's cloud kernel, without root: `apt-get download` fetches and verifies the package, `dpkg-deb`
 * unpacks it, `depmod` says which module needs which, `xz` decompresses the few we want.
 *
 *     linux-image-6.12.N-cloud-amd64.deb ─► boot/vmlinuz-RELEASE         ─► target/vmlinuz
 *                                        └► lib/modules/RELEASE/…ko.xz   ─► target/modules/NN-NAME.ko
 */
import { access, copyFile, mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { runCommand } from "../../util/command.ts";
import { FlameBoxError } from "../../util/error.ts";
import { findProgram } from "../../util/find-program.ts";
import type { OnProgress } from "../../util/progress.ts";
import { MachineError } from "../machine.ts";
import { NO_APT_HINT, askApt, downloadPackage } from "./apt.ts";
import { GUEST_MODULES, loadOrder, moduleName, parseModulesDep } from "./modules.ts";

export const SERIES = "6.12";

export interface DownloadOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress: OnProgress;
  /** A package name such as `linux-image-6.12.117+deb12-cloud-amd64`; default: the newest of the series. */
  readonly packageName?: string | undefined;
  /** Names of modules; default: what a guest needs. */
  readonly modules?: readonly string[] | undefined;
}

export interface UnpackedKernel {
  readonly release: string;
  readonly packageName: string;
  /** File names in `modules/`, in load order. */
  readonly modules: readonly string[];
}

/** The Debian name of this host's architecture. */
function debianArchitecture(): string {
  if (process.arch === "x64") return "amd64";
  throw new MachineError("kernel-unavailable", `there is no FlameBox kernel for ${process.arch} yet`, {
    hint: NO_APT_HINT,
  });
}

/**
 * The newest signed cloud kernel of the series that apt knows.
 * @throws MachineError `kernel-unavailable`
 */
export async function newestPackage(signal?: AbortSignal): Promise<string> {
  const pattern = `^linux-image-${SERIES.replace(".", "\\.")}\\.[0-9]+[^ ]*-cloud-${debianArchitecture()}$`;
  const listing = await askApt(["search", "--names-only", pattern], signal);
  const names = listing
    .split("\n")
    .map((line) => line.split(" ")[0] ?? "")
    .filter((name) => name !== "" && !name.endsWith("-unsigned"));
  const newest = names.sort((a, b) => a.localeCompare(b, "en", { numeric: true })).at(-1);
  if (newest === undefined)
    throw new MachineError("kernel-unavailable", `apt knows no linux-image-${SERIES}.*-cloud package`, {
      hint: `run "apt-get update" as root (Debian 12 and 13 have the package), or ${NO_APT_HINT}`,
    });
  return newest;
}

/** Downloads and unpacks into `targetDir`, which must exist and be empty. Leaves only what a machine needs. */
export async function downloadKernel(targetDir: string, options: DownloadOptions): Promise<UnpackedKernel> {
  const { signal, onProgress } = options;
  const packageName = options.packageName ?? (await newestPackage(signal));
  const label = `kernel ${packageName.replace(/^linux-image-/, "")}`;
  const report = (state: "running" | "done" | "failed", note: string): void =>
    onProgress({ id: "kernel", label, state, note });
  const workDir = join(targetDir, "work");
  await mkdir(workDir, { mode: 0o700 });
  try {
    report("running", "downloading");
    const archive = await downloadPackage(packageName, workDir, signal);
    report("running", "unpacking");
    const tree = join(workDir, "tree");
    await runCommand("dpkg-deb", ["-x", archive, tree], { signal, timeoutMs: 300_000 });
    const result = await collect(tree, targetDir, { ...options, packageName });
    report("done", "unpacked");
    return result;
  } catch (error) {
    report("failed", "not installed");
    throw error;
  } finally {
    await rm(workDir, { recursive: true, force: true });
  }
}

async function collect(
  tree: string,
  targetDir: string,
  { packageName, signal, modules: wanted }: DownloadOptions & { readonly packageName: string },
): Promise<UnpackedKernel> {
  const modulesRoot = await firstExisting([join(tree, "usr/lib/modules"), join(tree, "lib/modules")]);
  const release = (await readdir(modulesRoot))[0];
  if (release === undefined) throw new MachineError("kernel-unavailable", `${packageName} has no modules`);
  await copyFile(join(tree, "boot", `vmlinuz-${release}`), join(targetDir, "vmlinuz"));
  const modules = await collectModules(
    join(modulesRoot, release),
    release,
    join(targetDir, "modules"),
    signal,
    wanted,
  );
  return { release, packageName, modules };
}

async function firstExisting(candidates: readonly string[]): Promise<string> {
  for (const path of candidates) {
    try {
      await access(path);
      return path;
    } catch {
      // The other layout, then.
    }
  }
  throw new MachineError("kernel-unavailable", "the kernel package has no lib/modules");
}

/**
 * Copies the modules a guest needs, decompressed, from `/lib/modules/RELEASE` into a new folder.
 * @returns file names in load order
 */
export async function collectModules(
  moduleDir: string,
  release: string,
  targetDir: string,
  signal?: AbortSignal,
  wanted: readonly string[] = GUEST_MODULES,
): Promise<string[]> {
  const dependencies = parseModulesDep(await modulesDep(moduleDir, release, signal));
  await mkdir(targetDir, { mode: 0o700 });
  const names: string[] = [];
  for (const [index, file] of loadOrder(dependencies, wanted).entries()) {
    const name = `${String(index).padStart(2, "0")}-${moduleName(file)}.ko`;
    await writeFile(join(targetDir, name), await decompressed(join(moduleDir, file), signal), {
      mode: 0o600,
    });
    names.push(name);
  }
  return names;
}

async function modulesDep(moduleDir: string, release: string, signal?: AbortSignal): Promise<string> {
  const path = join(moduleDir, "modules.dep");
  try {
    return await readFile(path, "utf8");
  } catch {
    // A package as it is unpacked has none yet; an installed kernel has.
  }
  const depmod = await findProgram("depmod");
  if (depmod === undefined)
    throw new MachineError(
      "kernel-unavailable",
      "depmod is missing, which says which kernel module needs which",
      {
        hint: "install Debian's package kmod",
      },
    );
  await runCommand(depmod, ["-b", moduleDir.replace(/(\/usr)?\/lib\/modules\/[^/]+$/, "$1"), release], {
    signal,
  });
  return await readFile(path, "utf8");
}

const DECOMPRESSORS: Readonly<Record<string, readonly [string, string]>> = {
  ".xz": ["xz", "xz-utils"],
  ".zst": ["zstd", "zstd"],
  ".gz": ["gzip", "gzip"],
};

async function decompressed(path: string, signal?: AbortSignal): Promise<Buffer> {
  const suffix = path.slice(path.lastIndexOf("."));
  if (suffix === ".ko") return await readFile(path);
  const [program, debianPackage] = DECOMPRESSORS[suffix] ?? [];
  if (program === undefined)
    throw new MachineError("kernel-unavailable", `cannot decompress the module ${path}`);
  try {
    return (await runCommand(program, ["-dc", path], { signal, maxOutputBytes: 64 << 20 })).stdout;
  } catch (error) {
    if (error instanceof FlameBoxError && error.code === "program-missing")
      throw new MachineError(
        "kernel-unavailable",
        `${program} is missing, which kernel modules are compressed with`,
        {
          hint: `install Debian's package ${debianPackage}`,
          cause: error,
        },
      );
    throw error;
  }
}
