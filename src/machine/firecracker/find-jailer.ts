/**
 * The jailer that belongs to a Firecracker: beside it, as releases have it, or in the PATH. Of another version it is not
 * used: the two know each other's arguments.
 */
import { access, constants, realpath } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { findProgram } from "../../util/find-program.ts";
import type { Paths } from "../../util/paths.ts";
import { versionText } from "../probe/remembered.ts";
import { parseVersion } from "./version.ts";

export const JAILER_HINT =
  "put the jailer of the same release beside the firecracker program, or name it in FLAMEBOX_JAILER";

export type FoundJailer = { readonly program: string } | { readonly problem: string };

export interface JailerSearch {
  readonly paths: Paths;
  /** Absolute path of the Firecracker program. */
  readonly firecracker: string;
  /** Absolute path of the jailer; default: looked for. */
  readonly jailer?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

export async function findJailer({ paths, firecracker, jailer, signal }: JailerSearch): Promise<FoundJailer> {
  const program = jailer ?? (await beside(await realpath(firecracker))) ?? (await findProgram("jailer"));
  if (program === undefined) return { problem: "there is no jailer" };
  const [own, wanted] = await Promise.all(
    [program, firecracker].map(async (path) => parseVersion(await versionText(path, { paths, signal }))),
  );
  if (own !== undefined && own.text === wanted?.text) return { program };
  const [theirs, ours] = [own?.text ?? "unknown", wanted?.text ?? "unknown"];
  return { problem: `the jailer ${program} has version ${theirs}, Firecracker ${ours}` };
}

/** Releases have the version in both names: `firecracker-v1.16.1-x86_64`, `jailer-v1.16.1-x86_64`. */
async function beside(firecracker: string): Promise<string | undefined> {
  const names = ["jailer", basename(firecracker).replace(/^firecracker/, "jailer")];
  for (const name of names) {
    const path = join(dirname(firecracker), name);
    if (path === firecracker) continue;
    try {
      await access(path, constants.X_OK);
      return path;
    } catch {
      // Not under this name.
    }
  }
  return undefined;
}
