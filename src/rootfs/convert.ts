/**
 * One layer, from its compressed stream to a layer blob and its index, in one pass:
 *
 *     compressed ─► inflate ─► sha256 (the diff ID) ─► tar reader ─► layer writer ─┬─► blob
 *                                                                                  ├─► index
 *                                                     what is not in these two ────┴─► headers
 *
 * The caller gives temporary paths, and publishes them when this has succeeded; on failure nothing is left.
 * The same tar makes the same bytes of all files, however it was compressed or cut into chunks.
 */
import { createHash } from "node:crypto";
import { ftruncateSync, writeSync } from "node:fs";
import { open, rm, type FileHandle } from "node:fs/promises";
import { crc32 } from "node:zlib";
import { decompress, type Compression } from "../formats/compression/decompress.ts";
import { release } from "../formats/compression/release.ts";
import { canInflateHere } from "../formats/compression/sync-decoder.ts";
import { TarReader } from "../formats/tar/reader.ts";
import { algorithmOf, digestFrom, type Digest } from "../reference/digest.ts";
import { BlobSums } from "./blob-sums.ts";
import { ConversionError } from "./conversion-error.ts";
import { LayerFile, writeFailure } from "./layer-file.ts";
import { encodeFileHeader, FILE_HEADER_BYTES, HeadersWriter, type Place } from "./layer-headers.ts";
import { encodeHeader, encodeTail, HEADER_BYTES } from "./layer-index-file.ts";
import { BLOCK_SIZE } from "./layer-index.ts";
import { LayerWriter, type LayerLimits } from "./layer-writer.ts";

export interface ConvertLimits extends LayerLimits {
  /** The inflated archive. */
  readonly maxTarBytes: number;
  /** The expanded size of one sparse file. */
  readonly maxSparseBytes: number;
}

export const DEFAULT_LIMITS: ConvertLimits = {
  maxTarBytes: 128 * 2 ** 30,
  maxSparseBytes: 2 ** 40,
  maxEntries: 2_000_000,
  maxHeapBytes: 512 * 2 ** 20,
  maxBlobBytes: 2 * 2 ** 40,
};

const ZEROS = new Uint8Array(BLOCK_SIZE);

/** How often is told of growth: by what has been inflated, and by entries, which may be empty and many. */
const GROWTH_BYTES = 2 ** 20;
const GROWTH_ENTRIES = 1000;

/** How much of a layer gathers in the page cache before it is written out. */
const WRITE_OUT_BYTES = 32 * 2 ** 20;

export interface ConvertTarget {
  /** Temporary paths on the file system of the store; must not exist yet. */
  readonly blobPath: string;
  readonly indexPath: string;
  /** Without it the archive cannot be made again. Not left where the archive is too strange. */
  readonly headersPath?: string | undefined;
}

/** How far a layer has come that is being converted. */
export interface Growth {
  /** Of the inflated archive. */
  readonly tarBytes: number;
  readonly entryCount: number;
}

export interface ConvertOptions {
  readonly signal?: AbortSignal | undefined;
  /** What the image's config says. */
  readonly expectedDiffId?: Digest | undefined;
  readonly limits?: Partial<ConvertLimits> | undefined;
  /** The chunks of `compressed` are nobody else's, and may be freed. */
  readonly ownsInput?: boolean | undefined;
  /** This thread does nothing else. */
  readonly inThisThread?: boolean | undefined;
  /** Told from time to time, and at the end. What it throws ends the conversion, with that. */
  readonly onGrowth?: ((growth: Growth) => void) | undefined;
}

export interface ConvertedLayer {
  readonly diffId: Digest;
  /** 0: the layer has no data beyond its index, and `blobPath` was not left. */
  readonly blobBlocks: number;
  readonly entryCount: number;
  /** Size of the inflated archive. */
  readonly tarBytes: number;
  /** Extended attributes that no rootfs can hold (foreign namespaces, `trusted.overlay.*`, ACLs without ids). */
  readonly droppedXattrs: number;
}

export type ConvertLayer = (
  compressed: AsyncIterable<Uint8Array>,
  compression: Compression,
  target: ConvertTarget,
  options?: ConvertOptions,
) => Promise<ConvertedLayer>;

