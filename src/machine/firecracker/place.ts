/**
 * A running Firecracker's directory: its API's socket, its vsock's, and nothing that outlives it.
 *
 *     runtimeDir/fc.PID.TICKS.X/   0700, the VMM's working directory     PID, TICKS: who started it
 *         api.sock   v.sock        by their short names for the VMM, by way of a descriptor for this process,
 *                                  because a socket's path has at most 107 bytes
 *
 * What a killed process left is removed by the next one that makes such a directory.
 */
import { mkdir, open, rm, symlink } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { makePrivateDir } from "../../util/atomic-file.ts";
import { collectAbandoned, ownedName } from "../../util/owned-folder.ts";
import { requirePrivate } from "../../util/private-dir.ts";
import type { Place } from "../place.ts";

const PREFIX = "fc";

class RuntimePlace implements Place {
  readonly dir: string;
  readonly #handle: FileHandle;
  #disposed: Promise<void> | undefined;

  constructor(dir: string, handle: FileHandle) {
    this.dir = dir;
    this.#handle = handle;
  }

  reach(name: string): string {
    return `/proc/self/fd/${this.#handle.fd}/${name}`;
  }

  async lend(path: string): Promise<string> {
    return path;
  }

  async give(path: string, name?: string): Promise<string> {
    if (name === undefined) return path;
    await symlink(path, join(this.dir, name));
    return name;
  }

  async adopt(): Promise<void> {}

  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed ??= this.#remove();
    await this.#disposed;
  }

  async #remove(): Promise<void> {
    await this.#handle.close();
    await rm(this.dir, { recursive: true, force: true });
  }
}

/** @throws FlameBoxError `runtime-dir-unsafe` */
export async function makePlace(runtimeDir: string): Promise<Place> {
  await makePrivateDir(runtimeDir);
  await requirePrivate(runtimeDir);
  await collectAbandoned(runtimeDir, PREFIX);
  const dir = join(runtimeDir, ownedName(PREFIX));
  await mkdir(dir, { mode: 0o700 });
  return new RuntimePlace(dir, await open(dir, "r"));
}
