/**
 * Conversions in threads of their own, so that the thread that talks to the registry is free for that. A worker
 * takes several layers at once: while it hashes, parses and writes one, libuv's pool inflates another.
 *
 *     source ─► batches of 256 KiB, transferred, at most 4 under way ─► port of the job ─► worker: convertLayer
 *
 * On two cores two workers with two layers each are the quickest: 12 % quicker than one with two, 5 % quicker than
 * two with one.
 */
import { existsSync } from "node:fs";
import { rm } from "node:fs/promises";
import { MessageChannel, Worker, type MessagePort } from "node:worker_threads";
import { ownBatches } from "../formats/compression/batch.ts";
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
  type Growth,
} from "./convert.ts";

const CHUNKS_UNDER_WAY = 4;

/**
 * What a thread leaves behind is short-lived and small. With what V8 allows by itself the new space of two threads grows
 * until a pull takes 12 MB more, and is no quicker.
 */
const RESOURCE_LIMITS = { maxYoungGenerationSizeMb: 2 };

export interface ConverterPoolOptions {
  /** Threads, default 2. */
  readonly workers?: number | undefined;
  /** Layers that one thread converts at once, default 2. */
  readonly layersPerWorker?: number | undefined;
  /** The compiled worker. Where it is missing (running from source), the pool converts in its own thread. */
  readonly workerUrl?: URL | undefined;
}

export interface ConverterPool extends AsyncDisposable {
  /** As `convertLayer`; waits while all workers are busy, without reading from the source. */
  readonly convertLayer: ConvertLayer;
  /** Starts the threads now, so that the first layers need not wait for them. */
  warm(): void;
}

/** Threads start with the first layers and do not keep the process alive when idle. */
export function createConverterPool(options: ConverterPoolOptions = {}): ConverterPool {
  const { workers = 2, layersPerWorker = 2 } = options;
  const workerUrl = options.workerUrl ?? new URL("../rootfs/convert-worker.js", import.meta.url);
  const slots = limit(workers * layersPerWorker);
  if (!existsSync(workerUrl)) {
    return {
      convertLayer: (...args) => slots(() => convertLayer(...args)),
      warm() {},
      async [Symbol.asyncDispose]() {},
    };
  }
  return new ThreadPool(workerUrl, slots, workers);
}

class ThreadPool implements ConverterPool {
  private readonly workerUrl: URL;
  private readonly slots: Limit;
  private readonly maxWorkers: number;
  /** Each with the number of its jobs. */
  private readonly workers = new Map<Worker, number>();

  constructor(workerUrl: URL, slots: Limit, maxWorkers: number) {
    this.workerUrl = workerUrl;
    this.slots = slots;
    this.maxWorkers = maxWorkers;
  }

  readonly convertLayer: ConvertLayer = (compressed, compression, target, options = {}) =>
    this.slots(async () => {
      options.signal?.throwIfAborted();
      const worker = this.leastBusy();
      this.count(worker, 1);
      try {
        return await new Job(worker, target).run(compressed, compression, options);
      } finally {
        this.count(worker, -1);
      }
    });

  warm(): void {
    while (this.workers.size < this.maxWorkers) this.start();
  }

  private leastBusy(): Worker {
    const [first] = Array.from(this.workers).sort(([, a], [, b]) => a - b);
    if (first !== undefined && (first[1] === 0 || this.workers.size >= this.maxWorkers)) return first[0];
    return this.start();
  }

  private count(worker: Worker, change: number): void {
    const jobs = this.workers.get(worker);
    if (jobs !== undefined) this.workers.set(worker, jobs + change);
  }

  private start(): Worker {
    const worker = new Worker(this.workerUrl, { execArgv: [], resourceLimits: RESOURCE_LIMITS });
    // The ports of its jobs keep the process alive, and nothing else of it.
    worker.unref();
    // Every job listens, and there may be more than ten.
    worker.setMaxListeners(0);
    this.workers.set(worker, 0);
    worker.once("exit", () => this.workers.delete(worker));
    return worker;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(Array.from(this.workers.keys(), (worker) => worker.terminate()));
  }
}

