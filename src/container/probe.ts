/** One health check, run in the container as a further process of it. */
import type { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { execInContainer, signalContainer } from "../agent/client.ts";
import type { AgentSession } from "../agent/session/session.ts";
import type { Process } from "../runtime-spec/config.ts";
import { MAX_OUTPUT_BYTES } from "./health.ts";
import type { Probe } from "./health.ts";

const KILL = 9;
/** How long a killed check may take to be gone. */
const KILL_GRACE_MS = 5_000;

export interface ProbeTarget {
  readonly session: AgentSession;
  readonly containerId: string;
  /** The container's own process: a check has its environment, directory, capabilities and limits. */
  readonly process: Process;
  readonly user: string;
  readonly groups: readonly string[];
}

/** Keeps the beginning, and reads on: a check that is not read would wait for ever. */
async function read(stream: Readable, into: Buffer[]): Promise<void> {
  let sizeBytes = 0;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    if (sizeBytes < MAX_OUTPUT_BYTES) into.push(Buffer.from(chunk.subarray(0, MAX_OUTPUT_BYTES - sizeBytes)));
    sizeBytes += chunk.length;
  }
}

export function containerProbe(target: ProbeTarget, args: readonly string[]): Probe {
  const { session, containerId, user, groups } = target;
  // It has no terminal, so no size of one either.
  const { consoleSize: _size, ...rest } = target.process;
  const process: Process = { ...rest, args, terminal: false };
  let count = 0;
  return async (signal) => {
    const exec = `health-${++count}`;
    const request = { id: containerId, exec, process, user, groups, stdin: false, terminal: false };
    const { streams, wait } = await execInContainer(session, request, { signal });
    const chunks: Buffer[] = [];
    const outputs = [streams.stdout, ...(streams.stderr ? [streams.stderr] : [])];
    const reading = Promise.all(outputs.map(async (stream) => await read(stream, chunks)));
    reading.catch(() => {});
    const ended = wait();
    ended.catch(() => {});
    const aborted = new Promise<undefined>((resolve) => {
      if (signal.aborted) resolve(undefined);
      signal.addEventListener("abort", () => resolve(undefined), { once: true });
    });
    let end = await Promise.race([ended, aborted]);
    if (end === undefined) {
      await signalContainer(session, containerId, KILL, exec).catch(() => {});
      end = await Promise.race([ended, sleep(KILL_GRACE_MS, undefined, { ref: false })]);
    }
    // What it left running may hold its output open; what has come is enough then.
    await Promise.race([reading, sleep(end === undefined ? 0 : KILL_GRACE_MS, undefined, { ref: false })]);
    for (const stream of outputs) stream.destroy();
    const exitCode = end?.exitCode ?? 128 + (end?.signal ?? KILL);
    return { exitCode, output: Buffer.concat(chunks).toString() };
  };
}
