/**
 * A kernel made here, out of Debian's source and a configuration with all that a container needs and nothing else:
 *
 *     linux-source-6.12.deb ─► work/linux-source-6.12/ ─► allnoconfig + fragments ─► make ─► vmlinuz, vmlinux
 *
 * All of it happens in the folder that becomes the kernel, below the data directory: it is published by rename, and
 * what a killed process leaves is known by its name. The same source, fragments and compiler make the same kernel,
 * so their digest is its name, and it is made once.
 */
import { createHash } from "node:crypto";
import { copyFile, mkdir, open, readFile, rm, stat, statfs, writeFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { basename, join } from "node:path";
import { makePrivateDir } from "../../util/atomic-file.ts";
import { runCommand } from "../../util/command.ts";
import { FlameBoxError, messageOf } from "../../util/error.ts";
import { withLock } from "../../util/lock.ts";
import type { Paths } from "../../util/paths.ts";
import { silent } from "../../util/progress.ts";
import { MachineError } from "../machine.ts";
import { askApt, downloadPackage, parseVersion } from "./apt.ts";
import { SERIES } from "./debian-package.ts";
import * as fragment from "./fragment.ts";
import type { KernelOptions } from "./kernel.ts";
import { make } from "./make.ts";
import type { Kernel, KernelRecord } from "./store.ts";
import { kernelsDir, loadKernels, publishKernel } from "./store.ts";
import { compilerVersion, requireToolchain } from "./toolchain.ts";

export interface BuildOptions extends KernelOptions {
  /** FlameBox's own fragment. */
  readonly fragmentPath: string;
  /** Lines of the user's, which count more than FlameBox's. */
  readonly ownFragmentPath?: string | undefined;
  /** Compilers at once; default: as many as there are CPUs. */
  readonly jobs?: number | undefined;
  readonly onNotice?: ((notice: string) => void) | undefined;
}

const SOURCE_PACKAGE = `linux-source-${SERIES}`;
/** Counts as another way to build: kernels of older ones are made again. */
const RECIPE = 1;
/** What it takes while it is being made: 0.15 packed, 1.2 unpacked, 0.4 of object files; and some to spare. */
const WORK_BYTES = 2.5 * 1024 ** 3;
/** About as many lines as make prints with FlameBox's fragment alone; what the progress is measured by. */
const USUAL_LINES = 2_050;
/** A quarter of the source, and headers of one graphics driver. */
const LEFT_OUT = "*/drivers/gpu/drm/amd/include/*";
const MAX_JOBS = 1024;

/**
 * Makes the kernel, unless the same one is here already. Takes minutes.
 * @throws MachineError `build-tools-missing`, `kernel-unavailable`, `bad-fragment`, `fragment-refused`,
 *   `kernel-build-failed`; FlameBoxError `disk-full`, `invalid-option`; the signal's reason
 */
export async function buildKernel(options: BuildOptions): Promise<Kernel> {
  const { paths, signal, onNotice, jobs = availableParallelism() } = options;
  if (!Number.isSafeInteger(jobs) || jobs < 1 || jobs > MAX_JOBS)
    throw new FlameBoxError("invalid-option", `a kernel is built by 1 to ${MAX_JOBS} jobs, not ${jobs}`);
  const fragments = await readFragments(options);
  await requireToolchain();
  const version = await sourceVersion(signal);
  const key = createHash("sha256")
    .update(JSON.stringify([RECIPE, version, [...fragments.merged], await compilerVersion(signal)]))
    .digest("hex")
    .slice(0, 8);
  await makePrivateDir(kernelsDir(paths));
  const onWait = () => onNotice?.("another process is building a kernel; waiting for it");
  return await withLock(join(kernelsDir(paths), ".build.lock"), { signal, onWait }, async () => {
    const same = (await loadKernels(paths)).find(
      ({ name, kind }) => kind === "built" && name.endsWith(`-${key}`),
    );
    if (same !== undefined) return same;
    await requireSpace(paths);
    return await publishKernel(
      paths,
      async (dir) => await buildIn(dir, { ...options, jobs, version, key, fragments }),
    );
  });
}

interface Fragments {
  readonly base: fragment.Settings;
  readonly own: fragment.Settings;
  /** Both; own lines count more. */
  readonly merged: fragment.Settings;
}

async function readFragments({ fragmentPath, ownFragmentPath }: BuildOptions): Promise<Fragments> {
  const base = fragment.parse(await readFile(fragmentPath, "utf8"), basename(fragmentPath));
  const own = ownFragmentPath === undefined ? new Map<string, string>() : await readOwn(ownFragmentPath);
  return { base, own, merged: new Map([...base, ...own]) };
}

async function readOwn(path: string): Promise<fragment.Settings> {
  let text: string;
  try {
    const handle = await open(path, "r");
    try {
      // Bounded whatever the file says of its size; a byte too many is told by the parser.
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(fragment.MAX_FRAGMENT_BYTES + 1));
      text = buffer.toString("utf8", 0, bytesRead);
    } finally {
      await handle.close();
    }
  } catch (error) {
    throw new MachineError("bad-fragment", `cannot read the fragment ${path}: ${messageOf(error)}`, {
      cause: error,
    });
  }
  return fragment.parse(text, path);
}

async function sourceVersion(signal?: AbortSignal): Promise<string> {
  const version = parseVersion(await askApt(["show", "--no-all-versions", SOURCE_PACKAGE], signal));
  if (version !== undefined) return version;
  throw new MachineError("kernel-unavailable", `apt knows no package ${SOURCE_PACKAGE}`, {
    hint: 'run "apt-get update" as root; Debian 12 and 13 have the package',
  });
}

