/** What files are, told by a checksum: a cheap one, as an emulated host takes minutes for SHA-256. */
import { createReadStream } from "node:fs";
import { crc32 } from "node:zlib";

const CHUNK_BYTES = 1 << 20;

/** CRC-32. @throws system errors */
export async function checksumOf(path: string): Promise<number> {
  let checksum = 0;
  for await (const chunk of createReadStream(path, { highWaterMark: CHUNK_BYTES }))
    checksum = crc32(chunk as Buffer, checksum);
  return checksum;
}
