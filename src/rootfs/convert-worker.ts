/** The thread of a converter pool. Each job comes with a port of its own, and is fed and answered through it. */
import { parentPort, type MessagePort } from "node:worker_threads";
import { convertLayer, type ConvertOptions, type Growth } from "./convert.ts";
import { plainError, type FromWorker, type ToWorker } from "./convert-messages.ts";

class Inbox implements AsyncIterable<Uint8Array> {
  private readonly chunks: Uint8Array[] = [];
  private isOver = false;
  private wake: () => void = () => {};
  private readonly onTaken: () => void;

  constructor(onTaken: () => void) {
    this.onTaken = onTaken;
  }

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
        this.onTaken();
      } else if (this.isOver) return;
      else await new Promise<void>((resolve) => (this.wake = resolve));
    }
  }
}

function serve(port: MessagePort): void {
  const post = (message: FromWorker): void => port.postMessage(message);
  const inbox = new Inbox(() => post({ type: "wanted" }));
  const aborting = new AbortController();

  const convert = async (job: Extract<ToWorker, { type: "start" }>): Promise<void> => {
    const { compression, target, expectedDiffId, limits } = job;
    const onGrowth = (growth: Growth): void => post({ type: "grown", growth });
    const options: ConvertOptions = {
      signal: aborting.signal,
      expectedDiffId,
      limits,
      onGrowth,
      ownsInput: true,
      inThisThread: true,
    };
    try {
      post({ type: "done", result: await convertLayer(inbox, compression, target, options) });
    } catch (error) {
      post({ type: "failed", error: plainError(error) });
    }
  };

  port.on("message", (message: ToWorker) => {
    if (message.type === "chunk") inbox.put(message.chunk);
    else if (message.type === "end") inbox.end();
    else if (message.type === "abort") {
      aborting.abort();
      inbox.end();
    } else void convert(message);
  });
}

parentPort?.on("message", serve);
