/**
 * Firecracker's own jailer, which root starts it by: a directory for `/`, devices made there, a user of its own, a
 * control group, limits. Namespaces for processes, network and IPC come from enclosure.ts around it, so that the VMM
 * ends with this process although the jailer changes its user.
 * https://github.com/firecracker-microvm/firecracker/blob/main/docs/jailer.md
 *
 *     jails/jail.PID.TICKS.X/firecracker/ID/root/      as the jailer wants it; copies of the program and its libraries
 */
import { realpath } from "node:fs/promises";
import { basename, join } from "node:path";
import { removeCgroup, CGROUP_PARENT, findHierarchy } from "../jail/cgroup.ts";
import type { Hierarchy } from "../jail/cgroup.ts";
import type { Jail } from "../jail/jail.ts";
import { makeJail } from "../jail/jail.ts";
import { filesOf } from "../jail/program-files.ts";
import { LEAST_FILE_BYTES, MOST_FILES } from "./bounds.ts";

/** Threads of a VMM besides those of its CPUs: its own, the API's; room for what a later version adds. */
const SPARE_THREADS = 16;
const MAX_CPUS = 32;

export interface JailerOptions {
  /** Absolute path of the program, of the same version as Firecracker's. */
  readonly program: string;
  /** Where the jails are made. */
  readonly dataDir: string;
}

export interface Jailed {
  readonly jail: Jail;
  /** What starts the VMM, before its own arguments. */
  readonly command: readonly string[];
  /** To be called when it has ended. */
  readonly dispose: () => Promise<void>;
}

/** @param mostFileBytes the largest file that it may write @throws MachineError `jail-refused`, `no-machine-user` */
export async function jailFirecracker(
  { program: jailer, dataDir }: JailerOptions,
  { program, id, mostFileBytes }: { readonly program: string; id: string; readonly mostFileBytes: number },
): Promise<Jailed> {
  // The jailer names the directory after the file, whatever links led to it.
  const file = await realpath(program);
  const [hierarchy, files] = await Promise.all([findHierarchy(), filesOf(file)]);
  const jail = await makeJail(dataDir, join(basename(file), id, "root"));
  try {
    for (const path of files) await jail.lend(path, path.slice(1));
    const { uid, gid } = jail.user;
    const command = [
      [jailer, "--id", id, "--exec-file", file, "--uid", String(uid), "--gid", String(gid)],
      ["--chroot-base-dir", jail.outerDir],
      [
        "--resource-limit",
        `fsize=${Math.max(mostFileBytes, LEAST_FILE_BYTES)}`,
        "--resource-limit",
        `no-file=${MOST_FILES}`,
      ],
      cgroupArguments(hierarchy),
      ["--"],
    ].flat();
    const dispose = async () => {
      if (hierarchy !== undefined) await removeCgroup(hierarchy, id);
      await jail[Symbol.asyncDispose]();
    };
    return { jail, command, dispose };
  } catch (error) {
    await jail[Symbol.asyncDispose]();
    throw error;
  }
}

function cgroupArguments(hierarchy: Hierarchy | undefined): string[] {
  if (hierarchy === undefined) return [];
  const version = ["--cgroup-version", String(hierarchy.version), "--parent-cgroup", CGROUP_PARENT];
  return [...version, "--cgroup", `pids.max=${MAX_CPUS + SPARE_THREADS}`];
}
