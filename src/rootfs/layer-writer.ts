/**
 * Tar entries in, layer blob and index out: what an entry means in a layer, and where its data goes.
 *
 *     file ≤ INLINE_LIMIT   → heap of the index
 *     file                  → blob, from the next 4 KiB block on, zero-filled to a block
 *     sparse file           → blob, in chunks; a chunk without data has no block
 *     anything else         → a row of the index only
 */
import { printable } from "../formats/tar/error.ts";
import type { TarEntry } from "../formats/tar/format.ts";
import type { TarHandler } from "../formats/tar/reader.ts";
import { ConversionError } from "./conversion-error.ts";
import { canonicalName, canonicalTarget, meaningOf } from "./entry-name.ts";
import type { LayerFile } from "./layer-file.ts";
import { Place } from "./layer-headers.ts";
import { LayerIndexBuilder, type HeapSink, type LayerRow } from "./layer-index-builder.ts";
import { MAX_HEAP_BYTES, MAX_MAJOR, MAX_MINOR } from "./layer-index-file.ts";
import { BLOCK_SIZE, EntryKind, HOLE, INLINE_LIMIT } from "./layer-index.ts";
import { encodeXattrs } from "./layer-xattrs.ts";

export interface LayerLimits {
  /** Entries of the archive. */
  readonly maxEntries: number;
  /** Names, links, xattrs and small files. */
  readonly maxHeapBytes: number;
  /** The blob with its holes. */
  readonly maxBlobBytes: number;
}

/** Linux has no owner -1: it means "leave as it is". */
const MAX_OWNER_ID = 0xffff_fffe;
const MAX_TARGET_BYTES = 4095;
/** A sparse file has about this many chunks. */
const SPARSE_CHUNKS = 1024;

/** Told where each run of `chunk` went; what it is not told of is kept nowhere. */
export type OnStored = (place: Place, offset: number, start: number, end: number) => void;

const Destination = { nowhere: 0, heap: 1, extent: 2, chunks: 3 } as const;
type Destination = (typeof Destination)[keyof typeof Destination];

/** The heap in the index file, from `startsAt` on. */
class FileHeap implements HeapSink {
  private readonly file: LayerFile;
  private readonly startsAt: number;
  private readonly maxBytes: number;

  constructor(file: LayerFile, maxBytes: number) {
    this.file = file;
    this.startsAt = file.position;
    this.maxBytes = Math.min(maxBytes, MAX_HEAP_BYTES);
  }

  get length(): number {
    return this.file.position - this.startsAt;
  }

  append(bytes: Uint8Array, start: number, end: number): void {
    this.requireRoom(end - start);
    this.file.write(bytes, start, end);
  }

  appendZeros(count: number): void {
    this.requireRoom(count);
    this.file.skipTo(this.file.position + count);
  }

  private requireRoom(bytes: number): void {
    if (this.length + bytes <= this.maxBytes) return;
    throw tooLarge(`its names, attributes and small files take more than ${this.maxBytes} bytes`);
  }
}

export class LayerWriter implements TarHandler {
  readonly builder: LayerIndexBuilder;
  private readonly blob: LayerFile;
  private readonly heap: FileHeap;
  private readonly limits: LayerLimits;
  private readonly onStored: OnStored | undefined;
  /** Blocks of the blob that are spoken for. */
  private blobBlockCount = 0;
  private droppedXattrCount = 0;

  private destination: Destination = Destination.nowhere;
  /** Heap: where the data starts. Extent: the same in the blob, in bytes. */
  private dataStart = 0;
  private sizeBytes = 0;
  private chunkBytes = 0;
  private chunks: Uint32Array = new Uint32Array(0);

  constructor(blob: LayerFile, index: LayerFile, limits: LayerLimits, onStored?: OnStored) {
    this.blob = blob;
    this.onStored = onStored;
    this.limits = limits;
    this.heap = new FileHeap(index, limits.maxHeapBytes);
    this.builder = new LayerIndexBuilder(this.heap);
  }

  get blobBlocks(): number {
    return this.blobBlockCount;
  }

  get heapBytes(): number {
    return this.heap.length;
  }

  get droppedXattrs(): number {
    return this.droppedXattrCount;
  }

  entry(entry: TarEntry): void {
    this.destination = Destination.nowhere;
    const name = canonicalName(entry.name);
    const meaning = meaningOf(name);
    if (meaning.kind === "ignored") return;
    if (this.builder.entryCount >= this.limits.maxEntries) {
      throw tooLarge(`it has more than ${this.limits.maxEntries} entries`);
    }
    if (meaning.kind === "entry") this.addEntry(entry, name);
    else this.builder.add({ kind: EntryKind[meaning.kind], name: meaning.target });
  }

