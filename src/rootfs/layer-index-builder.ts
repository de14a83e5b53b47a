/**
 * Grows a layer index row by row. The rows' columns are in memory (60 bytes a row); the heap goes to a sink,
 * which may be a file, because inline data can be a few hundred megabytes in a layer of small files.
 */
import { PIECE_BYTES } from "../util/piece.ts";
import { BLOCK_SIZE, DataKind, NO_XATTRS, type EntryKind, type LayerIndex } from "./layer-index.ts";
import { COLUMNS, type ColumnName, type Columns } from "./layer-index-file.ts";

export interface HeapSink {
  /** Bytes appended so far. */
  readonly length: number;
  append(bytes: Uint8Array, start: number, end: number): void;
}

export interface LayerRow {
  readonly kind: EntryKind;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly mtimeSeconds?: number;
  readonly mtimeNanoseconds?: number;
  readonly sizeBytes?: number;
  readonly name: Uint8Array;
  readonly target?: Uint8Array;
  /** As LayerIndex.xattrOffset describes it. */
  readonly xattrs?: Uint8Array | undefined;
  readonly rdevMajor?: number;
  readonly rdevMinor?: number;
}

const FIRST_CAPACITY = 256;
const EMPTY = new Uint8Array(0);

export class LayerIndexBuilder {
  private readonly heap: HeapSink;
  private capacity = FIRST_CAPACITY;
  private count = 0;
  private columns: Columns = allocate(FIRST_CAPACITY);

  constructor(heap: HeapSink) {
    this.heap = heap;
  }

  get entryCount(): number {
    return this.count;
  }

  /** Adds a row without data; its name, target and xattrs are appended to the heap in this order. */
  add(row: LayerRow): void {
    if (this.count === this.capacity) this.grow();
    const i = this.count++;
    const { columns } = this;
    const { name, target = EMPTY, xattrs } = row;
    columns.kind[i] = row.kind;
    columns.mode[i] = row.mode ?? 0;
    columns.uid[i] = row.uid ?? 0;
    columns.gid[i] = row.gid ?? 0;
    columns.mtimeSeconds[i] = row.mtimeSeconds ?? 0;
    columns.mtimeNanoseconds[i] = row.mtimeNanoseconds ?? 0;
    columns.sizeBytes[i] = row.sizeBytes ?? 0;
    columns.nameOffset[i] = this.put(name);
    columns.nameLength[i] = name.length;
    columns.targetOffset[i] = target.length === 0 ? 0 : this.put(target);
    columns.targetLength[i] = target.length;
    columns.xattrOffset[i] = xattrs === undefined ? NO_XATTRS : this.put(xattrs);
    columns.rdevMajor[i] = row.rdevMajor ?? 0;
    columns.rdevMinor[i] = row.rdevMinor ?? 0;
  }

  private put(bytes: Uint8Array): number {
    const offset = this.heap.length;
    this.heap.append(bytes, 0, bytes.length);
    return offset;
  }

  /** The last row's data is what is appended to the heap from now on. */
  setInline(): void {
    this.setData(DataKind.inline, this.heap.length);
  }

  /** The last row's data begins at this block of the blob. */
  setExtent(block: number): void {
    this.setData(DataKind.extent, block);
  }

  /** The last row is sparse. `blocks` has a block number or HOLE a chunk. */
  setChunks(chunkBits: number, blocks: Uint32Array): void {
    const bytes = Buffer.alloc(4 + 4 * blocks.length);
    bytes.writeUInt32LE(chunkBits, 0);
    for (const [i, block] of blocks.entries()) bytes.writeUInt32LE(block, 4 + 4 * i);
    this.setData(DataKind.chunks, this.put(bytes));
  }

  private setData(kind: number, offset: number): void {
    this.columns.dataKind[this.count - 1] = kind;
    this.columns.dataOffset[this.count - 1] = offset;
  }

  /** The columns, cut to the rows there are. */
  finish(): Columns {
    return mapColumns((name) => this.columns[name].subarray(0, this.count) as never);
  }

  private grow(): void {
    this.capacity *= 2;
    const larger = allocate(this.capacity);
    for (const [name] of COLUMNS) larger[name].set(this.columns[name]);
    this.columns = larger;
  }
}

function allocate(capacity: number): Columns {
  return mapColumns((_, type) => new type(capacity) as never);
}

function mapColumns<N extends ColumnName>(
  make: (name: N, type: (typeof COLUMNS)[number][1]) => Columns[N],
): Columns {
  return Object.fromEntries(
    COLUMNS.map(([name, type]) => [name, make(name as N, type)]),
  ) as unknown as Columns;
}

function pieces(blobBlocks: number): number {
  return Math.ceil((blobBlocks * BLOCK_SIZE) / PIECE_BYTES);
}

/** A heap in memory, and the index that a builder on it makes. For small layers and tests. */
export class MemoryHeap implements HeapSink {
  private buffer = new Uint8Array(4096);
  length = 0;

  append(bytes: Uint8Array, start: number, end: number): void {
    const needed = this.length + end - start;
    if (needed > this.buffer.length) {
      const larger = new Uint8Array(Math.max(needed, this.buffer.length * 2));
      larger.set(this.buffer);
      this.buffer = larger;
    }
    this.buffer.set(bytes.subarray(start, end), this.length);
    this.length = needed;
  }

  indexOf(
    builder: LayerIndexBuilder,
    blobBlocks: number,
    blobSums = new Uint32Array(pieces(blobBlocks)),
  ): LayerIndex {
    return {
      entryCount: builder.entryCount,
      blobBlocks,
      blobSums,
      heap: this.buffer.slice(0, this.length),
      ...builder.finish(),
    };
  }
}
