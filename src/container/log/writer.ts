/** Writes a container's log: `container.log`, rotated. */
import { join } from "node:path";
import { messageOf } from "../../util/error.ts";
import type { LogStream } from "./format.ts";
import { encode, timestamp } from "./format.ts";
import type { LogLimits } from "./rotating.ts";
import { RotatingFile } from "./rotating.ts";

export const LOG_FILE = "container.log";

export class LogWriter implements AsyncDisposable {
  readonly #file: RotatingFile;
  /** Told once: a log that cannot be written must not end the container. */
  readonly #onProblem: (message: string) => void;
  #broken = false;
  #last: Promise<void> = Promise.resolve();
  #room: Buffer = Buffer.alloc(0);

  constructor(dir: string, limits: LogLimits, onProblem: (message: string) => void) {
    this.#file = new RotatingFile(join(dir, LOG_FILE), limits);
    this.#onProblem = onProblem;
  }

  /** Resolves when the system has it. In the order of the calls. */
  async write(stream: LogStream, bytes: Buffer): Promise<void> {
    const time = timestamp(performance.timeOrigin + performance.now());
    this.#last = this.#last.then(async () => await this.#append(stream, time, bytes));
    await this.#last;
  }

  async #append(stream: LogStream, time: string, bytes: Buffer): Promise<void> {
    if (this.#broken) return;
    const { room, length } = encode(stream, time, bytes, this.#room);
    this.#room = room;
    try {
      await this.#file.append(room.subarray(0, length));
    } catch (error) {
      this.#broken = true;
      this.#onProblem(`the container's log ends here: ${messageOf(error)}`);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#last;
    await this.#file[Symbol.asyncDispose]();
  }
}
