/**
 * CRC-32C (Castagnoli) as EROFS and ext4 use it: bits reflected, starting from ones, not inverted at the end, so that
 * the checksum of two pieces is that of the second one with the first one's as its seed.
 */
const POLYNOMIAL = 0x82f6_3b78;

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
  return crc;
});

/** Of `data[start…end)`. */
export function crc32c(data: Uint8Array, seed = 0xffff_ffff, start = 0, end = data.length): number {
  let crc = seed;
  for (let at = start; at < end; at++) crc = (TABLE[(crc ^ (data[at] ?? 0)) & 0xff] ?? 0) ^ (crc >>> 8);
  return crc >>> 0;
}