/**
 * Converts in this thread; inflating runs beside it on libuv's pool, or here as well (`inThisThread`). All files are 0600, synced and closed.
 * @throws TarError, CompressionError, ConversionError (`diff-id-mismatch` among them), what the source throws
 */
export const convertLayer: ConvertLayer = async (compressed, compression, target, options = {}) => {
  const { signal, ownsInput, inThisThread } = options;
  signal?.throwIfAborted();
  // `wx`: a path that exists is somebody else's, and must not be removed on the way out.
  await using blob = await OutputFile.create(target.blobPath);
  await using index = await OutputFile.create(target.indexPath);
  await using headers = target.headersPath === undefined ? null : await OutputFile.create(target.headersPath);
  const fds = { blob: blob.handle.fd, index: index.handle.fd, headers: headers?.handle.fd };
  const conversion = new Conversion(fds, options);
  const maxOutputBytes = conversion.limits.maxTarBytes;
  let gatheredBytes = 0;
  const grown = growthTeller(options.onGrowth);
  const decompressing = { signal, maxOutputBytes, ownsInput, inThisThread };
  for await (const chunk of decompress(compressed, compression, decompressing)) {
    conversion.push(chunk);
    grown(conversion.growth);
    gatheredBytes += chunk.length;
    if (gatheredBytes >= WRITE_OUT_BYTES && blob.beginWriteOut()) gatheredBytes = 0;
    // Our own inflater's, and all of it has been hashed, written or copied.
    if (compression === "gzip" && !(inThisThread === true && canInflateHere())) release(chunk);
  }
  const result = conversion.finish();
  options.onGrowth?.(conversion.growth);
  const files = [index];
  if (result.blobBlocks > 0) files.push(blob);
  if (headers !== null && conversion.hasHeaders) files.push(headers);
  await Promise.all(files.map((file) => file.sync()));
  signal?.throwIfAborted();
  for (const file of files) file.keep();
  return result;
};

function growthTeller(onGrowth: ConvertOptions["onGrowth"]): (growth: Growth) => void {
  let [nextBytes, nextEntries] = [GROWTH_BYTES, GROWTH_ENTRIES];
  return (growth) => {
    if (growth.tarBytes < nextBytes && growth.entryCount < nextEntries) return;
    [nextBytes, nextEntries] = [growth.tarBytes + GROWTH_BYTES, growth.entryCount + GROWTH_ENTRIES];
    onGrowth?.(growth);
  };
}

/** A new file that is removed again unless it is kept. */
class OutputFile implements AsyncDisposable {
  readonly handle: FileHandle;
  private readonly path: string;
  private isKept = false;
  private writingOut: Promise<void> | undefined;
  private failure: { readonly error: unknown } | undefined;

  private constructor(handle: FileHandle, path: string) {
    this.handle = handle;
    this.path = path;
  }

  static async create(path: string): Promise<OutputFile> {
    try {
      return new OutputFile(await open(path, "wx", 0o600), path);
    } catch (error) {
      throw writeFailure(error);
    }
  }

  /**
   * Has the kernel write out what has gathered, without waiting: the disk works while the processor does, and
   * the sync at the end finds little left. False when it is still at it.
   */
  beginWriteOut(): boolean {
    if (this.writingOut !== undefined) return false;
    this.writingOut = this.handle
      .datasync()
      // A failed write is told once, to whoever syncs first: it must not be lost.
      .catch((error: unknown) => void (this.failure ??= { error }))
      .finally(() => (this.writingOut = undefined));
    return true;
  }

  async sync(): Promise<void> {
    try {
      await this.writingOut;
      if (this.failure !== undefined) throw this.failure.error;
      await this.handle.sync();
    } catch (error) {
      throw writeFailure(error);
    }
  }

  keep(): void {
    this.isKept = true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.handle.close();
    if (!this.isKept) await rm(this.path, { force: true });
  }
}

interface OutputFds {
  readonly blob: number;
  readonly index: number;
  readonly headers: number | undefined;
}

