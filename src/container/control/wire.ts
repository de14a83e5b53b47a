/**
 * What is spoken on a container's control socket, between the process that runs it and any other of the same user.
 *
 *     one connection an operation:
 *     client ─ message {method, params} ─►            a request
 *            ◄─ message {result} | {error} ─ server   its answer
 *            ◄─ stdout, stderr ─ stdin ─►             with some methods
 *            ◄─ message {exit} ─                      and how it ended
 *
 * A frame is its kind (u8), the length of its payload (u32le), and the payload. Back pressure is the socket's.
 */
import type { Socket } from "node:net";
import { FlameBoxError } from "../../util/error.ts";

export const FrameKind = { message: 0, stdin: 1, stdout: 2, stderr: 3, stdinEnd: 4 } as const;
export type FrameKind = (typeof FrameKind)[keyof typeof FrameKind];

const HEADER_BYTES = 5;
/** A record, with all that was given to `run`; and far more than a piece of output has. */
const MAX_PAYLOAD_BYTES = 8 << 20;
const KINDS: ReadonlySet<number> = new Set(Object.values(FrameKind));

export interface Frame {
  readonly kind: FrameKind;
  readonly payload: Buffer;
}

export function encode(kind: FrameKind, payload: Uint8Array): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt8(kind, 0);
  header.writeUInt32LE(payload.length, 1);
  return Buffer.concat([header, payload]);
}

/** Takes what came and gives whole frames. @throws FlameBoxError `control-broken` */
export class Decoder {
  #rest: Buffer = Buffer.alloc(0);

  take(chunk: Buffer): Frame[] {
    let bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    const frames: Frame[] = [];
    while (bytes.length >= HEADER_BYTES) {
      const kind = bytes.readUInt8(0);
      const length = bytes.readUInt32LE(1);
      if (!KINDS.has(kind) || length > MAX_PAYLOAD_BYTES)
        throw broken(`a frame of kind ${kind} and ${length} bytes`);
      if (bytes.length < HEADER_BYTES + length) break;
      frames.push({ kind: kind as FrameKind, payload: bytes.subarray(HEADER_BYTES, HEADER_BYTES + length) });
      bytes = bytes.subarray(HEADER_BYTES + length);
    }
    this.#rest = bytes;
    return frames;
  }
}

function broken(what: string): FlameBoxError {
  return new FlameBoxError("control-broken", `the other side of a control socket sent ${what}`);
}

/** One connection. Whoever reads it to its end, or destroys it, is done with it. */
export class Channel implements AsyncDisposable {
  readonly #socket: Socket;
  readonly #decoder = new Decoder();
  readonly #frames: AsyncGenerator<Frame>;

  constructor(socket: Socket) {
    this.#socket = socket;
    // The reader is told by the end of the frames, the writer by its write.
    socket.on("error", () => {});
    this.#frames = this.#read();
  }

  async *#read(): AsyncGenerator<Frame> {
    try {
      for await (const chunk of this.#socket as AsyncIterable<Buffer>) yield* this.#decoder.take(chunk);
    } catch (error) {
      if (error instanceof FlameBoxError) throw error;
      // The other side was killed: to whoever reads, that is its end.
    }
  }

  /** The next frame; undefined at the end. */
  async next(): Promise<Frame | undefined> {
    const { done, value } = await this.#frames.next();
    return done === true ? undefined : value;
  }

  /** @throws FlameBoxError `control-broken` when there is none, or something else */
  async nextMessage(): Promise<Record<string, unknown> | undefined> {
    const frame = await this.next();
    if (frame === undefined) return undefined;
    if (frame.kind !== FrameKind.message) throw broken("something else than a message");
    return parseMessage(frame);
  }

  /** Resolves when the other side can be sent more. @throws FlameBoxError `control-broken` when it has gone */
  async send(kind: FrameKind, payload: Uint8Array): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#socket.write(encode(kind, payload), (error) => {
        if (error === null || error === undefined) resolve();
        else reject(new FlameBoxError("control-broken", "the other side has gone", { cause: error }));
      });
    });
  }

  async sendMessage(message: object): Promise<void> {
    await this.send(FrameKind.message, Buffer.from(JSON.stringify(message)));
  }

  /** Nothing more is sent. */
  end(): void {
    this.#socket.end();
  }

  get isClosed(): boolean {
    return this.#socket.destroyed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket.destroy();
  }
}

/** @throws FlameBoxError `control-broken` */
export function parseMessage({ payload }: Frame): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(payload.toString("utf8"));
    if (typeof value === "object" && value !== null && !Array.isArray(value))
      return value as Record<string, unknown>;
  } catch {
    // Below.
  }
  throw broken("a message that is no JSON object");
}

/** An error as it goes over the wire, and what comes of it on the other side. */
export function packError(error: unknown): object {
  if (error instanceof FlameBoxError) {
    const { code, message, hint } = error;
    return { code, message, ...(hint !== undefined && { hint }) };
  }
  return { code: "internal-error", message: error instanceof Error ? error.message : String(error) };
}

export function unpackError(value: unknown): FlameBoxError {
  const { code, message, hint } = (value ?? {}) as Record<string, unknown>;
  return new FlameBoxError(
    typeof code === "string" ? code : "internal-error",
    typeof message === "string" ? message : "something went wrong in the container's process",
    typeof hint === "string" ? { hint } : {},
  );
}
