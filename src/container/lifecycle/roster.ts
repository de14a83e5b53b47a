/**
 * All containers that stay: making one, finding it by name or id, renaming and removing it.
 *
 *     containers/.new.PID.TICKS.ID/ ─rename─► containers/ID/container.json      the container is there
 *     names/NAME ──symbolic link's text──► ID                                   taken before that, by link's exclusivity
 *
 * A name whose container is not there belongs to nobody, unless its container is being made just now.
 */
import { mkdir, readdir, readlink, rename, rm, symlink } from "node:fs/promises";
import { join } from "node:path";
import { makePrivateDir } from "../../util/atomic-file.ts";
import { FlameBoxError, systemCode } from "../../util/error.ts";
import { isAlive } from "../../util/liveness.ts";
import { withLock } from "../../util/lock.ts";
import { nearest } from "../../util/nearest.ts";
import type { Paths } from "../../util/paths.ts";
import { quote } from "../../util/printable.ts";
import { containersDir, removeWorkspace, unfinishedName, unfinishedOwner } from "../workspace.ts";
import { randomName } from "./random-name.ts";
import type { ContainerRecord } from "./record.ts";
import { containerDir, isContainerId, readRecord, replaceRecord, writeNewRecord } from "./record.ts";

const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{1,127}$/;
const MAX_NAME_ATTEMPTS = 50;
/** Docker's: fewer digits are a name's. */
const ID_PREFIX = /^[0-9a-f]{1,64}$/;

function namesDir(paths: Paths): string {
  return join(paths.dataDir, "names");
}

/** The store's, which removes what dead processes left in it. */
function locksDir(paths: Paths): string {
  return join(paths.dataDir, "locks");
}

/** @throws FlameBoxError `invalid-option` */
export function checkName(name: string): void {
  if (!NAME.test(name))
    throw new FlameBoxError("invalid-option", `${quote(name)} is not a container's name`, {
      hint: "use 2 to 128 letters, digits, '_', '.' and '-', beginning with a letter or digit",
    });
}

async function ownerOfName(paths: Paths, name: string): Promise<string | undefined> {
  try {
    const id = await readlink(join(namesDir(paths), name));
    return isContainerId(id) ? id : undefined;
  } catch (error) {
    if (systemCode(error) === "ENOENT" || systemCode(error) === "EINVAL") return undefined;
    throw error;
  }
}

/** Whether the container is there, or is being made by a living process. */
async function exists(paths: Paths, id: string): Promise<boolean> {
  const entries = await readdir(containersDir(paths)).catch(() => []);
  return entries.some((entry) => {
    if (entry === id) return true;
    const making = entry.endsWith(`.${id}`) ? unfinishedOwner(entry) : undefined;
    return making !== undefined && isAlive(making.owner);
  });
}

/** @returns the container that has the name already */
async function claimName(paths: Paths, name: string, id: string): Promise<string | undefined> {
  const path = join(namesDir(paths), name);
  for (;;) {
    try {
      await symlink(id, path);
      return undefined;
    } catch (error) {
      if (systemCode(error) !== "EEXIST") throw error;
    }
    const holder = await ownerOfName(paths, name);
    if (holder !== undefined && (await exists(paths, holder))) {
      const record = await readRecord(paths, holder).catch(() => undefined);
      // A container that was renamed, and whose process was killed before it gave the old name back.
      if (record === undefined || record.name === name) return holder;
    }
    await withLock(join(locksDir(paths), "names.lock"), {}, async () => {
      if ((await ownerOfName(paths, name)) === holder) await rm(path, { force: true });
    });
  }
}

async function releaseName(paths: Paths, name: string, id: string): Promise<void> {
  if ((await ownerOfName(paths, name)) === id) await rm(join(namesDir(paths), name), { force: true });
}

function nameTaken(name: string, holder: string): FlameBoxError {
  return new FlameBoxError(
    "name-taken",
    `the name ${quote(name)} is container ${holder.slice(0, 12)}'s already`,
    { hint: `remove that one (flamebox rm ${name}), rename it, or choose another name` },
  );
}

export type Draft = Omit<ContainerRecord, "name"> & { readonly name: string | undefined };

/**
 * Makes the container's folder and takes its name.
 * @throws FlameBoxError `name-taken`, `invalid-option`
 */
export async function addContainer(paths: Paths, draft: Draft): Promise<ContainerRecord> {
  const { id } = draft;
  await makePrivateDir(containersDir(paths));
  await makePrivateDir(namesDir(paths));
  const temporary = join(containersDir(paths), unfinishedName(id));
  await mkdir(temporary, { mode: 0o700 });
  let name: string | undefined;
  try {
    name = await takeName(paths, draft);
    const record = { ...draft, name };
    await writeNewRecord(temporary, record);
    await rename(temporary, containerDir(paths, id));
    return record;
  } catch (error) {
    if (name !== undefined) await releaseName(paths, name, id);
    await rm(temporary, { recursive: true, force: true });
    throw error;
  }
}

/**
 * Gives the container's folder, which its owner has made, a record and a name.
 * @throws FlameBoxError `name-taken`, `invalid-option`
 */