/** The synchronous heart: inflated chunks in, files written. */
class Conversion {
  readonly limits: ConvertLimits;
  private readonly expectedDiffId: Digest | undefined;
  private readonly algorithm: "sha256" | "sha512";
  private readonly hash;
  private readonly reader: TarReader;
  private readonly writer: LayerWriter;
  private readonly blob: LayerFile;
  private readonly index: LayerFile;
  private readonly blobSums = new BlobSums();
  private readonly headers: HeadersWriter | undefined;
  private readonly fds: OutputFds;
  /** How far the chunk that is being pushed is kept. */
  private keptTo = 0;
  private chunk: Uint8Array = new Uint8Array(0);
  /** Of what follows the index's header. */
  private indexCrc = 0;
  private tarBytes = 0;

  constructor(fds: OutputFds, options: ConvertOptions) {
    this.limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.expectedDiffId = options.expectedDiffId;
    this.algorithm = options.expectedDiffId === undefined ? "sha256" : algorithmOf(options.expectedDiffId);
    this.hash = createHash(this.algorithm);
    this.fds = fds;
    this.blob = new LayerFile(fds.blob, 0, this.blobSums);
    this.index = new LayerFile(fds.index, HEADER_BYTES, {
      push: (bytes) => (this.indexCrc = crc32(bytes, this.indexCrc)),
      skip: (count) => {
        for (let left = count; left > 0; left -= BLOCK_SIZE)
          this.indexCrc = crc32(ZEROS.subarray(0, left), this.indexCrc);
      },
    });
    this.headers =
      fds.headers === undefined
        ? undefined
        : new HeadersWriter(new LayerFile(fds.headers, FILE_HEADER_BYTES));
    this.writer = new LayerWriter(this.blob, this.index, this.limits, (place, offset, start, end) =>
      this.stored(place, offset, start, end),
    );
    this.reader = new TarReader(this.writer, { maxSparseBytes: this.limits.maxSparseBytes });
  }

  push(chunk: Uint8Array): void {
    this.tarBytes += chunk.length;
    this.hash.update(chunk);
    this.chunk = chunk;
    this.keptTo = 0;
    this.reader.push(chunk);
    this.headers?.bytes(chunk, this.keptTo, chunk.length);
  }

  get growth(): Growth {
    return { tarBytes: this.tarBytes, entryCount: this.writer.builder.entryCount };
  }

  /** The archive can be made again. */
  get hasHeaders(): boolean {
    return this.headers?.isUsable ?? false;
  }

  /** What is between the last run and this one is in none of the other files. */
  private stored(place: Place, offset: number, start: number, end: number): void {
    this.headers?.bytes(this.chunk, this.keptTo, start);
    this.headers?.stored(place, offset, end - start);
    this.keptTo = end;
  }

  finish(): ConvertedLayer {
    this.reader.finish();
    const diffId = digestFrom(this.hash, this.algorithm);
    if (this.expectedDiffId !== undefined && diffId !== this.expectedDiffId) {
      const what = `the layer's content is ${diffId}, where the image's config says ${this.expectedDiffId}`;
      throw new ConversionError("diff-id-mismatch", what);
    }
    const { blobBlocks, droppedXattrs, builder } = this.writer;
    this.finishFiles(blobBlocks);
    return { diffId, blobBlocks, entryCount: builder.entryCount, tarBytes: this.tarBytes, droppedXattrs };
  }

  private finishFiles(blobBlocks: number): void {
    const { builder, heapBytes } = this.writer;
    this.blob.flush();
    // The last file's block is filled up, and a hole at the end comes to be.
    this.blobSums.skip(blobBlocks * BLOCK_SIZE - this.blob.position);
    const tail = encodeTail(builder.finish(), heapBytes, this.blobSums.finish());
    this.index.write(tail, 0, tail.length);
    this.index.flush();
    this.headers?.finish();
    const header = encodeHeader({ entryCount: builder.entryCount, heapBytes, blobBlocks }, this.indexCrc);
    try {
      ftruncateSync(this.fds.blob, blobBlocks * BLOCK_SIZE);
      writeSync(this.fds.index, header, 0, header.length, 0);
      if (this.fds.headers !== undefined)
        writeSync(this.fds.headers, encodeFileHeader(this.tarBytes), 0, FILE_HEADER_BYTES, 0);
    } catch (error) {
      throw writeFailure(error);
    }
  }
}
