/**
 * Conversions in threads of their own, a layer each: inflating already runs beside JavaScript, but hashing,
 * parsing and writing do not run beside each other in one thread.
 *
 *     source ─► batches of 256 KiB, transferred, at most 4 under way ─► worker: convertLayer
 */
import { existsSync } from "node:fs";
import { rm } from "node:fs/promises";
import { Worker } from "node:worker_threads";
import { batched } from "../formats/compression/batch.ts";
import type { Compression } from "../formats/compression/decompress.ts";
import { limit, type Limit } from "../util/limit.ts";
import { ConversionError } from "./conversion-error.ts";
import { revivedError, type FromWorker, type ToWorker } from "./convert-messages.ts";
import {
  convertLayer,
  type ConvertedLayer,
  type ConvertLayer,
  type ConvertOptions,
  type ConvertTarget,
} from "./convert.ts";

const CHUNKS_UNDER_WAY = 4;

export interface ConverterPoolOptions {
  /** Threads, and so layers that are converted at once. */
  readonly workers: number;
  /** The compiled worker. Where it is missing (running from source), the pool converts in its own thread. */
  readonly workerUrl?: URL | undefined;
}

export interface ConverterPool extends AsyncDisposable {
  /** As `convertLayer`; waits while all workers are busy, without reading from the source. */
  readonly convertLayer: ConvertLayer;
}

/** Threads start with the first layers and do not keep the process alive when idle. */
export function createConverterPool(options: ConverterPoolOptions): ConverterPool {
  const workerUrl = options.workerUrl ?? new URL("./convert-worker.js", import.meta.url);
  const slots = limit(options.workers);
  if (!existsSync(workerUrl)) {
    return {
      convertLayer: (...args) => slots(() => convertLayer(...args)),
      async [Symbol.asyncDispose]() {},
    };
  }
  return new ThreadPool(workerUrl, slots);
}

class ThreadPool implements ConverterPool {
  private readonly workerUrl: URL;
  private readonly slots: Limit;
  private readonly idle: Worker[] = [];
  private readonly all = new Set<Worker>();

  constructor(workerUrl: URL, slots: Limit) {
    this.workerUrl = workerUrl;
    this.slots = slots;
  }

  readonly convertLayer: ConvertLayer = (compressed, compression, target, options = {}) =>
    this.slots(async () => {
      options.signal?.throwIfAborted();
      const worker = this.idle.pop() ?? this.start();
      const job = new Job(worker, target);
      worker.ref();
      try {
        return await job.run(compressed, compression, options);
      } finally {
        worker.unref();
        if (this.all.has(worker)) this.idle.push(worker);
      }
    });

  private start(): Worker {
    const worker = new Worker(this.workerUrl, { execArgv: [] });
    this.all.add(worker);
    worker.once("exit", () => this.all.delete(worker));
    return worker;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(Array.from(this.all, (worker) => worker.terminate()));
  }
}

/** One conversion in one worker. */
class Job {
  private readonly worker: Worker;
  private readonly target: ConvertTarget;
  private credit = CHUNKS_UNDER_WAY;
  private hasFiles = false;
  private isOver = false;
  private sourceFailure: { readonly error: unknown } | undefined;
  private wakeFeeder: () => void = () => {};

  constructor(worker: Worker, target: ConvertTarget) {
    this.worker = worker;
    this.target = target;
  }

  async run(
    compressed: AsyncIterable<Uint8Array>,
    compression: Compression,
    { signal, expectedDiffId, limits }: ConvertOptions,
  ): Promise<ConvertedLayer> {
    const outcome = this.outcome();
    const abort = (): void => this.post({ type: "abort" });
    signal?.addEventListener("abort", abort, { once: true });
    this.post({ type: "start", compression, target: this.target, expectedDiffId, limits });
    void this.feed(compressed).catch((error: unknown) => {
      this.sourceFailure = { error };
      abort();
    });
    try {
      return await outcome;
    } catch (error) {
      // The worker knows only that it was told to stop.
      if (this.sourceFailure !== undefined) throw this.sourceFailure.error;
      signal?.throwIfAborted();
      throw error;
    } finally {
      this.isOver = true;
      this.wakeFeeder();
      signal?.removeEventListener("abort", abort);
    }
  }

  private outcome(): Promise<ConvertedLayer> {
    const { worker } = this;
    return new Promise<ConvertedLayer>((resolve, reject) => {
      const onMessage = (message: FromWorker): void => {
        if (message.type === "wanted") {
          this.hasFiles = true;
          this.credit++;
          this.wakeFeeder();
          return;
        }
        worker.off("message", onMessage).off("error", onCrash).off("exit", onCrash);
        if (message.type === "done") resolve(message.result);
        else reject(revivedError(message.error));
      };
      const onCrash = (cause: unknown): void => {
        worker.off("message", onMessage).off("error", onCrash).off("exit", onCrash);
        void this.removeFiles().finally(() => {
          reject(
            new ConversionError("layer-converter-died", "the thread that converted the layer died", {
              cause,
            }),
          );
        });
      };
      worker.on("message", onMessage).on("error", onCrash).on("exit", onCrash);
    });
  }

  /** Only what the worker is known to have made: it creates both before it takes a chunk. */
  private async removeFiles(): Promise<void> {
    if (!this.hasFiles) return;
    const { blobPath, indexPath } = this.target;
    await Promise.all([rm(blobPath, { force: true }), rm(indexPath, { force: true })]);
  }

  private async feed(compressed: AsyncIterable<Uint8Array>): Promise<void> {
    for await (const batch of batched(compressed)) {
      while (this.credit === 0 && !this.isOver)
        await new Promise<void>((resolve) => (this.wakeFeeder = resolve));
      if (this.isOver) return;
      this.credit--;
      // A copy with a buffer to itself, for that is what can be transferred; the source's may be shared.
      const chunk = new Uint8Array(batch);
      this.post({ type: "chunk", chunk }, [chunk.buffer]);
    }
    this.post({ type: "end" });
  }

  private post(message: ToWorker, transfer: ArrayBuffer[] = []): void {
    if (!this.isOver) this.worker.postMessage(message, transfer);
  }
}
