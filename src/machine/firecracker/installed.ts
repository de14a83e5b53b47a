/** Which release of Firecracker FlameBox is tested with, and where it is once it has been fetched (release.ts). */
import { access, constants } from "node:fs/promises";
import { join } from "node:path";
import type { Paths } from "../../util/paths.ts";

export interface Release {
  readonly version: string;
  /** Of the archive. */
  readonly url: string;
  readonly sha256: string;
}

export const FIRECRACKER_RELEASE: Release = {
  version: "1.16.1",
  url: "https://github.com/firecracker-microvm/firecracker/releases/download/v1.16.1/firecracker-v1.16.1-x86_64.tgz",
  sha256: "382a02a869e4d6d5cb14c40577f9545e8458021ea8b0b2d3fc10ec14d9c242e6",
};

export interface InstalledFirecracker {
  readonly version: string;
  readonly path: string;
  readonly jailerPath: string;
}

export function releasesDir(paths: Paths): string {
  return join(paths.dataDir, "firecracker");
}

/** What `installFirecracker` has left; undefined when it has not. */
export async function installedFirecracker(
  paths: Paths,
  { version }: Pick<Release, "version"> = FIRECRACKER_RELEASE,
): Promise<InstalledFirecracker | undefined> {
  const dir = join(releasesDir(paths), version);
  const [path, jailerPath] = [join(dir, "firecracker"), join(dir, "jailer")];
  try {
    await Promise.all([path, jailerPath].map(async (program) => await access(program, constants.X_OK)));
    return { version, path, jailerPath };
  } catch {
    return undefined;
  }
}
