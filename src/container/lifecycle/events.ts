/**
 * What happened to containers: a journal that every process appends to, as there is no daemon that would tell.
 * `events/journal.jsonl`, one JSON object a line; at its limit it becomes `journal.jsonl.1`.
 */
import { appendFile, rename, stat } from "node:fs/promises";
import { join } from "node:path";
import * as v from "valibot";
import { makePrivateDir } from "../../util/atomic-file.ts";
import { systemCode } from "../../util/error.ts";
import { tryLock } from "../../util/lock.ts";
import type { Paths } from "../../util/paths.ts";
import type { LineFormat } from "../log/reader.ts";
import { readRotated } from "../log/reader.ts";
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
  "exec_die",
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
  labels: v.optional(v.record(v.string(), v.string()), {}),
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
  /** The container's; none where they are longer than a line may be. */
  readonly labels: Readonly<Record<string, string>>;
}

const MAX_JOURNAL_BYTES = 4 << 20;
const MAX_LINE_BYTES = 64 * 1024;
const JOURNAL = "journal.jsonl";

function journalDir(paths: Paths): string {
  return join(paths.dataDir, "events");
}

/** Never fails: what cannot be noted has happened all the same. */
export async function noteEvent(
  paths: Paths,
  action: Action,
  { id, name, imageName, labels }: Pick<ContainerRecord, "id" | "name" | "imageName" | "labels">,
  attributes: Readonly<Record<string, string>> = {},
): Promise<void> {
  const event: ContainerEvent = {
    time: new Date().toISOString(),
    type: "container",
    action,
    id,
    attributes: { image: imageName, name, ...attributes },
    labels,
  };
  const line = [event, { ...event, labels: {} }]
    .map((one) => Buffer.from(`${JSON.stringify(one)}\n`))
    .find(({ length }) => length <= MAX_LINE_BYTES);
  if (line === undefined) return;
  try {
    await append(paths, line);
  } catch {
    // The disk is full, most likely; the container's own state tells what matters.
  }
}

async function append(paths: Paths, line: Buffer): Promise<void> {
  const path = join(journalDir(paths), JOURNAL);
  try {
    if ((await stat(path)).size > MAX_JOURNAL_BYTES)
      // Better too long than without the line.
      await rotate(paths, path).catch(() => {});
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw error;
    await makePrivateDir(journalDir(paths));
  }
  // One write with O_APPEND: lines of several processes do not mix.
  await appendFile(path, line, { mode: 0o600 });
}

/**
 * Two processes that both find the journal full must not both rename it: the second one would put a new file of a few
 * lines in the place of the full one. So one does, and looks again before it does. Who is not the one goes on writing to
 * whatever is there; what it writes late to a file that has been rotated, a follower still reads.
 */
async function rotate(paths: Paths, path: string): Promise<void> {
  const locks = join(paths.dataDir, "locks");
  await makePrivateDir(locks);
  const lock = await tryLock(join(locks, "events.lock"));
  if (lock === undefined) return;
  try {
    if ((await stat(path)).size > MAX_JOURNAL_BYTES) await rename(path, `${path}.1`);
  } finally {
    await lock.release();
  }
}

export interface EventsOptions {
  readonly sinceMs?: number | undefined;
  /** Then it ends. */
  readonly untilMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

function decode(line: Buffer): ContainerEvent | undefined {
  try {
    const parsed = v.safeParse(eventSchema, JSON.parse(line.toString()));
    return parsed.success && !Number.isNaN(Date.parse(parsed.output.time)) ? parsed.output : undefined;
  } catch {
    return undefined;
  }
}

const FORMAT: LineFormat<ContainerEvent> = { file: JOURNAL, decode };

/** Events from `sinceMs`, or from now; until `untilMs`, or for ever. @throws the signal's reason */
export async function* readEvents(paths: Paths, options: EventsOptions = {}): AsyncGenerator<ContainerEvent> {
  const { sinceMs = Date.now(), untilMs, signal } = options;
  const isOver = async () => untilMs !== undefined && Date.now() >= untilMs;
  yield* readRotated(journalDir(paths), FORMAT, { sinceMs, untilMs, signal, isOver });
}
