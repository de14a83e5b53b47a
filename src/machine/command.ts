/** Programs of machines, by what util-linux has: they end with this process, and run on the CPUs that were chosen. */
import { findProgram } from "../util/find-program.ts";
import { MachineError } from "./machine.ts";

/** A parent that died before the signal was set would never be missed: so it is looked for once more behind that. */
const ONLY_WITH_PARENT = ["/bin/sh", "-c", 'test "$PPID" = "$0" && exec "$@"', String(process.pid)];

/**
 * The command line that runs `command` so that it dies with this process, even if this process is killed. Without
 * setpriv, the next command collects it.
 * @throws MachineError `program-missing`
 */
export async function boundCommand(
  command: readonly string[],
  hostCpus: readonly number[] | undefined,
): Promise<string[]> {
  const setpriv = await findProgram("setpriv");
  const bound = [...(hostCpus === undefined ? [] : await pinnedTo(hostCpus)), ...command];
  return setpriv === undefined
    ? bound
    : [setpriv, "--pdeathsig", "KILL", "--", ...ONLY_WITH_PARENT, ...bound];
}

/** Set before the VMM begins, so that all of its threads are bound by it. @throws MachineError `program-missing` */
export async function pinnedTo(hostCpus: readonly number[]): Promise<string[]> {
  const taskset = await findProgram("taskset");
  if (taskset === undefined)
    throw new MachineError("program-missing", "taskset is not installed, which chooses a machine's CPUs", {
      hint: "install Debian's package util-linux, or leave out --cpuset-cpus",
    });
  return [taskset, "--cpu-list", hostCpus.join(",")];
}