async function requireSpace(paths: Paths): Promise<void> {
  const { bavail, bsize } = await statfs(paths.dataDir);
  if (bavail * bsize >= WORK_BYTES) return;
  const [needed, free] = [WORK_BYTES, bavail * bsize].map((bytes) => (bytes / 1024 ** 3).toFixed(1));
  throw new FlameBoxError(
    "disk-full",
    `building a kernel takes ${needed} GiB for a while, and ${paths.dataDir} has ${free} GiB free`,
    { hint: "free space there, or set FLAMEBOX_HOME to a larger disk" },
  );
}

interface Build extends BuildOptions {
  readonly jobs: number;
  readonly version: string;
  readonly key: string;
  readonly fragments: Fragments;
}

async function buildIn(dir: string, build: Build): Promise<KernelRecord & { readonly name: string }> {
  const { version, key, signal, onProgress = silent } = build;
  const work = join(dir, "work");
  await mkdir(work, { mode: 0o700 });
  const label = `kernel ${version}`;
  const report = (state: "running" | "done" | "failed", note: string): void =>
    onProgress({ id: "kernel-source", label, state, note });
  let source: Source;
  try {
    report("running", "downloading");
    const archive = await downloadPackage(`${SOURCE_PACKAGE}=${version}`, work, signal);
    report("running", "unpacking");
    source = await unpack(archive, work, signal);
    report("running", "configuring");
    await configure(source, work, build);
    report("done", "configured");
  } catch (error) {
    report("failed", "not configured");
    throw explainFull(error);
  }
  await compile(source, build);
  const release = (await readFile(join(source.tree, "include/config/kernel.release"), "utf8")).trim();
  await copyFile(join(source.tree, "arch/x86/boot/bzImage"), join(dir, "vmlinuz"));
  // For VMMs that do not unpack: the same kernel as an ELF file.
  await runCommand("strip", ["-s", "-o", join(dir, "vmlinux"), join(source.tree, "vmlinux")], { signal });
  await mkdir(join(dir, "modules"), { mode: 0o700 });
  await rm(work, { recursive: true, force: true });
  return { name: `${release}-${key}`, release, kind: "built", modules: [] };
}

interface Source {
  readonly tree: string;
  /** When Debian made it: what a kernel says of the time it was built at, so that two builds are the same. */
  readonly date: Date;
}

async function unpack(archive: string, work: string, signal?: AbortSignal): Promise<Source> {
  await runCommand("dpkg-deb", ["-x", archive, join(work, "package")], { signal, timeoutMs: 600_000 });
  const tarball = join(work, "package", "usr", "src", `${SOURCE_PACKAGE}.tar.xz`);
  const { mtime } = await stat(tarball);
  const args = ["-xf", tarball, "-C", work, "--no-same-owner", `--exclude=${LEFT_OUT}`];
  await runCommand("tar", args, { signal, timeoutMs: 1_800_000 });
  return { tree: join(work, SOURCE_PACKAGE), date: mtime };
}

/** Given on make's command line, because there they count more than what the environment has. */
function variables({ date }: Source): string[] {
  return [
    "ARCH=x86_64",
    "CROSS_COMPILE=",
    "LOCALVERSION=",
    "KBUILD_BUILD_USER=flamebox",
    "KBUILD_BUILD_HOST=flamebox",
    `KBUILD_BUILD_TIMESTAMP=${date.toISOString()}`,
  ];
}

async function configure(
  source: Source,
  work: string,
  { fragments, signal, onNotice }: Build,
): Promise<void> {
  const wanted = join(work, "wanted.config");
  await writeFile(wanted, fragment.format(fragments.merged));
  await make([...variables(source), `KCONFIG_ALLCONFIG=${wanted}`, "allnoconfig"], {
    cwd: source.tree,
    signal,
  });
  const config = fragment.parseConfig(await readFile(join(source.tree, ".config"), "utf8"));
  const { own, base, merged } = fragments;
  const lost = fragment.refused(own, config);
  // Whoever turns something off turns off what stands on it; without lines of his own, every line has to take.
  const others = fragment.refused(new Map([...merged].filter(([symbol]) => !own.has(symbol))), config);
  if (lost.length > 0 || (own.size === 0 && others.length > 0))
    throw new MachineError(
      "fragment-refused",
      `the kernel's configuration did not take ${fragment.describe([...lost, ...others])}`,
      { hint: "something that they depend on is off, or this kernel has no such symbol" },
    );
  if (others.length > 0 && base.size > 0)
    onNotice?.(`your lines turn off what FlameBox's have: ${fragment.describe(others)}`);
}

async function compile(source: Source, { jobs, signal, onProgress = silent }: Build): Promise<void> {
  const report = (state: "running" | "done" | "failed", lines: number): void => {
    const total = Math.max(USUAL_LINES, lines);
    const current = state === "done" ? total : lines;
    onProgress({ id: "kernel-build", label: "compiling the kernel", state, current, total, unit: "steps" });
  };
  let lines = 0;
  const onLine = (count: number): void => {
    lines = count;
    report("running", lines);
  };
  try {
    report("running", 0);
    await make([...variables(source), `-j${jobs}`, "bzImage"], { cwd: source.tree, signal, onLine });
    report("done", lines);
  } catch (error) {
    report("failed", lines);
    throw explainFull(error);
  }
}

/** What the programs say of a full disk, as one word of ours. */
function explainFull(error: unknown): unknown {
  if (!(error instanceof FlameBoxError) || !/no space left/i.test(error.message)) return error;
  return new FlameBoxError("disk-full", "no space left while the kernel was being built", {
    hint: "free space in the data directory, or set FLAMEBOX_HOME to a larger disk",
    cause: error,
  });
}