export async function registerContainer(paths: Paths, draft: Draft): Promise<ContainerRecord> {
  await makePrivateDir(namesDir(paths));
  const name = await takeName(paths, draft);
  try {
    const record = { ...draft, name };
    await writeNewRecord(containerDir(paths, draft.id), record);
    return record;
  } catch (error) {
    await releaseName(paths, name, draft.id);
    throw error;
  }
}

/** @throws FlameBoxError `name-taken`, `invalid-option` */
async function takeName(paths: Paths, { id, name: wanted }: Draft): Promise<string> {
  if (wanted !== undefined) checkName(wanted);
  let name = wanted ?? randomName();
  for (let attempt = 1; ; attempt++) {
    const holder = await claimName(paths, name, id);
    if (holder === undefined) return name;
    if (wanted !== undefined || attempt === MAX_NAME_ATTEMPTS) throw nameTaken(name, holder);
    name = randomName(attempt);
  }
}

/** Nothing of it is left. The caller knows that nobody runs it. */
export async function removeContainerFiles(
  paths: Paths,
  { id, name }: Pick<ContainerRecord, "id" | "name">,
): Promise<void> {
  await removeWorkspace(containerDir(paths, id));
  await releaseName(paths, name, id);
}

/** @throws FlameBoxError `name-taken`, `invalid-option` */
export async function renameContainer(
  paths: Paths,
  record: ContainerRecord,
  name: string,
): Promise<ContainerRecord> {
  checkName(name);
  if (name === record.name)
    throw new FlameBoxError("invalid-option", `the container is called ${quote(name)} already`);
  const holder = await claimName(paths, name, record.id);
  if (holder !== undefined) throw nameTaken(name, holder);
  const renamed = { ...record, name };
  await replaceRecord(paths, renamed);
  await releaseName(paths, record.name, record.id);
  return renamed;
}

/** Gives back names that processes took for containers and were killed before there was one. */
export async function collectNames(paths: Paths): Promise<void> {
  for (const name of await readdir(namesDir(paths)).catch(() => [])) {
    const holder = await ownerOfName(paths, name);
    if (holder !== undefined && (await exists(paths, holder))) continue;
    await withLock(join(locksDir(paths), "names.lock"), {}, async () => {
      const now = await ownerOfName(paths, name);
      if (now === holder && (now === undefined || !(await exists(paths, now))))
        await rm(join(namesDir(paths), name), { force: true });
    });
  }
}

export async function containerIds(paths: Paths): Promise<string[]> {
  return (await readdir(containersDir(paths)).catch(() => [])).filter(isContainerId);
}

/** Those whose record can be read. @param onDamaged told the id of each other one */
export async function readRecords(
  paths: Paths,
  onDamaged: (id: string, error: FlameBoxError) => void = () => {},
): Promise<ContainerRecord[]> {
  const records: ContainerRecord[] = [];
  for (const id of await containerIds(paths)) {
    try {
      const record = await readRecord(paths, id);
      if (record !== undefined) records.push(record);
    } catch (error) {
      if (!(error instanceof FlameBoxError)) throw error;
      onDamaged(id, error);
    }
  }
  return records;
}

/**
 * By name, id, or the beginning of one.
 * @throws FlameBoxError `container-not-found`, `ambiguous-container-id`
 */
export async function findContainer(paths: Paths, text: string): Promise<ContainerRecord> {
  const named = NAME.test(text) ? await ownerOfName(paths, text) : undefined;
  const record = named === undefined ? undefined : await readRecord(paths, named);
  if (record !== undefined && record.name === text) return record;
  const found = await findById(paths, text);
  if (found !== undefined) return found;
  throw await notFound(paths, text);
}

async function findById(paths: Paths, text: string): Promise<ContainerRecord | undefined> {
  if (!ID_PREFIX.test(text)) return undefined;
  const candidates: ContainerRecord[] = [];
  for (const id of await containerIds(paths)) {
    if (!id.startsWith(text)) continue;
    const record = await readRecord(paths, id);
    if (record !== undefined) candidates.push(record);
  }
  if (candidates.length <= 1) return candidates[0];
  const shown = candidates.slice(0, 6).map(({ id, name }) => `${id.slice(0, 16)} (${name})`);
  throw new FlameBoxError(
    "ambiguous-container-id",
    `${text} begins the id of ${candidates.length} containers: ${shown.join(", ")}`,
    { hint: "give more digits, or a name" },
  );
}

async function notFound(paths: Paths, text: string): Promise<FlameBoxError> {
  const names = (await readRecords(paths)).map(({ name }) => name);
  const near = nearest(text, names);
  return new FlameBoxError("container-not-found", `there is no container ${quote(text)}`, {
    hint:
      near === undefined ? "flamebox ps -a lists all containers" : `did you mean ${near}? See flamebox ps -a`,
  });
}

/** Held while a container's owner changes: by whoever begins to run it, and by whoever finds that its owner is gone. */
export function lockPath(paths: Paths, id: string): string {
  return join(locksDir(paths), `container-${id}.lock`);
}
