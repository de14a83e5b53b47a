/**
 * What a container has in its file system, as it sees it: told, and carried in and out as tar. PROTOCOL.md, "Files".
 *
 *     statFile         ─► what is there
 *     archiveFile      ─► what is there, and a stream of it:   guest ─► tar ─► Readable
 *     extractArchive   ─► a stream, and what became of it:     Writable ─► tar ─► guest
 *
 * For a container that was created, until it is deleted: whether or not its process runs. The tar that comes out is a
 * hostile guest's; whoever unpacks it checks every name.
 */
import type { Readable, Writable } from "node:stream";
import type { CallOptions } from "./call.ts";
import { ask, CREATE_DEADLINE_MS, LONGEST_DEADLINE_MS, openAnswered, requireGeneration } from "./call.ts";
import { extractedSchema, fileStatSchema } from "./protocol/messages.ts";
import type { FileKind, TimeOfFile } from "./protocol/messages.ts";
import { timedOut } from "./session/deadline.ts";
import type { AgentSession } from "./session/session.ts";

const WHAT = "a container's files";

/** From the end of the archive to the answer. */
const SETTLE_MS = 600_000;

export interface FileStat {
  /** Of the file as it was asked for; "." for the root. */
  readonly name: string;
  readonly kind: FileKind;
  /** Permissions, set-id bits and the sticky bit. */
  readonly mode: number;
  readonly sizeBytes: number;
  readonly mtime: TimeOfFile;
  readonly uid: number;
  readonly gid: number;
  /** Of a symbolic link. What of it is not UTF-8 was replaced. */
  readonly linkTarget?: string | undefined;
}

export interface FileQuery {
  /** The container's. */
  readonly id: string;
  /** Absolute, in the container. Links above its last component are followed within the container's root. */
  readonly path: string;
  /** Whether to follow a link that is the last component; default false. A path that ends with a slash always is. */
  readonly follow?: boolean | undefined;
}

export interface ArchiveQuery extends FileQuery {
  /** Leaves out what is mounted below: its places stay, as they are without it. Default false. */
  readonly oneFileSystem?: boolean | undefined;
}

export interface FileArchive {
  readonly stat: FileStat;
  /**
   * A tar archive whose members begin with the name of the file; those of "/" with nothing at all, but for the root
   * itself, "./". It errors (AgentError `failed`) when the guest could not go on, so that one that has ended is whole.
   * Its owner destroys it when it is not to be read to its end.
   */
  readonly stream: Readable;
}

export interface ExtractRequest {
  /** The container's. */
  readonly id: string;
  /** A directory of the container's: absolute, links followed within the container's root. */
  readonly path: string;
  /** Who is to own everything; undefined: whoever the archive names, by number. */
  readonly owner?: { readonly uid: number; readonly gid: number } | undefined;
}

export interface Extracted {
  readonly entries: number;
  /** Of the files' content. */
  readonly bytes: number;
}

export interface Extraction {
  /** Takes the archive. When the guest refuses it in the middle, what else is written vanishes, and `done` tells why. */
  readonly stream: Writable;
  /**
   * When all of it is in place.
   * @throws AgentError `path-not-found`, `not-a-directory`, `failed` (names the member), …
   */
  readonly done: Promise<Extracted>;
}

/** @throws AgentError `path-not-found`, `not-a-directory`, `not-found`, `conflict`, `failed` */
export async function statFile(
  session: AgentSession,
  { id, path, follow }: FileQuery,
  options: CallOptions = {},
): Promise<FileStat> {
  requireGeneration(session, 4, WHAT);
  const call = { ...options, deadlineMs: CREATE_DEADLINE_MS };
  const params = { id, path, ...(follow === true && { follow }) };
  return await ask(session, "container.stat", fileStatSchema, params, call);
}

/**
 * Aborting before the answer breaks it off; afterwards the stream is its owner's to destroy.
 * @throws AgentError `path-not-found`, `not-a-directory`, `not-found`, `conflict`, `failed`
 */
export async function archiveFile(
  session: AgentSession,
  { id, path, follow, oneFileSystem }: ArchiveQuery,
  options: CallOptions = {},
): Promise<FileArchive> {
  requireGeneration(session, 4, WHAT);
  const params = {
    id,
    path,
    ...(follow === true && { follow }),
    ...(oneFileSystem === true && { oneFileSystem }),
  };
  const { answer, stream } = await openAnswered(
    session,
    "container.archive",
    fileStatSchema,
    params,
    options,
  );
  return { stat: answer, stream };
}

/** Aborting breaks it off; what was extracted until then stays. */
export function extractArchive(
  session: AgentSession,
  { id, path, owner }: ExtractRequest,
  options: CallOptions = {},
): Extraction {
  requireGeneration(session, 4, WHAT);
  const { id: streamId, stream } = session.openOutgoing();
  const params = { id, path, stream: streamId, ...(owner !== undefined && { owner }) };
  // The archive's owner decides how long it takes to come; the guest has its time once all of it is there.
  const late = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  stream.once("finish", () => {
    timer = setTimeout(() => late.abort(timedOut("an answer to container.extract", SETTLE_MS)), SETTLE_MS);
  });
  const signal = AbortSignal.any([late.signal, ...(options.signal === undefined ? [] : [options.signal])]);
  const call = { signal, deadlineMs: LONGEST_DEADLINE_MS };
  const done = ask(session, "container.extract", extractedSchema, params, call).finally(() => {
    clearTimeout(timer);
    stream.destroy();
  });
  done.catch(() => {});
  return { stream, done };
}