/** One conversion in one worker. */
class Job {
  private readonly worker: Worker;
  private readonly port: MessagePort;
  private readonly target: ConvertTarget;
  private credit = CHUNKS_UNDER_WAY;
  private hasFiles = false;
  private isOver = false;
  /** Of what is beside the worker: its source, and who is told of growth. */
  private ownFailure: { readonly error: unknown } | undefined;
  private wakeFeeder: () => void = () => {};

  constructor(worker: Worker, target: ConvertTarget) {
    this.worker = worker;
    this.target = target;
    const { port1, port2 } = new MessageChannel();
    this.port = port1;
    worker.postMessage(port2, [port2]);
  }

  async run(
    compressed: AsyncIterable<Uint8Array>,
    compression: Compression,
    { signal, expectedDiffId, limits, ownsInput, onGrowth }: ConvertOptions,
  ): Promise<ConvertedLayer> {
    const abort = (): void => this.post({ type: "abort" });
    const fail = (error: unknown): void => {
      this.ownFailure ??= { error };
      abort();
    };
    const outcome = this.outcome((growth) => {
      try {
        onGrowth?.(growth);
      } catch (error) {
        fail(error);
      }
    });
    signal?.addEventListener("abort", abort, { once: true });
    this.post({ type: "start", compression, target: this.target, expectedDiffId, limits });
    void this.feed(compressed, ownsInput).catch(fail);
    try {
      const converted = await outcome;
      if (this.ownFailure === undefined) return converted;
      // It had ended before it could be told to stop.
      this.hasFiles = true;
      await this.removeFiles();
      throw this.ownFailure.error;
    } catch (error) {
      // The worker knows only that it was told to stop.
      if (this.ownFailure !== undefined) throw this.ownFailure.error;
      signal?.throwIfAborted();
      throw error;
    } finally {
      this.isOver = true;
      this.wakeFeeder();
      this.port.close();
      signal?.removeEventListener("abort", abort);
    }
  }

  private outcome(onGrowth: (growth: Growth) => void): Promise<ConvertedLayer> {
    const { worker, port } = this;
    return new Promise<ConvertedLayer>((resolve, reject) => {
      const onMessage = (message: FromWorker): void => {
        if (message.type === "wanted") {
          this.hasFiles = true;
          this.credit++;
          this.wakeFeeder();
          return;
        }
        if (message.type === "grown") return onGrowth(message.growth);
        worker.off("error", onCrash).off("exit", onCrash);
        if (message.type === "done") resolve(message.result);
        else reject(revivedError(message.error));
      };
      const onCrash = (cause: unknown): void => {
        worker.off("error", onCrash).off("exit", onCrash);
        void this.removeFiles().finally(() => {
          reject(
            new ConversionError("layer-converter-died", "the thread that converted the layer died", {
              cause,
            }),
          );
        });
      };
      port.on("message", onMessage);
      worker.on("error", onCrash).on("exit", onCrash);
    });
  }

  /** Only what the worker is known to have made: it creates both before it takes a chunk. */
  private async removeFiles(): Promise<void> {
    if (!this.hasFiles) return;
    const { blobPath, headersPath, indexPath } = this.target;
    const paths = [blobPath, indexPath, ...(headersPath === undefined ? [] : [headersPath])];
    await Promise.all(paths.map((path) => rm(path, { force: true })));
  }

  private async feed(compressed: AsyncIterable<Uint8Array>, ownsInput = false): Promise<void> {
    for await (const chunk of ownBatches(compressed, { ownsInput })) {
      while (this.credit === 0 && !this.isOver)
        await new Promise<void>((resolve) => (this.wakeFeeder = resolve));
      if (this.isOver) return;
      this.credit--;
      this.post({ type: "chunk", chunk }, [chunk.buffer]);
    }
    this.post({ type: "end" });
  }

  private post(message: ToWorker, transfer: ArrayBuffer[] = []): void {
    if (!this.isOver) this.port.postMessage(message, transfer);
  }
}
