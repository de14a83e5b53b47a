/**
 * A running Firecracker's directory: its API's socket, its vsock's, and nothing that outlives it.
 *
 *     runtimeDir/fc.PID.TICKS.X/   0700, the VMM's working directory     PID, TICKS: who started it
 *         api.sock   v.sock        by their short names for the VMM, by way of a descriptor for this process,
 *                                  because a socket's path has at most 107 bytes
 *
 * What a killed process left is removed by the next one that makes such a directory.
 */
import { randomBytes } from "node:crypto";
import { lstat, mkdir, open, readdir, rm } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { makePrivateDir } from "../../util/atomic-file.ts";
import { bootId, isAlive, ownIdentity } from "../../util/liveness.ts";
import { MachineError } from "../machine.ts";

const NAME = /^fc\.(\d+)\.(\d+)\.[0-9a-f]+$/;

export class Place implements AsyncDisposable {
  readonly dir: string;
  readonly #handle: FileHandle;
  #disposed: Promise<void> | undefined;

  constructor(dir: string, handle: FileHandle) {
    this.dir = dir;
    this.#handle = handle;
  }

  /** A path in it, short however long the directory's is; good until this object is disposed. */
  reach(name: string): string {
    return `/proc/self/fd/${this.#handle.fd}/${name}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed ??= this.#remove();
    await this.#disposed;
  }

  async #remove(): Promise<void> {
    await this.#handle.close();
    await rm(this.dir, { recursive: true, force: true });
  }
}

/** @throws MachineError `runtime-dir-unsafe` */
export async function makePlace(runtimeDir: string): Promise<Place> {
  await makePrivateDir(runtimeDir);
  await requirePrivate(runtimeDir);
  await collectPlaces(runtimeDir);
  const { pid, startTicks } = ownIdentity();
  const dir = join(runtimeDir, `fc.${pid}.${startTicks}.${randomBytes(4).toString("hex")}`);
  await mkdir(dir, { mode: 0o700 });
  return new Place(dir, await open(dir, "r"));
}

/** In a directory that everybody can write to, another user may have made it first, to reach what is put there. */
async function requirePrivate(dir: string): Promise<void> {
  const found = await lstat(dir);
  const isOwn = found.uid === process.geteuid?.();
  if (found.isDirectory() && isOwn && (found.mode & 0o022) === 0) return;
  throw new MachineError("runtime-dir-unsafe", `${dir} can be changed by other users`, {
    hint: "remove it, or set XDG_RUNTIME_DIR or FLAMEBOX_HOME to a directory of your own",
  });
}

async function collectPlaces(runtimeDir: string): Promise<void> {
  for (const name of await readdir(runtimeDir)) {
    const [, pid, startTicks] = NAME.exec(name) ?? [];
    if (pid === undefined || startTicks === undefined) continue;
    const owner = { pid: Number(pid), startTicks: Number(startTicks), bootId: bootId() };
    if (!isAlive(owner)) await rm(join(runtimeDir, name), { recursive: true, force: true });
  }
}
