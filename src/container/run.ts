/** The common case: start, feed, collect or pass on what it says, wait, and leave nothing behind. */
import { Readable } from "node:stream";
import type { Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { FlameBoxError, systemCode } from "../util/error.ts";
import type { RunOptions, RunResult } from "./options.ts";
import { start } from "./start.ts";

const DEFAULT_MAX_OUTPUT_BYTES = 16 << 20;

/**
 * Runs one container to its end.
 * @returns the exit (a non-zero code is a result, not an error) and the collected output
 * @throws FlameBoxError as `start`; `output-too-large` when collected output passes `maxOutputBytes`
 */
export async function run(image: string, options: RunOptions = {}): Promise<RunResult> {
  const { stdin, stdout, stderr, maxOutputBytes = DEFAULT_MAX_OUTPUT_BYTES, signal } = options;
  const interactive = options.interactive ?? stdin !== undefined;
  await using container = await start(image, { ...options, interactive });
  const feeding = container.stdin && stdin !== undefined ? feed(stdin, container.stdin) : undefined;
  if (feeding === undefined) container.stdin?.end();
  feeding?.catch(() => {});
  const outputs = Promise.all([
    take(container.stdout, stdout, maxOutputBytes, "stdout"),
    take(container.stderr, stderr, maxOutputBytes, "stderr"),
  ]);
  outputs.catch(() => {});
  const lost = new Promise<never>((_resolve, reject) => {
    container.wait({ signal }).catch(reject);
  });
  // Output first: the exit is only told once it is all here, but a reader who is slow has yet to take it.
  const [out, err] = await Promise.race([outputs, lost]);
  const exit = await container.wait({ signal });
  return { ...exit, stdout: out, stderr: err, bootRetries: container.bootRetries };
}

/** A process that stops reading early is no error of its feeder. */
async function feed(source: Readable | Uint8Array | string, target: Writable): Promise<void> {
  const readable = source instanceof Readable ? source : Readable.from([source]);
  await pipeline(readable, target);
}

async function take(
  source: Readable,
  target: Writable | undefined,
  maxBytes: number,
  name: string,
): Promise<Buffer> {
  if (target !== undefined) {
    try {
      // The caller's stream is the caller's to end.
      await pipeline(source, target, { end: false });
    } catch (error) {
      // A reader that went away (head, less) is the end of interest, not a failure.
      if (systemCode(error) !== "EPIPE") throw error;
    }
    return Buffer.alloc(0);
  }
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  for await (const chunk of source) {
    const bytes = chunk as Buffer;
    sizeBytes += bytes.length;
    if (sizeBytes > maxBytes)
      throw new FlameBoxError(
        "output-too-large",
        `the container wrote more than ${maxBytes} bytes to ${name}`,
        {
          hint: `pass a stream as ${name}, or raise maxOutputBytes`,
        },
      );
    chunks.push(bytes);
  }
  return Buffer.concat(chunks);
}
