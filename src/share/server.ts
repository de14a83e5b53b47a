/**
 * Serves one share over two streams.
 *
 *     requests ─► MessageSplitter ─► gate ─► operation ─► replies
 *
 * Requests are answered side by side, in any order; the guest's kernel waits where order matters. The gate bounds
 * how many are under way and how many bytes they hold, replies that the guest has not taken yet included: behind
 * it the guest has no more credit, and its processes wait.
 */
import type { Readable, Writable } from "node:stream";
import {
  BATCH_FORGET_IN,
  FORGET_IN,
  FORGET_ONE,
  INIT_IN,
  INIT_OUT,
  InitFlag,
  MAJOR,
  MAX_DATA_BYTES,
  MIN_MINOR,
  MINOR,
  Opcode,
  OUT_HEADER_BYTES,
  READ_IN,
} from "./fuse/format.ts";
import type { Request } from "./fuse/message.ts";
import {
  argumentsOf,
  errnoOf,
  errorReply,
  finishReply,
  MessageSplitter,
  Refusal,
  replyOf,
  ShareError,
} from "./fuse/message.ts";
import {
  openDirectory,
  readDirectory,
  readDirectoryPlus,
  releaseDirectory,
  syncDirectory,
} from "./operations/directories.ts";
import {
  getAttributes,
  open,
  read,
  release,
  setAttributes,
  statFileSystem,
  sync,
  write,
} from "./operations/files.ts";
import {
  addName,
  create,
  lookUp,
  makeDirectory,
  makeLink,
  makeNode,
  move,
  moveWithFlags,
  readLink,
  removeDirectory,
  removeFile,
} from "./operations/names.ts";
import type { Operation, Tree } from "./operations/operation.ts";

const MAX_REQUESTS = 64;
const MAX_BYTES = 8 << 20;
/** Of background requests: reads ahead, and writes out of the guest's cache. */
const MAX_BACKGROUND = 32;
const PAGE_BYTES = 4096;

const READING: Readonly<Record<number, Operation>> = {
  [Opcode.lookup]: lookUp,
  [Opcode.getattr]: getAttributes,
  [Opcode.readlink]: readLink,
  [Opcode.open]: open,
  [Opcode.read]: read,
  [Opcode.statfs]: statFileSystem,
  [Opcode.release]: release,
  [Opcode.fsync]: sync,
  [Opcode.opendir]: openDirectory,
  [Opcode.readdir]: readDirectory,
  [Opcode.readdirplus]: readDirectoryPlus,
  [Opcode.releasedir]: releaseDirectory,
  [Opcode.fsyncdir]: syncDirectory,
};

/** Refused here when the share is read-only, whatever the guest's kernel should have refused before. */
const CHANGING: Readonly<Record<number, Operation>> = {
  [Opcode.setattr]: setAttributes,
  [Opcode.symlink]: makeLink,
  [Opcode.mknod]: makeNode,
  [Opcode.mkdir]: makeDirectory,
  [Opcode.unlink]: removeFile,
  [Opcode.rmdir]: removeDirectory,
  [Opcode.rename]: move,
  [Opcode.rename2]: moveWithFlags,
  [Opcode.link]: addName,
  [Opcode.write]: write,
  [Opcode.create]: create,
};

/**
 * Answers until the guest has nothing more to ask: its stream ends, or is broken off.
 * @throws ShareError `bad-message` when what comes is no FUSE; both streams are broken off then
 */
export async function serve(tree: Tree, requests: Readable, replies: Writable): Promise<void> {
  const gate = new Gate();
  const splitter = new MessageSplitter();
  const running = new Set<Promise<void>>();
  // A reply that is never taken is not waited for when nobody is there any more to take it.
  replies.once("close", () => gate.close());
  try {
    for await (const chunk of requests) {
      for (const request of splitter.split(chunk as Buffer)) {
        const bytes = costOf(request);
        if (!(await gate.enter(bytes))) return;
        const job = handle(tree, request, replies, () => gate.leave(bytes)).finally(() =>
          running.delete(job),
        );
        running.add(job);
      }
    }
  } catch (error) {
    if (error instanceof ShareError) throw error;
    // The session has ended, and tells its owner why.
  } finally {
    requests.destroy();
    replies.destroy();
    await Promise.all(running);
  }
}

