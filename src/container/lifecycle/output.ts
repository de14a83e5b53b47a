/** A container's output on its way: to its log, and to whoever is attached. */
import type { Readable } from "node:stream";
import type { Attachments } from "../control/attached.ts";
import type { LogStream } from "../log/format.ts";
import { LogWriter } from "../log/writer.ts";
import type { Container } from "../running.ts";
import type { LogOptions } from "./record.ts";

/** @param onProblem told once @returns undefined for a container that keeps none */
export function openLog(
  dir: string,
  log: LogOptions,
  onProblem: (message: string) => void,
): LogWriter | undefined {
  return log.driver === "none" ? undefined : new LogWriter(dir, log, onProblem);
}

/** Resolves when both outputs have ended. @throws FlameBoxError `machine-lost` */
export async function takeOutput(
  container: Pick<Container, "stdout" | "stderr">,
  attachments: Attachments,
  writer: LogWriter | undefined,
): Promise<void> {
  const take = async (source: Readable, stream: LogStream): Promise<void> => {
    for await (const chunk of source as AsyncIterable<Buffer>)
      await Promise.all([writer?.write(stream, chunk), attachments.write(stream, chunk)]);
  };
  await Promise.all([take(container.stdout, "stdout"), take(container.stderr, "stderr")]);
}
