/** Writing a file at places of our own choice, so that what is zero in it can stay a hole. */
import type { FileHandle } from "node:fs/promises";

/** Zeros are looked for in pieces of this size: below it, a hole is not worth its extent. */
const HOLE_BYTES = 64 * 1024;
const ZEROS = Buffer.alloc(HOLE_BYTES);

/** Writes the pieces that are not all zeros, joined to runs. The rest stays a hole of a new file. */
export async function writeNonZero(out: FileHandle, data: Uint8Array, position: number): Promise<void> {
  let runStart = 0;
  for (let at = 0; at < data.length; at += HOLE_BYTES) {
    const end = Math.min(at + HOLE_BYTES, data.length);
    if (Buffer.compare(data.subarray(at, end), ZEROS.subarray(0, end - at)) !== 0) continue;
    await writeAll(out, data.subarray(runStart, at), position + runStart);
    runStart = end;
  }
  await writeAll(out, data.subarray(runStart), position + runStart);
}

async function writeAll(out: FileHandle, data: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < data.length; ) {
    done += (await out.write(data, done, data.length - done, position + done)).bytesWritten;
  }
}
