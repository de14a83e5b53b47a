/**
 * What a container has on the host while it lives: `containers/ID/` with its owner's identity and its
 * writable disk. It appears complete, by rename, and is named for its owner until then; so whatever a killed
 * process left can be told from what is in use, and the next command collects it.
 *
 *     containers/.new.PID.TICKS.ID/  ─rename─►  containers/ID/owner.json scratch.ext4
 *     containers/.new.PID.TICKS.X/   ◄─rename─  in the end
 *
 * One that has a record (`container.json`, lifecycle/record.ts) stays when its owner is gone: it is a container that
 * has a name, and can be started again.
 */
import { randomBytes } from "node:crypto";
import { access, mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { number, object, optional, safeParse, string } from "valibot";
import { makePrivateDir } from "../util/atomic-file.ts";
import { systemCode } from "../util/error.ts";
import type { ProcessIdentity } from "../util/liveness.ts";
import { bootId, identityOf, isAlive, ownIdentity } from "../util/liveness.ts";
import type { Paths } from "../util/paths.ts";

const identity = object({ pid: number(), startTicks: number(), bootId: string() });
const ownerRecord = object({ owner: identity, vmm: optional(identity) });
const UNFINISHED = /^\.new\.(\d+)\.(\d+)\./;
export const RECORD_FILE = "container.json";

export function containersDir(paths: Paths): string {
  return join(paths.dataDir, "containers");
}

export class Workspace implements AsyncDisposable {
  readonly dir: string;

  constructor(dir: string) {
    this.dir = dir;
  }

  get scratchPath(): string {
    return join(this.dir, "scratch.ext4");
  }

  /** The template's, which the container's own disk is an overlay over. */
  get backingPath(): string {
    return join(this.dir, "backing.ext4");
  }

  /** Notes the VMM, so that it can be ended should this process be killed and the VMM not. */
  async recordVmm(pid: number): Promise<void> {
    const vmm = identityOf(pid);
    if (vmm !== undefined) await writeOwner(this.dir, vmm);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await removeWorkspace(this.dir);
  }
}

/**
 * By way of an unfinished one's name: a process that is killed in the middle of it would otherwise leave a
 * directory without its owner's record, which nobody could tell from one in use.
 */
export async function removeWorkspace(dir: string): Promise<void> {
  const doomed = join(dirname(dir), unfinishedName(randomBytes(8).toString("hex")));
  try {
    await rename(dir, doomed);
  } catch (error) {
    if (systemCode(error) === "ENOENT") return;
    throw error;
  }
  await rm(doomed, { recursive: true, force: true });
}

export function unfinishedName(id: string): string {
  const { pid, startTicks } = ownIdentity();
  return `.new.${pid}.${startTicks}.${id}`;
}

export async function writeOwner(dir: string, vmm?: ProcessIdentity): Promise<void> {
  // Renamed into place: a collector that reads half a record would take the owner for dead.
  const temporary = join(dir, "owner.json.tmp");
  await writeFile(temporary, JSON.stringify({ owner: ownIdentity(), ...(vmm && { vmm }) }), { mode: 0o600 });
  await rename(temporary, join(dir, "owner.json"));
}

export async function createWorkspace(paths: Paths, id: string): Promise<Workspace> {
  const parent = containersDir(paths);
  await makePrivateDir(parent);
  const temporary = join(parent, unfinishedName(id));
  await mkdir(temporary, { mode: 0o700 });
  await writeOwner(temporary);
  const dir = join(parent, id);
  await rename(temporary, dir);
  return new Workspace(dir);
}

/** Nobody runs it any more. */
export async function removeOwner(dir: string): Promise<void> {
  await rm(join(dir, "owner.json"), { force: true });
}

/**
 * Removes what processes left that are no more, and ends their VMMs. Safe beside any number of others.
 * @param onLost told of containers that stay and whose process is gone; their owner's record is the callee's to remove
 * @returns how many were removed
 */
export async function collectWorkspaces(
  paths: Paths,
  onLost: (id: string) => Promise<void>,
): Promise<number> {
  const parent = containersDir(paths);
  let names: string[];
  try {
    names = await readdir(parent);
  } catch (error) {
    if (systemCode(error) === "ENOENT") return 0;
    throw error;
  }
  let removed = 0;
  for (const name of names) {
    const dir = join(parent, name);
    const owners = name.startsWith(".") ? unfinishedOwner(name) : await readOwners(dir);
    if (owners === undefined || isAlive(owners.owner)) continue;
    if (!name.startsWith(".") && (await hasRecord(dir))) {
      await onLost(name);
      continue;
    }
    endVmm(owners);
    await removeWorkspace(dir);
    removed++;
  }
  return removed;
}

/** The VMM of an owner that is gone. */
export function endVmm({ vmm }: Owners): void {
  if (vmm !== undefined && isAlive(vmm)) end(vmm.pid);
}

async function hasRecord(dir: string): Promise<boolean> {
  return await access(join(dir, RECORD_FILE)).then(
    () => true,
    () => false,
  );
}

function end(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    // It ended by itself just now.
    if (systemCode(error) !== "ESRCH") throw error;
  }
}

export interface Owners {
  readonly owner: ProcessIdentity;
  readonly vmm?: ProcessIdentity | undefined;
}

export function unfinishedOwner(name: string): Owners | undefined {
  const [, pid, startTicks] = UNFINISHED.exec(name) ?? [];
  if (pid === undefined || startTicks === undefined) return undefined;
  // After a reboot the ticks do not match any more, or the pid is another's: dead either way.
  return { owner: { pid: Number(pid), startTicks: Number(startTicks), bootId: bootId() } };
}

export async function readOwners(dir: string): Promise<Owners | undefined> {
  try {
    const parsed = safeParse(ownerRecord, JSON.parse(await readFile(join(dir, "owner.json"), "utf8")));
    return parsed.success ? parsed.output : undefined;
  } catch {
    // Being removed by its owner right now, most likely.
    return undefined;
  }
}
