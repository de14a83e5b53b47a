/**
 * Firecracker's metrics, through a FIFO of which this process keeps the last line: a file would grow by a line every
 * minute for as long as the machine lives. Nobody waits for anybody: what does not fit into the FIFO is lost.
 */
import { constants, openSync } from "node:fs";
import { Socket } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { runCommand } from "../../util/command.ts";
import { MachineError } from "../machine.ts";
import type { Place } from "../place.ts";
import { flushMetrics } from "./api/action.ts";
import type { ApiClient } from "./api/client.ts";
import { putMetrics } from "./api/metrics.ts";

const NAME = "metrics";
/** Usual are 10 KiB. */
const MAX_LINE_BYTES = 256 * 1024;
const ANSWER_MS = 5_000;
const POLL_MS = 5;

export class MetricsPipe implements AsyncDisposable {
  readonly #socket: Socket;
  #pieces: string[] = [];
  #pieceLength = 0;
  #lines = 0;
  #last: unknown;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.setEncoding("utf8");
    socket.on("data", (text: string) => this.#take(text));
    socket.on("error", () => {});
    // It does not keep the process alive.
    socket.unref();
  }

  #take(text: string): void {
    const [first = "", ...others] = text.split("\n");
    this.#keep(first);
    for (const next of others) {
      this.#line(this.#pieces.join(""));
      this.#pieces = [];
      this.#pieceLength = 0;
      this.#keep(next);
    }
  }

  /** A line without end is no line: its beginning is dropped, and so is what follows, as it is no JSON then. */
  #keep(piece: string): void {
    this.#pieceLength += piece.length;
    if (this.#pieceLength <= MAX_LINE_BYTES) this.#pieces.push(piece);
    else this.#pieces = [];
  }

  #line(line: string): void {
    try {
      this.#last = JSON.parse(line) as unknown;
      this.#lines += 1;
    } catch {
      // Cut off, or of another program's: the next one may be whole.
    }
  }

  /** What Firecracker counts now: an object, unchecked. @throws MachineError `metrics-refused` */
  async read(api: ApiClient): Promise<unknown> {
    const before = this.#lines;
    await flushMetrics(api);
    const deadline = performance.now() + ANSWER_MS;
    while (this.#lines === before) {
      if (performance.now() > deadline)
        throw new MachineError("metrics-refused", "Firecracker has written no metrics");
      await sleep(POLL_MS);
    }
    return this.#last;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket.destroy();
  }
}

/** Before the machine starts, or is restored. @throws MachineError `metrics-refused` */
export async function openMetrics(api: ApiClient, place: Place): Promise<MetricsPipe> {
  const path = join(place.dir, NAME);
  await runCommand("mkfifo", ["-m", "600", path]);
  await place.adopt(NAME);
  // Open for both, so that it has a reader and a writer from now on, whoever comes and goes.
  const fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
  const pipe = new MetricsPipe(new Socket({ fd, readable: true, writable: false }));
  try {
    await putMetrics(api, { metrics_path: NAME });
    return pipe;
  } catch (error) {
    await pipe[Symbol.asyncDispose]();
    throw error;
  }
}
