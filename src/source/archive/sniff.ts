/** What a stream is, by its first bytes. */
import { detectCompression, type Compression } from "../../formats/compression/decompress.ts";
import { invalidArchive } from "../local.ts";

export const HEAD_BYTES = 8;

/** Compressions that FlameBox has no decoder for. */
const OTHERS: readonly (readonly [magic: string, name: string, program: string])[] = [
  ["fd377a585a00", "xz", "xz -dc"],
  ["425a68", "bzip2", "bzip2 -dc"],
];

/** @throws SourceError `invalid-archive` for a compression that cannot be undone here */
export function compressionOfHead(head: Buffer, name: string): Compression {
  const found = OTHERS.find(([magic]) => head.toString("hex").startsWith(magic));
  if (found === undefined) return detectCompression(head);
  const [, compression, program] = found;
  const hint = `decompress it on the way: ${program} FILE | flamebox …`;
  throw invalidArchive(name, `it is compressed with ${compression}, which FlameBox does not read`, hint);
}

/** @returns the same bytes, and how they are compressed. @throws SourceError `invalid-archive` */
export async function sniff(
  stream: AsyncIterable<Uint8Array>,
  name: string,
): Promise<{ readonly compression: Compression; readonly all: AsyncIterable<Uint8Array> }> {
  const chunks = stream[Symbol.asyncIterator]();
  const first: Uint8Array[] = [];
  for (let length = 0; length < HEAD_BYTES; ) {
    const next = await chunks.next();
    if (next.done) break;
    first.push(next.value);
    length += next.value.length;
  }
  const all = (async function* () {
    yield* first;
    yield* { [Symbol.asyncIterator]: () => chunks };
  })();
  return { all, compression: compressionOfHead(Buffer.concat(first).subarray(0, HEAD_BYTES), name) };
}
