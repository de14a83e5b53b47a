import { release } from "./release.ts";

/**
 * Small chunks (a socket's 16 to 64 KiB) gathered into larger ones: each chunk costs a trip through libuv's
 * pool, whatever its size.
 */
export const BATCH_BYTES = 256 * 1024;

export async function* batched(
  source: AsyncIterable<Uint8Array>,
  batchBytes = BATCH_BYTES,
): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const { parts, length } of gathered(source, batchBytes)) {
    const [only] = parts;
    yield parts.length === 1 && only !== undefined ? only : joined(parts, length);
  }
}

/**
 * Batches with a buffer to themselves, which can be transferred to another thread. With `ownsInput`, the
 * source's chunks are nobody else's, and freed.
 */
export async function* ownBatches(
  source: AsyncIterable<Uint8Array>,
  options: { readonly batchBytes?: number | undefined; readonly ownsInput?: boolean | undefined } = {},
): AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined> {
  const { batchBytes = BATCH_BYTES, ownsInput = false } = options;
  for await (const { parts, length } of gathered(source, batchBytes)) {
    const batch = joined(parts, length);
    if (ownsInput) for (const part of parts) release(part);
    yield batch;
  }
}

interface Gathered {
  readonly parts: readonly Uint8Array[];
  readonly length: number;
}

async function* gathered(
  source: AsyncIterable<Uint8Array>,
  batchBytes: number,
): AsyncGenerator<Gathered, void, undefined> {
  let parts: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of source) {
    if (chunk.length === 0) continue;
    parts.push(chunk);
    length += chunk.length;
    if (length < batchBytes) continue;
    yield { parts, length };
    parts = [];
    length = 0;
  }
  if (length > 0) yield { parts, length };
}

function joined(parts: readonly Uint8Array[], length: number): Uint8Array<ArrayBuffer> {
  // Neither zeroed first nor part of a pool.
  const result = Buffer.allocUnsafeSlow(length);
  let at = 0;
  for (const part of parts) {
    result.set(part, at);
    at += part.length;
  }
  return result;
}
