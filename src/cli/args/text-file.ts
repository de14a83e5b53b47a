/** Small text files that flags name: read whole, and not further than is sensible. */
import { open } from "node:fs/promises";
import { UsageError } from "../failure.ts";

export const MAX_FILE_BYTES = 1024 * 1024;

/** `what` begins the messages: `env file`. @throws UsageError */
export async function readTextFile(path: string, what: string): Promise<string> {
  const handle = await open(path, "r").catch((error: Error) => {
    throw new UsageError(`${what} '${path}' cannot be read: ${error.message}`);
  });
  try {
    // A FIFO or a device has no size to trust, so what is read is counted.
    const chunks: Buffer[] = [];
    let sizeBytes = 0;
    for await (const chunk of handle.createReadStream({ autoClose: false }) as AsyncIterable<Buffer>) {
      sizeBytes += chunk.length;
      if (sizeBytes > MAX_FILE_BYTES)
        throw new UsageError(`${what} '${path}' has more than ${MAX_FILE_BYTES} bytes`);
      chunks.push(chunk);
    }
    try {
      return new TextDecoder("utf-8", { fatal: true }).decode(Buffer.concat(chunks));
    } catch {
      throw new UsageError(`${what} '${path}' is not UTF-8`);
    }
  } finally {
    await handle.close();
  }
}
