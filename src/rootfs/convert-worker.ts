/** The thread of a converter pool: does one conversion after the other, fed by messages. */
import { parentPort } from "node:worker_threads";
import { convertLayer } from "./convert.ts";
import { plainError, type FromWorker, type ToWorker } from "./convert-messages.ts";

class Inbox implements AsyncIterable<Uint8Array> {
  private readonly chunks: Uint8Array[] = [];
  private isOver = false;
  private wake: () => void = () => {};

  put(chunk: Uint8Array): void {
    this.chunks.push(chunk);
    this.wake();
  }

  end(): void {
    this.isOver = true;
    this.wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    for (;;) {
      const chunk = this.chunks.shift();
      if (chunk !== undefined) {
        yield chunk;
        post({ type: "wanted" });
      } else if (this.isOver) return;
      else await new Promise<void>((resolve) => (this.wake = resolve));
    }
  }
}

function post(message: FromWorker): void {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- that is for windows
  parentPort?.postMessage(message);
}

let inbox = new Inbox();
let aborting = new AbortController();

async function convert(
  job: Extract<ToWorker, { type: "start" }>,
  source: Inbox,
  signal: AbortSignal,
): Promise<void> {
  const { compression, target, expectedDiffId, limits } = job;
  try {
    post({
      type: "done",
      result: await convertLayer(source, compression, target, { signal, expectedDiffId, limits }),
    });
  } catch (error) {
    post({ type: "failed", error: plainError(error) });
  }
}

parentPort?.on("message", (message: ToWorker) => {
  if (message.type === "chunk") inbox.put(message.chunk);
  else if (message.type === "end") inbox.end();
  else if (message.type === "abort") {
    aborting.abort();
    inbox.end();
  } else {
    inbox = new Inbox();
    aborting = new AbortController();
    void convert(message, inbox, aborting.signal);
  }
});
