/**
 * Bytes between this process's streams and the container's, with back pressure both ways: a slow reader slows
 * the process in the machine, and nothing piles up here.
 */
import type { Readable, Writable } from "node:stream";
import type { InputStream } from "../context.ts";
import { outputFailure } from "../failure.ts";
import type { KeySequence } from "./detach-keys.ts";

/** Resolves once the sink takes more; rejects when it broke (EPIPE, ENOSPC). */
function drained(sink: Writable): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (error?: Error) => {
      sink.off("drain", onDrain);
      sink.off("error", settle);
      sink.off("close", onClose);
      if (error === undefined) resolve();
      else reject(error);
    };
    const onDrain = () => settle();
    const onClose = () => settle(sink.errored ?? new Error("the output was closed"));
    sink.on("drain", onDrain);
    sink.on("error", settle);
    sink.on("close", onClose);
  });
}

/** Writes all of `data` and waits until the system has it. */
export function writeAll(sink: Writable, data: string | Uint8Array): Promise<void> {
  if (sink.errored) return Promise.reject(sink.errored);
  return new Promise((resolve, reject) => {
    sink.write(data, (error) => {
      if (error === null || error === undefined) resolve();
      else reject(error);
    });
  });
}

/**
 * Copies until the source ends, and resolves when the last byte has been handed to the system. `sinkName` is for
 * the error of a sink that takes no more; errors of the source are passed on as they are.
 */
export async function copyOutput(source: Readable, sink: Writable, sinkName: string): Promise<void> {
  let broken: Error | undefined;
  const onError = (error: Error) => {
    broken ??= error;
  };
  const put = async (job: () => Promise<void>) => {
    try {
      if (broken !== undefined) throw broken;
      await job();
    } catch (error) {
      throw outputFailure(error, sinkName);
    }
  };
  sink.on("error", onError);
  try {
    for await (const chunk of source as AsyncIterable<Uint8Array>) {
      await put(async () => {
        if (!sink.write(chunk)) await drained(sink);
      });
    }
    await put(() => writeAll(sink, ""));
  } finally {
    sink.off("error", onError);
  }
}

/** Keys that are not the container's. */
export interface LocalKeys {
  readonly sequence: KeySequence;
  readonly onPressed: () => void;
}

/**
 * Gives `source` to `target` until either ends, but for the local keys; the result lets go of `source`. That the process closes its
 * input, or never reads it, is no error: it is its business.
 */
export function feedInput(
  source: InputStream,
  target: Writable,
  onError: (error: Error) => void,
  local?: LocalKeys,
): () => void {
  let released = false;
  const give = (chunk: Uint8Array) => {
    if (chunk.length > 0 && !target.write(chunk)) source.pause();
  };
  const onData = (chunk: Uint8Array) => {
    if (local === undefined) return give(chunk);
    for (let keys = chunk; keys.length > 0; ) {
      const { pass, detach, rest } = local.sequence.feed(keys);
      give(pass);
      if (detach) local.onPressed();
      keys = rest;
    }
  };
  const onDrain = () => {
    if (!released) source.resume();
  };
  const onEnd = () => {
    if (local !== undefined) give(local.sequence.flush());
    target.end();
  };
  const onSourceError = (error: Error) => {
    onError(error);
    target.end();
  };
  const release = () => {
    if (released) return;
    released = true;
    source.off("data", onData);
    source.off("end", onEnd);
    source.off("error", onSourceError);
    // A late error of a stream that nobody reads any more must not end the process.
    source.on("error", () => {});
    source.pause();
  };
  target.on("drain", onDrain);
  target.on("error", release);
  target.on("close", release);
  source.on("end", onEnd);
  source.on("error", onSourceError);
  source.on("data", onData);
  return release;
}
