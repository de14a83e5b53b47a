/**
 * What happened to containers: a journal that every process appends to, as there is no daemon that would tell.
 * `events/journal.jsonl`, one JSON object a line; at its limit it becomes `journal.jsonl.1`.
 */
import { appendFile, open, rename, stat } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import * as v from "valibot";
import { makePrivateDir } from "../../util/atomic-file.ts";
import { systemCode } from "../../util/error.ts";
import type { Paths } from "../../util/paths.ts";
import type { ContainerRecord } from "./record.ts";

export const ACTIONS = [
  "create",
  "start",
  "attach",
  "die",
  "oom",
  "stop",
  "kill",
  "pause",
  "unpause",
  "restart",
  "rename",
  "update",
  "exec_start",
  "health_status",
  "commit",
  "copy",
  "export",
  "destroy",
] as const;
/**
 * What happened.
 * @useDeclaredType
 */
export type Action = (typeof ACTIONS)[number];

const eventSchema = v.object({
  time: v.string(),
  type: v.literal("container"),
  action: v.picklist(ACTIONS),
  id: v.string(),
  attributes: v.record(v.string(), v.string()),
});

/** Something that happened to a container. */
export interface ContainerEvent {
  /** RFC 3339, milliseconds. */
  readonly time: string;
  readonly type: "container";
  readonly action: Action;
  /** 64 hexadecimal digits. */
  readonly id: string;
  /** Name, image, and what belongs to the action: exitCode, signal, status. */
  readonly attributes: Readonly<Record<string, string>>;
}

const MAX_JOURNAL_BYTES = 4 << 20;
const MAX_LINE_BYTES = 64 * 1024;
const POLL_MS = 250;
const CHUNK_BYTES = 64 * 1024;

function journalPath(paths: Paths): string {
  return join(paths.dataDir, "events", "journal.jsonl");
}

/** Never fails: what cannot be noted has happened all the same. */
export async function noteEvent(
  paths: Paths,
  action: Action,
  { id, name, imageName }: Pick<ContainerRecord, "id" | "name" | "imageName">,
  attributes: Readonly<Record<string, string>> = {},
): Promise<void> {
  const event: ContainerEvent = {
    time: new Date().toISOString(),
    type: "container",
    action,
    id,
    attributes: { image: imageName, name, ...attributes },
  };
  const line = `${JSON.stringify(event)}\n`;
  if (line.length > MAX_LINE_BYTES) return;
  try {
    await append(paths, line);
  } catch {
    // The disk is full, most likely; the container's own state tells what matters.
  }
}

async function append(paths: Paths, line: string): Promise<void> {
  const path = journalPath(paths);
  try {
    if ((await stat(path)).size > MAX_JOURNAL_BYTES) await rename(path, `${path}.1`);
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw error;
    await makePrivateDir(join(paths.dataDir, "events"));
  }
  // One write with O_APPEND: lines of several processes do not mix.
  await appendFile(path, line, { mode: 0o600 });
}

export interface EventsOptions {
  readonly sinceMs?: number | undefined;
  /** Then it ends. */
  readonly untilMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

function parseLine(line: string): ContainerEvent | undefined {
  try {
    const parsed = v.safeParse(eventSchema, JSON.parse(line));
    return parsed.success ? parsed.output : undefined;
  } catch {
    return undefined;
  }
}

interface Cursor {
  inode: number;
  at: number;
}

/** The lines behind the cursor, which is moved; of another file from its beginning. */
async function linesBehind(path: string, cursor: Cursor): Promise<string[]> {
  let handle;
  try {
    handle = await open(path, "r");
  } catch (error) {
    if (systemCode(error) === "ENOENT") return [];
    throw error;
  }
  try {
    const { ino, size } = await handle.stat();
    if (ino !== cursor.inode) Object.assign(cursor, { inode: ino, at: 0 });
    let text = Buffer.alloc(0);
    for (let at = cursor.at; at < size; ) {
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(CHUNK_BYTES), 0, CHUNK_BYTES, at);
      if (bytesRead === 0) break;
      at += bytesRead;
      text = Buffer.concat([text, buffer.subarray(0, bytesRead)]);
    }
    const end = text.lastIndexOf(0x0a) + 1;
    cursor.at += end;
    return text.toString("utf8", 0, end).split("\n").slice(0, -1);
  } finally {
    await handle.close();
  }
}

/** Events from `sinceMs`, or from now; until `untilMs`, or for ever. @throws the signal's reason */
export async function* readEvents(paths: Paths, options: EventsOptions = {}): AsyncGenerator<ContainerEvent> {
  const { sinceMs = Date.now(), untilMs, signal } = options;
  const path = journalPath(paths);
  const cursor: Cursor = { inode: -1, at: 0 };
  const wanted = (event: ContainerEvent | undefined): event is ContainerEvent =>
    event !== undefined && Date.parse(event.time) >= sinceMs;
  const older = await linesBehind(`${path}.1`, { inode: -1, at: 0 });
  for (const event of older.map(parseLine)) {
    if (!wanted(event)) continue;
    if (untilMs !== undefined && Date.parse(event.time) > untilMs) return;
    yield event;
  }
  for (;;) {
    const over = untilMs !== undefined && Date.now() >= untilMs;
    for (const event of (await linesBehind(path, cursor)).map(parseLine)) {
      if (!wanted(event)) continue;
      if (untilMs !== undefined && Date.parse(event.time) > untilMs) return;
      yield event;
    }
    if (over) return;
    await sleep(POLL_MS, undefined, { signal }).catch(() => signal?.throwIfAborted());
  }
}
