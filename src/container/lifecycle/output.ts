/** A container's output on its way: to its log, and to whoever is attached. */
import type { Readable } from "node:stream";
import type { Attachments } from "../control/attached.ts";
import type { LogStream } from "../log/format.ts";
import type { LogWriter } from "../log/writer.ts";
import type { Container } from "../running.ts";

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
