/** What making a kernel takes: programs and headers, and the Debian packages that have them. */
import { access } from "node:fs/promises";
import { runCommand } from "../../util/command.ts";
import { findProgram } from "../../util/find-program.ts";
import { MachineError } from "../machine.ts";

/** A program (looked for as a shell would), or a file (with a slash), and the package that has it. */
export const NEEDS: readonly (readonly [what: string, debianPackage: string])[] = [
  ["make", "make"],
  ["gcc", "gcc"],
  ["ld", "binutils"],
  ["flex", "flex"],
  ["bison", "bison"],
  ["bc", "bc"],
  ["lz4", "lz4"],
  ["perl", "perl-base"],
  ["xz", "xz-utils"],
  ["dpkg-deb", "dpkg"],
  ["/usr/include/stdlib.h", "libc6-dev"],
  // objtool, which the mitigations take, reads the kernel's object files.
  ["/usr/include/gelf.h", "libelf-dev"],
];

async function isThere(what: string): Promise<boolean> {
  if (!what.includes("/")) return (await findProgram(what)) !== undefined;
  return await access(what).then(
    () => true,
    () => false,
  );
}

/** @throws MachineError `build-tools-missing`, with all that is missing */
export async function requireToolchain(needs = NEEDS): Promise<void> {
  const present = await Promise.all(needs.map(async ([what]) => await isThere(what)));
  const missing = needs.filter((_, index) => !present[index]).map(([, debianPackage]) => debianPackage);
  if (missing.length === 0) return;
  const packages = missing.join(" ");
  throw new MachineError(
    "build-tools-missing",
    `to build a kernel, these packages are missing: ${packages}`,
    {
      hint: `as root: apt-get install ${packages}`,
    },
  );
}

/** `gcc (Debian 12.2.0-14+deb12u1) 12.2.0` */
export async function compilerVersion(signal?: AbortSignal): Promise<string> {
  const { stdout } = await runCommand("gcc", ["--version"], { signal });
  return stdout.toString().split("\n")[0] ?? "";
}
