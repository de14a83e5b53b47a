/**
 * Requests out of a stream of bytes, and replies. Nothing here does I/O.
 *
 * What is wrong with a message as such (its length) ends the share: nobody could find the next message. What is
 * wrong inside it is refused with an error number, as any file system would.
 */
import { constants } from "node:os";
import { FlameBoxError } from "../../util/error.ts";
import { IN_HEADER, MAX_MESSAGE_BYTES, MAX_NAME_BYTES, OUT_HEADER_BYTES } from "./format.ts";

export class ShareError extends FlameBoxError {
  override readonly name = "ShareError";
}

type ErrorName = keyof typeof constants.errno;

/** The answer to one request is an error number; the guest's kernel hands it to the process. */
export class Refusal extends Error {
  override readonly name = "Refusal";
  readonly errno: number;

  constructor(name: ErrorName) {
    super(name);
    this.errno = constants.errno[name];
  }
}

/** Guest and host are both Linux, and their error numbers the same. */
export function errnoOf(error: unknown): number {
  if (error instanceof Refusal) return error.errno;
  if (error instanceof Error && "errno" in error && typeof error.errno === "number") {
    const errno = -error.errno;
    // The limit is this process's, not the guest's process's.
    if (errno === constants.errno.EMFILE) return constants.errno.ENFILE;
    if (Number.isInteger(errno) && errno > 0 && errno < 4096) return errno;
  }
  return constants.errno.EIO;
}

export interface Request {
  readonly opcode: number;
  /** Echoed in the reply. */
  readonly unique: bigint;
  readonly nodeId: number;
  readonly uid: number;
  readonly gid: number;
  readonly body: Buffer;
}

/** Takes bytes in any pieces and gives out whole messages. */
export class MessageSplitter {
  /** A message of which not all has come. Before its length is known, only its header. */
  #partial: Buffer | undefined;
  #filled = 0;

  /** @throws ShareError `bad-message`; the splitter is of no use then */
  *split(chunk: Buffer): Generator<Request> {
    let offset = 0;
    while (offset < chunk.length) {
      const left = chunk.length - offset;
      if (this.#partial === undefined && left >= IN_HEADER.sizeBytes) {
        const length = lengthOf(chunk, offset);
        if (left >= length) {
          yield parseRequest(chunk.subarray(offset, offset + length));
          offset += length;
          continue;
        }
      }
      const target = (this.#partial ??= Buffer.alloc(IN_HEADER.sizeBytes));
      const taken = chunk.copy(target, this.#filled, offset, offset + target.length - this.#filled);
      this.#filled += taken;
      offset += taken;
      if (this.#filled === target.length) yield* this.#complete(target);
    }
  }

  *#complete(bytes: Buffer): Generator<Request> {
    const length = lengthOf(bytes, 0);
    if (bytes.length < length) {
      this.#partial = Buffer.alloc(length);
      bytes.copy(this.#partial);
      return;
    }
    this.#partial = undefined;
    this.#filled = 0;
    yield parseRequest(bytes);
  }
}

function lengthOf(data: Buffer, offset: number): number {
  const length = data.readUInt32LE(offset);
  if (length < IN_HEADER.sizeBytes || length > MAX_MESSAGE_BYTES)
    throw new ShareError(
      "bad-message",
      `a file system request of ${length} bytes, allowed are ${IN_HEADER.sizeBytes} to ${MAX_MESSAGE_BYTES}`,
    );
  return length;
}

function parseRequest(message: Buffer): Request {
  const { opcode, unique, nodeid, uid, gid, totalExtlen } = IN_HEADER.decode(message, 0);
  const end = message.length - totalExtlen * 8;
  if (end < IN_HEADER.sizeBytes) throw new ShareError("bad-message", "extensions longer than their request");
  return { opcode, unique, nodeId: nodeid, uid, gid, body: message.subarray(IN_HEADER.sizeBytes, end) };
}

/** @throws Refusal EINVAL when the arguments are not there */
export function argumentsOf<Values>(table: Table<Values>, request: Request): Values {
  if (request.body.length < table.sizeBytes) throw new Refusal("EINVAL");
  return table.decode(request.body, 0);
}

interface Table<Values> {
  readonly sizeBytes: number;
  decode(bytes: Uint8Array, offset: number): Values;
}

const SLASH = 0x2f;
const DOT = 0x2e;

/**
 * The `count` strings at the end of a request, each with its NUL.
 * @throws Refusal EINVAL
 */
export function stringsOf(request: Request, offset: number, count: number): Buffer[] {
  const { body } = request;
  const found: Buffer[] = [];
  let start = offset;
  while (found.length < count) {
    const end = start <= body.length ? body.indexOf(0, start) : -1;
    if (end < 0) throw new Refusal("EINVAL");
    found.push(body.subarray(start, end));
    start = end + 1;
  }
  if (start !== body.length) throw new Refusal("EINVAL");
  return found;
}

/**
 * The one name at the end of a request.
 * @throws Refusal EINVAL, ENAMETOOLONG
 */
export function nameOf(request: Request, offset: number): Buffer {
  const [name] = stringsOf(request, offset, 1);
  return checkName(name);
}

/** One step below a directory, and never one that leads elsewhere: the kernel walks dots and slashes itself. */
export function checkName(name: Buffer | undefined): Buffer {
  if (name === undefined || name.length === 0 || name.includes(SLASH) || name.includes(0))
    throw new Refusal("EINVAL");
  if (name[0] === DOT && (name.length === 1 || (name.length === 2 && name[1] === DOT)))
    throw new Refusal("EINVAL");
  if (name.length > MAX_NAME_BYTES) throw new Refusal("ENAMETOOLONG");
  return name;
}

/** A reply with room for its header and `bytes` zeros behind; OUT_HEADER_BYTES is where results begin. */
export function replyOf(bytes: number): Buffer {
  return Buffer.alloc(OUT_HEADER_BYTES + bytes);
}

/** Completes a reply that an operation has made. */
export function finishReply(reply: Buffer, unique: bigint): Buffer {
  reply.writeUInt32LE(reply.length, 0);
  reply.writeInt32LE(0, 4);
  reply.writeBigUInt64LE(unique, 8);
  return reply;
}

export function errorReply(unique: bigint, errno: number): Buffer {
  const reply = finishReply(replyOf(0), unique);
  reply.writeInt32LE(-errno, 4);
  return reply;
}