/** Never rejects. `leave` is called when neither request nor reply takes room any more. */
async function handle(tree: Tree, request: Request, replies: Writable, leave: () => void): Promise<void> {
  const reply = await answer(tree, request);
  if (reply === undefined) leave();
  else replies.write(reply, leave);
}

function costOf({ opcode, body }: Request): number {
  const wanted =
    opcode === Opcode.read && body.length >= READ_IN.sizeBytes ? READ_IN.decode(body, 0).size : 0;
  return body.length + OUT_HEADER_BYTES + Math.min(wanted, MAX_DATA_BYTES);
}

/** Never rejects. Undefined for what has no reply. */
async function answer(tree: Tree, request: Request): Promise<Buffer | undefined> {
  try {
    const reply = await perform(tree, request);
    return reply && finishReply(reply, request.unique);
  } catch (error) {
    return errorReply(request.unique, errnoOf(error));
  }
}

async function perform(tree: Tree, request: Request): Promise<Buffer | undefined> {
  switch (request.opcode) {
    case Opcode.init:
      return init(request);
    case Opcode.forget:
      return forget(tree, request);
    case Opcode.batchForget:
      return forgetMany(tree, request);
    case Opcode.destroy:
      return replyOf(0);
  }
  const changing = CHANGING[request.opcode];
  if (changing !== undefined && tree.readonly) throw new Refusal("EROFS");
  const operation = changing ?? READING[request.opcode];
  // The guest's kernel takes ENOSYS for "never", and does not ask again: extended attributes, FLUSH (nothing is
  // held back here), ACCESS (it decides itself, with default_permissions), INTERRUPT (nothing here waits for long).
  if (operation === undefined) throw new Refusal("ENOSYS");
  return await operation(tree, request);
}

function init(request: Request): Buffer {
  const { major, minor, maxReadahead, flags } = argumentsOf(INIT_IN, request);
  if (major < MAJOR || (major === MAJOR && minor < MIN_MINOR)) throw new Refusal("EPROTO");
  // A kernel of a later major version asks again with ours.
  const reply = replyOf(INIT_OUT.sizeBytes);
  const wanted = Object.values(InitFlag).reduce((all, flag) => all | flag, 0);
  INIT_OUT.encode(reply, OUT_HEADER_BYTES, {
    major: MAJOR,
    minor: MINOR,
    maxReadahead: Math.min(maxReadahead, MAX_DATA_BYTES),
    flags: (flags & wanted) >>> 0,
    maxBackground: MAX_BACKGROUND,
    congestionThreshold: (MAX_BACKGROUND * 3) / 4,
    maxWrite: MAX_DATA_BYTES,
    timeGran: 1,
    maxPages: MAX_DATA_BYTES / PAGE_BYTES,
  });
  return reply;
}

function forget({ nodes }: Tree, request: Request): undefined {
  if (request.body.length >= FORGET_IN.sizeBytes)
    nodes.forget(request.nodeId, FORGET_IN.decode(request.body, 0).nlookup);
}

function forgetMany({ nodes }: Tree, { body }: Request): undefined {
  for (
    let at = BATCH_FORGET_IN.sizeBytes;
    at + FORGET_ONE.sizeBytes <= body.length;
    at += FORGET_ONE.sizeBytes
  ) {
    const { nodeid, nlookup } = FORGET_ONE.decode(body, at);
    nodes.forget(nodeid, nlookup);
  }
}

/** Lets in what there is room for, one caller after the other. */
class Gate {
  #requests = 0;
  #bytes = 0;
  #closed = false;
  #wake: (() => void) | undefined;

  /** False when nobody is to enter any more. */
  async enter(bytes: number): Promise<boolean> {
    while (!this.#closed && this.#isFullFor(bytes)) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    this.#requests++;
    this.#bytes += bytes;
    return !this.#closed;
  }

  leave(bytes: number): void {
    this.#requests--;
    this.#bytes -= bytes;
    this.#wake?.();
  }

  close(): void {
    this.#closed = true;
    this.#wake?.();
  }

  #isFullFor(bytes: number): boolean {
    return this.#requests >= MAX_REQUESTS || (this.#requests > 0 && this.#bytes + bytes > MAX_BYTES);
  }
}
