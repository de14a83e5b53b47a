/**
 * Which Firecracker this is, and what FlameBox needs of it. The floor is 1.12: the first that boots a kernel by its
 * PVH entry, and that gives a restored machine another tap device. (Before 1.8 there was no ACPI, and Debian's
 * kernel finds no device without.)
 */
import { runCommand } from "../../util/command.ts";
import { findProgram } from "../../util/find-program.ts";
import { MachineError } from "../machine.ts";

export interface FirecrackerVersion {
  readonly major: number;
  readonly minor: number;
  readonly patch: number;
  /** `1.16.1`, or `1.17.0-dev` */
  readonly text: string;
}

export const FIRECRACKER_PROGRAM = "firecracker";
export const FIRECRACKER_FLOOR = { major: 1, minor: 12 } as const;
export const FIRECRACKER_HINT =
  "flamebox setup --firecracker fetches it; or put version 1.12 or later into the PATH, or name it in FLAMEBOX_FIRECRACKER";

const VERSION = /\bv?(\d{1,4})\.(\d{1,4})\.(\d{1,4})(?:-[0-9A-Za-z.-]{1,40})?/;

/** From `Firecracker v1.16.1`, or the bare number. */
export function parseVersion(text: string): FirecrackerVersion | undefined {
  const [whole, major, minor, patch] = VERSION.exec(text.slice(0, 4_096)) ?? [];
  if (whole === undefined) return undefined;
  return {
    major: Number(major),
    minor: Number(minor),
    patch: Number(patch),
    text: whole.replace(/^v/, ""),
  };
}

export function isSupported({ major, minor }: Pick<FirecrackerVersion, "major" | "minor">): boolean {
  const floor = FIRECRACKER_FLOOR;
  return major > floor.major || (major === floor.major && minor >= floor.minor);
}

/** @throws MachineError `firecracker-version` */
export function requireSupported(version: FirecrackerVersion): void {
  if (isSupported(version)) return;
  throw new MachineError("firecracker-version", `Firecracker ${version.text} is too old`, {
    hint: FIRECRACKER_HINT,
  });
}

/** Asks the program. @throws MachineError `firecracker-version`; FlameBoxError `command-failed`, `program-missing` */
export async function versionOf(program: string, signal?: AbortSignal): Promise<FirecrackerVersion> {
  const { stdout } = await runCommand(program, ["--version"], { signal, timeoutMs: 20_000 });
  const version = parseVersion(stdout.toString());
  if (version !== undefined) return version;
  throw new MachineError("firecracker-version", `${program} is no Firecracker`, { hint: FIRECRACKER_HINT });
}

/** Absolute path of the program, or undefined. */
export async function findFirecracker(): Promise<string | undefined> {
  return await findProgram(FIRECRACKER_PROGRAM);
}
