/**
 * The guest's end of a connection, as a script's author wants it: it behaves up to a stage, and from there on
 * does what the script says.
 *
 *     connected ─HELLO─► greeted ─configure─► configured ─create─► created ─start─► running
 *
 * At each stage the host waits: for HELLO, for an answer to the request `pending`, or for the end.
 */
import type { Socket } from "node:net";
import { setImmediate as turn } from "node:timers/promises";
import type { FrameType } from "../../src/agent/protocol/frame.ts";
import {
  decodeJson,
  encodeFrame,
  encodeJson,
  FrameDecoder,
  FrameType as Type,
  INITIAL_CREDIT_BYTES,
} from "../../src/agent/protocol/frame.ts";

export const STAGES = ["connected", "greeted", "configured", "created", "running"] as const;
export type Stage = (typeof STAGES)[number];

interface Request {
  readonly id: number;
  readonly method: string;
  readonly params: Record<string, unknown>;
}

export interface HeaderFields {
  readonly length?: number;
  readonly type?: number;
  readonly flags?: number;
  readonly reserved?: number;
  readonly id?: number;
}

/** A frame's header with whatever in it. */
export function header({ length = 0, type = 7, flags = 0, reserved = 0, id = 1 }: HeaderFields): Buffer {
  const bytes = Buffer.alloc(12);
  bytes.writeUInt32LE(length, 0);
  bytes.writeUInt8(type, 4);
  bytes.writeUInt8(flags, 5);
  bytes.writeUInt16LE(reserved, 6);
  bytes.writeUInt32LE(id, 8);
  return bytes;
}

/** A frame that the encoder would refuse, or text that no object gives. */
export function rawFrame(type: number, id: number, payload: string | Uint8Array): Buffer {
  const bytes = Buffer.from(payload);
  return Buffer.concat([header({ type, id, length: bytes.length }), bytes]);
}

export class Guest {
  readonly socket: Socket;
  /** The request that the host waits for. */
  pending = 0;
  containerId = "";
  stdio = { stdin: 0, stdout: 0, stderr: 0 };
  /** False: pings are left unanswered. */
  answersPings = true;
  /** Every byte by itself. */
  dribbles = false;
  /** What the host has allowed beyond the first window, by stream. */
  readonly #credit = new Map<number, number>();
  #credited: (() => void) | undefined;
  #sending = Promise.resolve();
  #hello: (() => void) | undefined;
  readonly #greeted = new Promise<void>((resolve) => (this.#hello = resolve));
  readonly #requests: Request[] = [];
  #arrived: (() => void) | undefined;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.setNoDelay(true);
    socket.on("error", () => {});
    const decoder = new FrameDecoder();
    socket.on("data", (chunk: Buffer) => {
      for (const { type, id, payload } of decoder.decode(chunk)) this.#take(type, id, payload);
    });
  }

  #take(type: FrameType, id: number, payload: Buffer): void {
    if (type === Type.hello) this.#hello?.();
    if (type === Type.credit) {
      this.#credit.set(id, (this.#credit.get(id) ?? 0) + payload.readUInt32LE(0));
      this.#credited?.();
    }
    if (type !== Type.request) return;
    const request = { id, ...decodeJson({ type, id, payload }) } as Request;
    if (request.method === "system.ping") {
      if (this.answersPings) this.respond(id, {});
      return;
    }
    this.#requests.push(request);
    this.#arrived?.();
  }

  /** The next request but pings. Waits for ever when there is none. */
  async request(): Promise<Request> {
    for (;;) {
      const request = this.#requests.shift();
      if (request !== undefined) return request;
      await new Promise<void>((resolve) => (this.#arrived = resolve));
    }
  }

  /** Behaves until the host waits at `stage`. */
  async reach(stage: Stage): Promise<void> {
    const last = STAGES.indexOf(stage);
    await this.#greeted;
    if (last >= 1) {
      this.hello();
      this.pending = (await this.request()).id;
    }
    if (last >= 2) await this.takeCreation();
    if (last >= 3) {
      this.respond(this.pending, { pid: 42 });
      await this.takeClock();
      this.pending = (await this.request()).id;
    }
    if (last >= 4) this.respond(this.pending, {});
  }

  /** Answers the configuration, and notes what the container is called. */
  async takeCreation(): Promise<void> {
    this.respond(this.pending, {});
    const { id, params } = await this.request();
    this.pending = id;
    this.containerId = String(params["id"]);
    this.stdio = { ...this.stdio, ...(params["stdio"] as object) };
  }

  /** The clock is set once more, right before the start. */
  async takeClock(): Promise<void> {
    this.respond((await this.request()).id, {});
  }

  hello(fields: object = {}): void {
    this.send(Type.hello, 0, { generation: 3, agent: "test", kernel: "6.12", ...fields });
  }

  respond(id: number, result: unknown): void {
    this.send(Type.response, id, { result });
  }

  event(value: unknown): void {
    this.raw(rawFrame(Type.event, 0, JSON.stringify(value)));
  }

  /** `container.exit`, with the outputs' EOF before it as it should be. */
  exit(fields: object, { eof = true } = {}): void {
    if (eof) for (const stream of [this.stdio.stdout, this.stdio.stderr]) this.send(Type.eof, stream);
    this.event({ event: "container.exit", id: this.containerId, ...fields });
  }

  send(type: FrameType, id: number, payload: object | Uint8Array = Buffer.alloc(0)): void {
    this.raw(payload instanceof Uint8Array ? encodeFrame(type, id, payload) : encodeJson(type, id, payload));
  }

  credit(id: number, bytes: number): void {
    const payload = Buffer.alloc(4);
    payload.writeUInt32LE(bytes);
    this.send(Type.credit, id, payload);
  }

  raw(bytes: Uint8Array): void {
    if (!this.dribbles) {
      this.socket.write(bytes);
      return;
    }
    this.#sending = this.#dribble(this.#sending, bytes);
  }

  async #dribble(before: Promise<void>, bytes: Uint8Array): Promise<void> {
    await before;
    for (const byte of bytes) {
      this.socket.write(Buffer.of(byte));
      await turn();
    }
  }

  /** Output as a guest should send it: within the credit, in frames of `frameBytes`. */
  async write(id: number, totalBytes: number, frameBytes: number): Promise<void> {
    const frame = encodeFrame(Type.data, id, Buffer.alloc(frameBytes, 0x2e));
    let sent = 0;
    while (sent < totalBytes) {
      const allowed = INITIAL_CREDIT_BYTES + (this.#credit.get(id) ?? 0) - sent;
      const frames = Math.floor(Math.min(allowed, totalBytes - sent) / frameBytes);
      if (frames === 0) await new Promise<void>((resolve) => (this.#credited = resolve));
      else await this.flood(frame, frames);
      sent += frames * frameBytes;
    }
  }

  /** The same frame again and again, in large writes, for as long as the host takes it or `times` is reached. */
  async flood(frame: Uint8Array, times: number): Promise<void> {
    const perWrite = Math.max(1, Math.floor(262_144 / frame.length));
    const block = Buffer.concat(Array.from({ length: perWrite }, () => frame));
    for (let sent = 0; sent < times && !this.socket.destroyed; sent += perWrite) {
      const part = block.subarray(0, Math.min(perWrite, times - sent) * frame.length);
      await new Promise<void>((resolve) => {
        this.socket.once("close", resolve);
        this.socket.write(part, () => {
          this.socket.off("close", resolve);
          resolve();
        });
      });
    }
  }
}