  private addEntry(entry: TarEntry, name: Uint8Array): void {
    const kind = EntryKind[entry.type];
    if (name.length === 0 && kind !== EntryKind.directory) {
      throw new ConversionError(
        "layer-root-not-directory",
        `the layer replaces the root directory by a ${entry.type}`,
      );
    }
    const { uid, gid } = entry;
    if (uid > MAX_OWNER_ID || gid > MAX_OWNER_ID) {
      const what = `the layer's entry ${printable(name)} has owner ${uid}:${gid}, beyond ${MAX_OWNER_ID}`;
      throw new ConversionError("layer-bad-owner", what);
    }
    // What is linked to has these; the archive's copy of them is not always right.
    const isLink = kind === EntryKind.hardlink;
    const xattrs = encodeXattrs(isLink ? [] : entry.xattrs, name);
    this.droppedXattrCount += xattrs.dropped + entry.droppedAcls;
    const target = targetOf(entry, name);
    const isDevice = kind === EntryKind.character || kind === EntryKind.block;
    const row: LayerRow = {
      kind,
      // Archives carry 0644 and the like; Linux knows no other mode for them than this.
      mode: kind === EntryKind.symlink ? 0o777 : entry.mode & 0o7777,
      uid,
      gid,
      mtimeSeconds: entry.mtimeSeconds,
      mtimeNanoseconds: entry.mtimeNanoseconds,
      sizeBytes: kind === EntryKind.symlink ? target.length : entry.sizeBytes,
      name,
      target,
      xattrs: xattrs.bytes,
      rdevMajor: isDevice ? deviceNumber(entry.devMajor, MAX_MAJOR, name) : 0,
      rdevMinor: isDevice ? deviceNumber(entry.devMinor, MAX_MINOR, name) : 0,
    };
    this.builder.add(row);
    if (kind === EntryKind.file && entry.sizeBytes > 0) this.beginData(entry);
  }

  // --- data -----------------------------------------------------------------------------------------------

  private beginData(entry: TarEntry): void {
    const { sizeBytes, segments } = entry;
    this.sizeBytes = sizeBytes;
    // A map of one run that is the whole file is no reason for chunks.
    const isDense = segments === undefined || (segments[0] === 0 && segments[1] === sizeBytes);
    if (sizeBytes <= INLINE_LIMIT) {
      this.destination = Destination.heap;
      this.builder.setInline();
      this.dataStart = this.heap.length;
    } else if (isDense) {
      this.destination = Destination.extent;
      const block = this.reserve(Math.ceil(sizeBytes / BLOCK_SIZE));
      this.dataStart = block * BLOCK_SIZE;
      this.builder.setExtent(block);
    } else {
      this.destination = Destination.chunks;
      this.layOutChunks(sizeBytes, segments);
    }
  }

  /** Gives every chunk that a run of data touches its blocks, in ascending order. */
  private layOutChunks(sizeBytes: number, segments: readonly number[]): void {
    const blocks = Math.ceil(sizeBytes / BLOCK_SIZE);
    const chunkBits = Math.max(0, Math.ceil(Math.log2(blocks / SPARSE_CHUNKS)));
    const chunkBlocks = 2 ** chunkBits;
    this.chunkBytes = chunkBlocks * BLOCK_SIZE;
    this.chunks = new Uint32Array(Math.ceil(blocks / chunkBlocks)).fill(HOLE);
    for (let i = 0; i < segments.length; i += 2) {
      const start = segments[i] as number;
      const end = start + (segments[i + 1] as number);
      for (let c = Math.floor(start / this.chunkBytes); c * this.chunkBytes < end; c++) {
        if (this.chunks[c] === HOLE)
          this.chunks[c] = this.reserve(Math.min(chunkBlocks, blocks - c * chunkBlocks));
      }
    }
    this.builder.setChunks(chunkBits, this.chunks);
  }

  private reserve(blocks: number): number {
    const first = this.blobBlockCount;
    this.blobBlockCount += blocks;
    if (this.blobBlockCount * BLOCK_SIZE > this.limits.maxBlobBytes) {
      throw tooLarge(`its files take more than ${this.limits.maxBlobBytes} bytes`);
    }
    return first;
  }

  data(chunk: Uint8Array, start: number, end: number, position: number): void {
    switch (this.destination) {
      case Destination.extent:
        this.blob.skipTo(this.dataStart + position);
        this.onStored?.(Place.blob, this.dataStart + position, start, end);
        return this.blob.write(chunk, start, end);
      case Destination.heap:
        this.heap.appendZeros(this.dataStart + position - this.heap.length);
        this.onStored?.(Place.heap, this.dataStart + position, start, end);
        return this.heap.append(chunk, start, end);
      case Destination.chunks: {
        // Chunks that touch each other in the file do so in the blob: a run needs no cutting.
        const block = this.chunks[Math.floor(position / this.chunkBytes)] as number;
        const offset = block * BLOCK_SIZE + (position % this.chunkBytes);
        this.blob.skipTo(offset);
        this.onStored?.(Place.blob, offset, start, end);
        return this.blob.write(chunk, start, end);
      }
      default:
    }
  }

  endEntry(): void {
    if (this.destination === Destination.heap) {
      this.heap.appendZeros(this.dataStart + this.sizeBytes - this.heap.length);
    }
    this.destination = Destination.nowhere;
  }
}

function targetOf(entry: TarEntry, name: Uint8Array): Uint8Array {
  const { type, linkName } = entry;
  if (type !== "symlink" && type !== "hardlink") return new Uint8Array(0);
  const target = type === "symlink" ? linkName : canonicalTarget(linkName);
  if (target.length === 0 || target.length > MAX_TARGET_BYTES) {
    const what = `the layer's ${type} ${printable(name)} has a target of ${target.length} bytes`;
    throw new ConversionError("layer-bad-link", what);
  }
  return target;
}

function deviceNumber(value: number, max: number, name: Uint8Array): number {
  if (value <= max) return value;
  const what = `the layer's device ${printable(name)} has a number beyond Linux's 12 bits of major, 20 of minor`;
  throw new ConversionError("layer-bad-device", what);
}

function tooLarge(what: string): ConversionError {
  return new ConversionError("layer-too-large", `the layer is too large: ${what}`);
}
