/**
 * Who runs a container: `owner.json` names that process, and its VMM. It is written under the container's lock by
 * whoever begins, and removed by the same process when it is done; so a dead owner's is one that was killed, and
 * whoever finds it puts the state right.
 */
import { messageOf } from "../../util/error.ts";
import { FlameBoxError } from "../../util/error.ts";
import { isAlive } from "../../util/liveness.ts";
import { withLock } from "../../util/lock.ts";
import type { Paths } from "../../util/paths.ts";
import { quote } from "../../util/printable.ts";
import { removeSocket } from "../control/socket.ts";
import { endVmm, readOwners, removeOwner, writeOwner } from "../workspace.ts";
import { noteEvent } from "./events.ts";
import type { ContainerRecord } from "./record.ts";
import { containerDir, readRecord } from "./record.ts";
import { lockPath, removeContainerFiles } from "./roster.ts";
import { isUp, LOST_EXIT_CODE, readState, writeState } from "./state.ts";

/** Whether a living process runs it. */
export async function isOwned(paths: Paths, id: string): Promise<boolean> {
  const owners = await readOwners(containerDir(paths, id));
  return owners !== undefined && isAlive(owners.owner);
}

/** Puts right what the owner of a container left that was killed. Nothing happens while a living one is there. */
export async function healContainer(paths: Paths, id: string): Promise<void> {
  await withLock(lockPath(paths, id), {}, async () => await healLocked(paths, id));
}

async function healLocked(paths: Paths, id: string): Promise<void> {
  const dir = containerDir(paths, id);
  const owners = await readOwners(dir);
  if (owners === undefined || isAlive(owners.owner)) return;
  endVmm(owners);
  await removeSocket(paths, id);
  const record = await readRecord(paths, id).catch(() => undefined);
  if (record?.autoRemove === true) {
    await removeContainerFiles(paths, record);
    await noteEvent(paths, "destroy", record);
    return;
  }
  const { live: _live, ...state } = await readState(paths, id);
  if (isUp(state)) {
    const error = "the process that ran it was killed";
    const finishedAt = new Date().toISOString();
    await writeState(dir, { ...state, status: "exited", exitCode: LOST_EXIT_CODE, finishedAt, error });
    if (record !== undefined) await noteEvent(paths, "die", record, { exitCode: String(LOST_EXIT_CODE) });
  }
  await removeOwner(dir);
}

/** A user wants a container stopped that nobody runs: a later boot need not start it, as it would have. */
export async function rememberStop(paths: Paths, { id, restart }: ContainerRecord): Promise<void> {
  if (restart.name === "no") return;
  await withLock(lockPath(paths, id), {}, async () => {
    if (await isOwned(paths, id)) return;
    const state = await readState(paths, id);
    if (state.status !== "exited" || state.stopped === true) return;
    await writeState(containerDir(paths, id), { ...state, stopped: true });
  });
}

/**
 * From here on this process runs the container.
 * @throws FlameBoxError `container-running`, `container-not-found`
 */
export async function claimContainer(paths: Paths, { id, name }: ContainerRecord): Promise<void> {
  await withLock(lockPath(paths, id), {}, async () => {
    if (await isOwned(paths, id))
      throw new FlameBoxError("container-running", `the container ${quote(name)} is running already`);
    await healLocked(paths, id);
    try {
      await writeOwner(containerDir(paths, id));
    } catch (error) {
      throw new FlameBoxError("container-not-found", `the container ${quote(name)} has been removed`, {
        cause: messageOf(error),
      });
    }
  });
}

/** Does `job` while nobody begins to run the container. @throws FlameBoxError `container-running` */
export async function whileIdle<T>(
  paths: Paths,
  { id, name }: Pick<ContainerRecord, "id" | "name">,
  job: () => Promise<T>,
): Promise<T> {
  return await withLock(lockPath(paths, id), {}, async () => {
    await healLocked(paths, id);
    if (await isOwned(paths, id))
      throw new FlameBoxError("container-running", `the container ${quote(name)} is running`, {
        hint: `stop it first: flamebox stop ${name}`,
      });
    return await job();
  });
}
