/**
 * A byte stream to the guest that is there before its connection is: who writes waits until somebody listens in the
 * guest, who destroys it ends the attempt.
 */
import type { Socket } from "node:net";
import { Duplex } from "node:stream";

type Done = (error?: Error | null) => void;

export class DialledStream extends Duplex {
  readonly #abort = new AbortController();
  #socket: Socket | undefined;
  /** A write or an end that came before the connection. */
  #waiting: ((socket: Socket) => void) | undefined;

  constructor(connect: (signal: AbortSignal) => Promise<Socket>) {
    super();
    connect(this.#abort.signal).then(
      (socket) => this.#adopt(socket),
      (error: unknown) => this.destroy(this.#abort.signal.aborted ? undefined : (error as Error)),
    );
  }

  #adopt(socket: Socket): void {
    if (this.destroyed) {
      socket.destroy();
      return;
    }
    this.#socket = socket;
    socket.on("data", (chunk: Buffer) => this.push(chunk) || socket.pause());
    socket.on("end", () => this.push(null));
    socket.on("error", (error) => this.destroy(error));
    socket.on("close", () => this.destroy());
    socket.resume();
    this.#waiting?.(socket);
    this.#waiting = undefined;
  }

  #connected(use: (socket: Socket) => void): void {
    if (this.#socket === undefined) this.#waiting = use;
    else use(this.#socket);
  }

  override _read(): void {
    this.#socket?.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: Done): void {
    this.#connected((socket) => socket.write(chunk, done));
  }

  override _final(done: Done): void {
    this.#connected((socket) => socket.end(done));
  }

  override _destroy(error: Error | null, done: Done): void {
    this.#abort.abort();
    this.#socket?.destroy();
    done(error);
  }
}
