/** Debian's packages without root: apt knows, fetches and verifies them, and they are unpacked somewhere else. */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { runCommand } from "../../util/command.ts";
import { FlameBoxError } from "../../util/error.ts";
import { MachineError } from "../machine.ts";

export const NO_APT_HINT =
  "give a kernel of your own: --kernel /path/to/bzImage (Linux 5.16 or later with EROFS and overlayfs)";

/** What apt's own lists say. @throws MachineError `kernel-unavailable` without apt */
export async function askApt(args: readonly string[], signal?: AbortSignal): Promise<string> {
  try {
    return (await runCommand("apt-cache", args, { signal, maxOutputBytes: 8 << 20 })).stdout.toString();
  } catch (error) {
    signal?.throwIfAborted();
    // "No packages found" is an answer, and it has an exit code of its own.
    if (error instanceof FlameBoxError && error.code === "command-failed") return "";
    throw new MachineError(
      "kernel-unavailable",
      "FlameBox takes its kernel from Debian's packages, and this host has no apt",
      {
        hint: NO_APT_HINT,
        cause: error,
      },
    );
  }
}

const VERSION = /^Version: *([0-9A-Za-z.+:~-]{1,100})$/m;

/** The version in a package's record, as `apt-cache show` prints it; undefined when there is none. */
export function parseVersion(record: string): string | undefined {
  return VERSION.exec(record)?.[1];
}

/**
 * Downloads a package into `workDir`; apt verifies it against its signed lists.
 * @param what `NAME` or `NAME=VERSION`
 * @returns the path of its file
 * @throws MachineError `kernel-unavailable`
 */
export async function downloadPackage(what: string, workDir: string, signal?: AbortSignal): Promise<string> {
  // Running as root, apt would drop to a user who cannot write into a 0700 folder, and warn; the folder is ours.
  const asRoot = process.getuid?.() === 0 ? ["-o", "APT::Sandbox::User=root"] : [];
  try {
    await runCommand("apt-get", [...asRoot, "-q", "download", what], {
      cwd: workDir,
      signal,
      timeoutMs: 900_000,
    });
  } catch (error) {
    signal?.throwIfAborted();
    const detail = error instanceof FlameBoxError ? error.message : String(error);
    throw new MachineError("kernel-unavailable", `cannot download the package ${what}: ${detail}`, {
      hint: 'check the network and run "apt-get update" as root, or give a kernel of your own with --kernel',
      cause: error,
    });
  }
  const name = (await readdir(workDir)).find((entry) => entry.endsWith(".deb"));
  if (name === undefined)
    throw new MachineError("kernel-unavailable", `apt-get left no package file for ${what}`);
  return join(workDir, name);
}
