/** An empty overlay: a disk that is another one's until it is written to. */
import { FlameBoxError } from "../../util/error.ts";
import {
  BYTES_A_LEVEL_2_TABLE,
  CLUSTER_BITS,
  CLUSTER_BYTES,
  HEADER,
  MAGIC,
  REFCOUNT,
  REFCOUNT_ORDER,
  REFCOUNT_TABLE_ENTRY,
  VERSION,
} from "./format.ts";

const SECTOR_BYTES = 512;
const MAX_SIZE_BYTES = 2 ** 44;
const TABLE_CLUSTERS = 3;

/** Pieces of a file; between them and behind them are zeroes. */
export interface SparseFile {
  readonly sizeBytes: number;
  readonly pieces: readonly { readonly offset: number; readonly bytes: Uint8Array }[];
}

/**
 * The file of an overlay over a disk of `sizeBytes`. It does not name that disk: whoever opens the overlay has to.
 * @throws FlameBoxError `invalid-disk-size` unless whole sectors, up to 16 TiB
 */
export function overlay(sizeBytes: number): SparseFile {
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes <= 0 || sizeBytes % SECTOR_BYTES !== 0)
    throw new FlameBoxError("invalid-disk-size", `a disk has whole sectors, not ${sizeBytes} bytes`);
  if (sizeBytes > MAX_SIZE_BYTES)
    throw new FlameBoxError("invalid-disk-size", `a disk has at most 16 TiB, not ${sizeBytes} bytes`);
  const level1Entries = Math.ceil(sizeBytes / BYTES_A_LEVEL_2_TABLE);
  const clusters = TABLE_CLUSTERS + Math.ceil((level1Entries * 8) / CLUSTER_BYTES);
  const header = new Uint8Array(HEADER.sizeBytes);
  HEADER.encode(header, 0, {
    magic: MAGIC,
    version: VERSION,
    clusterBits: CLUSTER_BITS,
    sizeBytes,
    level1Entries,
    level1Offset: TABLE_CLUSTERS * CLUSTER_BYTES,
    refcountTableOffset: CLUSTER_BYTES,
    refcountTableClusters: 1,
    refcountOrder: REFCOUNT_ORDER,
    headerLength: HEADER.sizeBytes,
  });
  const table = new Uint8Array(REFCOUNT_TABLE_ENTRY.sizeBytes);
  REFCOUNT_TABLE_ENTRY.encode(table, 0, { blockOffset: 2 * CLUSTER_BYTES });
  const counts = new Uint8Array(clusters * REFCOUNT.sizeBytes);
  for (let cluster = 0; cluster < clusters; cluster++)
    REFCOUNT.encode(counts, cluster * REFCOUNT.sizeBytes, { count: 1 });
  return {
    sizeBytes: clusters * CLUSTER_BYTES,
    pieces: [
      { offset: 0, bytes: header },
      { offset: CLUSTER_BYTES, bytes: table },
      { offset: 2 * CLUSTER_BYTES, bytes: counts },
    ],
  };
}
