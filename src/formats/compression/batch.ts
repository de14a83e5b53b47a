/**
 * Small chunks (a socket's 16 to 64 KiB) gathered into larger ones: each chunk costs a trip through libuv's
 * pool, whatever its size.
 */
export const BATCH_BYTES = 256 * 1024;

export async function* batched(
  source: AsyncIterable<Uint8Array>,
  batchBytes = BATCH_BYTES,
): AsyncGenerator<Uint8Array, void, undefined> {
  let parts: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of source) {
    if (chunk.length === 0) continue;
    parts.push(chunk);
    length += chunk.length;
    if (length < batchBytes) continue;
    yield parts.length === 1 ? chunk : Buffer.concat(parts, length);
    parts = [];
    length = 0;
  }
  if (length > 0) yield Buffer.concat(parts, length);
}
