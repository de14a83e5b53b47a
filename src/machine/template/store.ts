/**
 * Templates on disk: `templates/KEY/` with the memory file, the devices' state, the writable disk, and a record, which
 * says what they have to look like. The folder appears complete, by rename; a key is made of everything that a template
 * depends on, so another kernel, agent, VMM or shape is another template.
 *
 *     templates/.new.PID.TICKS.X/  ─rename─►  templates/KEY/ram state scratch template.json
 *     templates/.new.PID.TICKS.X/  ◄─rename─  in the end
 */
import { createHash } from "node:crypto";
import { mkdir, readFile, readdir, rename, rm, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import * as v from "valibot";
import { makePrivateDir } from "../../util/atomic-file.ts";
import { systemCode } from "../../util/error.ts";
import { removeIfDead, withLock } from "../../util/lock.ts";
import type { Paths } from "../../util/paths.ts";
import { collectUnfinished, removeWhole, unfinishedName } from "../../util/unfinished.ts";
import type { BootFiles, DiskUse, MachineShape, TemplateFiles } from "../machine.ts";
import { DISK_USES } from "../machine.ts";

/** More are not kept: the one that was used longest ago goes. */
export const MAX_TEMPLATES = 8;

const KEY = /^[0-9a-f]{24}$/;
const BLOCK_BYTES = 512;

const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const recordSchema = v.object({
  version: v.literal(3),
  /** The VMM's and the kernel's names, for people. */
  description: v.string(),
  shape: v.object({
    cpus: count,
    memoryMib: count,
    network: v.boolean(),
    storageBytes: count,
    disk: v.picklist(DISK_USES),
  }),
  createdAt: v.string(),
  /** Nobody writes to these two once they are finished: machines have them copy-on-write. */
  ram: v.object({ sizeBytes: count, mtimeMs: v.number() }),
  scratch: v.object({ sizeBytes: count, mtimeMs: v.number() }),
  state: v.object({ sizeBytes: count, crc32: count }),
});

type TemplateRecord = Readonly<v.InferOutput<typeof recordSchema>>;

/** A template that is here and sound. */
export interface Template {
  readonly key: string;
  readonly shape: MachineShape;
  readonly files: TemplateFiles;
}

/** A template for people and programs. */
export interface TemplateInfo {
  readonly key: string;
  readonly description: string;
  readonly cpus: number;
  readonly memoryMib: number;
  readonly network: boolean;
  /** Of the writable disk, in bytes. */
  readonly storageBytes: number;
  /** Whether containers' disks go with them (`passing`), stay (`lasting`), or had been there before (`used`). */
  readonly disk: DiskUse;
  /** RFC 3339. */
  readonly createdAt: string;
  readonly lastUsedAt: string;
  /** What it takes on disk: its memory file has holes. */
  readonly diskBytes: number;
}

function templatesDir(paths: Paths): string {
  return join(paths.dataDir, "templates");
}

function filesIn(dir: string): TemplateFiles & { readonly recordPath: string } {
  const [ramPath, statePath, scratchPath] = [join(dir, "ram"), join(dir, "state"), join(dir, "scratch")];
  return { ramPath, statePath, scratchPath, recordPath: join(dir, "template.json") };
}

/** Names of 24 hexadecimal digits. `identity` is the driver's, `prepared` what the guest was told before it was saved. */
export async function templateKey(
  identity: string,
  boot: BootFiles,
  shape: MachineShape,
  prepared: unknown = null,
): Promise<string> {
  const hash = createHash("sha256").update(JSON.stringify([identity, shape, prepared]));
  for (const path of [boot.kernelPath, boot.initramfsPath]) {
    const { size, mtimeMs, ino } = await stat(path);
    hash.update(JSON.stringify([size, mtimeMs, ino]));
  }
  return hash.digest("hex").slice(0, 24);
}

async function readRecord(dir: string): Promise<TemplateRecord | undefined> {
  try {
    const parsed = v.safeParse(recordSchema, JSON.parse(await readFile(filesIn(dir).recordPath, "utf8")));
    return parsed.success ? parsed.output : undefined;
  } catch (error) {
    if (error instanceof SyntaxError || systemCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

/** The state is small enough to be read whole each time; the memory is told by its size and its last change. */
async function isSound(dir: string, { ram, scratch, state }: TemplateRecord): Promise<boolean> {
  const { ramPath, scratchPath, statePath } = filesIn(dir);
  try {
    for (const [path, wanted] of [
      [ramPath, ram],
      [scratchPath, scratch],
    ] as const) {
      const found = await stat(path);
      if (found.size !== wanted.sizeBytes || found.mtimeMs !== wanted.mtimeMs) return false;
    }
    const bytes = await readFile(statePath);
    return bytes.length === state.sizeBytes && crc32(bytes) === state.crc32;
  } catch (error) {
    if (systemCode(error) === "ENOENT") return false;
    throw error;
  }
}

/** The template, if it is here and sound; a damaged one is removed. */
export async function findTemplate(paths: Paths, key: string): Promise<Template | undefined> {
  const dir = join(templatesDir(paths), key);
  const inode = await inodeOf(dir);
  if (inode === undefined) return undefined;
  const record = await readRecord(dir);
  if (record !== undefined && (await isSound(dir, record))) {
    const now = new Date();
    // When it was last used; and no harm is done if it has just been removed.
    await utimes(filesIn(dir).recordPath, now, now).catch(() => {});
    return { key, shape: record.shape, files: filesIn(dir) };
  }
  // Another process may have replaced it meanwhile, and is about to use what it has made.
  if ((await inodeOf(dir)) === inode) await removeWhole(templatesDir(paths), key);
  return undefined;
}

async function inodeOf(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).ino;
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

export interface EnsureOptions {
  readonly shape: MachineShape;
  readonly description: string;
  /** Makes the files, and syncs them. */
  readonly save: (files: TemplateFiles) => Promise<void>;
  readonly signal?: AbortSignal | undefined;
  /** Told when another process is making the same one. */
  readonly onWait?: (() => void) | undefined;
}

/**
 * The template, made when it is not here. Two processes that want it at once make one.
 * @throws what `save` throws
 */
export async function ensureTemplate(paths: Paths, key: string, options: EnsureOptions): Promise<Template> {
  const found = await findTemplate(paths, key);
  if (found !== undefined) return found;
  const parent = templatesDir(paths);
  await makePrivateDir(parent);
  const { signal, onWait } = options;
  return await withLock(join(parent, `${key}.lock`), { signal, onWait: () => onWait?.() }, async () => {
    const meanwhile = await findTemplate(paths, key);
    if (meanwhile !== undefined) return meanwhile;
    await collectTemplates(paths);
    const dir = join(parent, unfinishedName());
    await mkdir(dir, { mode: 0o700 });
    try {
      await options.save(filesIn(dir));
      await writeRecord(dir, options);
      await rename(dir, join(parent, key));
    } catch (error) {
      await rm(dir, { recursive: true, force: true });
      throw error;
    }
    await evict(paths, key);
    return { key, shape: options.shape, files: filesIn(join(parent, key)) };
  });
}

async function writeRecord(dir: string, { shape, description }: EnsureOptions): Promise<void> {
  const { ramPath, scratchPath, statePath, recordPath } = filesIn(dir);
  const [ram, scratch] = await Promise.all([stat(ramPath), stat(scratchPath)]);
  const state = await readFile(statePath);
  const record: TemplateRecord = {
    version: 3,
    description,
    shape: { ...shape },
    createdAt: new Date().toISOString(),
    ram: { sizeBytes: ram.size, mtimeMs: ram.mtimeMs },
    scratch: { sizeBytes: scratch.size, mtimeMs: scratch.mtimeMs },
    state: { sizeBytes: state.length, crc32: crc32(state) },
  };
  await writeFile(recordPath, JSON.stringify(record), { mode: 0o600, flag: "wx", flush: true });
}

/** Keys of what is here, used last first. */
async function keysByUse(paths: Paths): Promise<{ key: string; usedMs: number }[]> {
  let names: string[];
  try {
    names = await readdir(templatesDir(paths));
  } catch (error) {
    if (systemCode(error) === "ENOENT") return [];
    throw error;
  }
  const found: { key: string; usedMs: number }[] = [];
  for (const key of names.filter((name) => KEY.test(name))) {
    const { recordPath } = filesIn(join(templatesDir(paths), key));
    const used = await stat(recordPath).catch(() => undefined);
    found.push({ key, usedMs: used?.mtimeMs ?? 0 });
  }
  return found.sort((a, b) => b.usedMs - a.usedMs);
}

async function evict(paths: Paths, keep: string): Promise<void> {
  const others = (await keysByUse(paths)).filter(({ key }) => key !== keep);
  for (const { key } of others.slice(MAX_TEMPLATES - 1)) await removeWhole(templatesDir(paths), key);
}

export async function listTemplates(paths: Paths): Promise<TemplateInfo[]> {
  const infos: TemplateInfo[] = [];
  for (const { key, usedMs } of await keysByUse(paths)) {
    const dir = join(templatesDir(paths), key);
    const record = await readRecord(dir);
    if (record === undefined) continue;
    const { description, shape, createdAt } = record;
    const diskBytes = await diskBytesOf(dir);
    infos.push({
      key,
      description,
      ...shape,
      createdAt,
      lastUsedAt: new Date(usedMs).toISOString(),
      diskBytes,
    });
  }
  return infos;
}

async function diskBytesOf(dir: string): Promise<number> {
  let blocks = 0;
  for (const name of await readdir(dir).catch(() => [])) {
    blocks += (await stat(join(dir, name)).catch(() => undefined))?.blocks ?? 0;
  }
  return blocks * BLOCK_BYTES;
}

/** Machines that were restored from it go on: they have its files open. @returns whether it was there */
export async function removeTemplate(paths: Paths, key: string): Promise<boolean> {
  return KEY.test(key) && (await removeWhole(templatesDir(paths), key));
}

/** Removes all but those of `keep`. @returns keys */
export async function pruneTemplates(paths: Paths, keep: ReadonlySet<string>): Promise<string[]> {
  await collectTemplates(paths);
  const removed: string[] = [];
  for (const { key } of await keysByUse(paths)) {
    if (!keep.has(key) && (await removeWhole(templatesDir(paths), key))) removed.push(key);
  }
  return removed;
}

async function collectTemplates(paths: Paths): Promise<void> {
  const parent = templatesDir(paths);
  await collectUnfinished(parent);
  for (const name of await readdir(parent).catch(() => [])) {
    if (name.endsWith(".lock")) await removeIfDead(join(parent, name));
  }
}
