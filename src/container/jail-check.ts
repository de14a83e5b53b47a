/** What stands between a VMM and the host, as `doctor` says it. */
import { JAILER_HINT, findJailer } from "../machine/firecracker/find-jailer.ts";
import { findHierarchy } from "../machine/jail/cgroup.ts";
import { NOT_ROOT, jailProblem } from "../machine/jail/ability.ts";
import type { BootFiles, MachineDriver } from "../machine/machine.ts";
import { settledConfinement, weaknessesOf } from "../machine/confinement.ts";
import { messageOf } from "../util/error.ts";
import type { Paths } from "../util/paths.ts";
import type { Check } from "./doctor.ts";
import type { OperationOptions } from "./options.ts";

const NAME = "jail";

export interface JailCheckOptions extends Pick<OperationOptions, "jailer" | "signal"> {
  readonly paths: Paths;
  /** The program that would run containers; undefined is QEMU. */
  readonly firecracker: string | undefined;
  readonly production: boolean;
}

/** Whether each VMM gets a directory and a user of its own. */
export async function checkJail(options: JailCheckOptions): Promise<Check> {
  const { paths, firecracker, jailer, signal, production } = options;
  const isFirecracker = firecracker !== undefined;
  const problem = await jailProblem(paths.dataDir, { jailer: isFirecracker });
  if (problem === NOT_ROOT)
    return {
      name: NAME,
      status: production ? "warning" : "ok",
      detail: `${problem}: a VMM is this user's, in namespaces of its own; what only root can give is missing: a user, a directory and a control group of its own`,
      ...(production && { hint: "for several tenants, run FlameBox as root, which jails each VMM" }),
    };
  if (problem !== undefined)
    return {
      name: NAME,
      status: "warning",
      detail: `VMMs run as root: ${problem}`,
      hint: "run FlameBox as an ordinary user, or as root with all that belongs to it",
    };
  if (!isFirecracker) return { name: NAME, status: "ok", detail: "a user and a directory for each VMM" };
  const found = await findJailer({ paths, firecracker, jailer, signal });
  if ("problem" in found)
    return { name: NAME, status: "warning", detail: `VMMs run as root: ${found.problem}`, hint: JAILER_HINT };
  if ((await findHierarchy()) === undefined)
    return {
      name: NAME,
      status: "warning",
      detail: `${found.program}, without control groups: none with the controller pids can be made`,
      hint: "mount cgroup2 on /sys/fs/cgroup, with no processes in its topmost group",
    };
  return {
    name: NAME,
    status: "ok",
    detail: `${found.program}: a user, a directory and a group for each VMM`,
  };
}

/** A VMM that gets that far in longer is no VMM. */
const DEADLINE_MS = 10_000;

/** Starts a VMM, and looks at what it could do. */
export async function checkConfinement(
  driver: MachineDriver,
  boot: BootFiles,
  signal?: AbortSignal,
): Promise<Check> {
  const name = "confinement";
  try {
    await using machine = await driver.start({ boot, cpus: 1, memoryMib: 256, disks: {} }, { signal });
    const found = await settledConfinement(machine.pid, DEADLINE_MS);
    const weaknesses = weaknessesOf(found);
    const extent = [
      ...(found.hasOwnRoot ? ["a directory"] : []),
      ...(found.hasOwnNetwork ? ["a network namespace"] : []),
    ].join(" and ");
    const own = extent === "" ? "" : `, ${extent} of its own`;
    if (weaknesses.length === 0)
      return {
        name,
        status: "ok",
        detail: `a VMM was looked at: user ${found.uid}, no capabilities, no new privileges, a seccomp filter on all ${found.threads} threads${own}`,
      };
    const detail = `a VMM was looked at, and ${weaknesses.join("; ")}`;
    return { name, status: "warning", detail, hint: "see the lines jail and namespaces" };
  } catch (error) {
    signal?.throwIfAborted();
    return { name, status: "warning", detail: `no VMM could be looked at: ${messageOf(error)}` };
  }
}
