/**
 * What a layer's archive has besides the data of its files: headers, padding, end blocks, names that mean nothing
 * here. With it, the layer blob and the heap of its index, the archive can be made again, byte for byte, so that
 * an image that leaves has the diff IDs and the config that it came with.
 *
 *     archive   │ header │ data ……… │ padding, header │ data │ padding, end │
 *     here        bytes    (blob, at)  bytes            (heap, at)  bytes
 *
 *     file      0 magic "FBTARHD\0"   8 u32 version   12 u32 zero   16 u64 size of the archive
 *               24 pieces: u32 deflated bytes, u32 plain bytes, raw deflate
 *     plain     u8 kind, u48 length, then the bytes, or u48 offset; what follows a piece's end is in the next one
 *
 * No checksum: whoever makes the archive again compares it with the diff ID.
 */
import { deflateRawSync, inflateRawSync } from "node:zlib";
import { open, type FileHandle } from "node:fs/promises";
import { FlameBoxError, messageOf, systemCode } from "../util/error.ts";
import type { LayerFile } from "./layer-file.ts";

/** Where a run of the archive is. */
export const Place = { here: 0, heap: 1, blob: 2 } as const;
export type Place = (typeof Place)[keyof typeof Place];

export const FILE_HEADER_BYTES = 24;
const MAGIC = Buffer.from("FBTARHD\0", "latin1");
const VERSION = 1;
const PIECE_BYTES = 256 * 1024;
/** 1 + 6 + 6: the longest record without its bytes. */
const RECORD_BYTES = 13;
/** An archive with more than this besides its files' data is no usual one; it is not kept. */
const MAX_PLAIN_BYTES = 2 ** 30;

/** Codes: `layer-headers-missing`, `layer-headers-corrupt`. */
export class LayerHeadersError extends FlameBoxError {
  override readonly name = "LayerHeadersError";
}

function corrupt(what: string, cause?: unknown): LayerHeadersError {
  return new LayerHeadersError(
    "layer-headers-corrupt",
    `the headers of a layer's archive are damaged: ${what}`,
    {
      hint: "remove the image and pull it again",
      cause,
    },
  );
}

/** Takes an archive down, chunk by chunk, while it is converted. */
export class HeadersWriter {
  private readonly file: LayerFile;
  private readonly plain = Buffer.allocUnsafeSlow(PIECE_BYTES);
  private used = 0;
  private plainBytes = 0;
  private place: Place | undefined;
  private offset = 0;
  private length = 0;
  private gaveUp = false;

  /** `file` begins behind its header. */
  constructor(file: LayerFile) {
    this.file = file;
  }

  /** False when the archive was too strange to be kept: the file is of no use then. */
  get isUsable(): boolean {
    return !this.gaveUp;
  }

  /** The next `end - start` bytes of the archive, which nobody else keeps. */
  bytes(chunk: Uint8Array, start: number, end: number): void {
    const length = end - start;
    if (length === 0 || this.gaveUp) return;
    this.endRun();
    this.plainBytes += length + RECORD_BYTES;
    if (this.plainBytes > MAX_PLAIN_BYTES) {
      this.gaveUp = true;
      return;
    }
    this.record(Place.here, length);
    for (let at = start; at < end; ) {
      if (this.used === PIECE_BYTES) this.flushPiece();
      const taken = Math.min(PIECE_BYTES - this.used, end - at);
      Buffer.prototype.copy.call(chunk, this.plain, this.used, at, at + taken);
      this.used += taken;
      at += taken;
    }
  }

  /** The next `length` bytes of the archive are at `offset` of the heap or the blob. */
  stored(place: Place, offset: number, length: number): void {
    if (this.place === place && this.offset + this.length === offset) {
      this.length += length;
      return;
    }
    this.endRun();
    this.place = place;
    this.offset = offset;
    this.length = length;
  }

  finish(): void {
    this.endRun();
    this.flushPiece();
    this.file.flush();
  }

  private endRun(): void {
    if (this.place === undefined) return;
    this.plainBytes += RECORD_BYTES;
    this.record(this.place, this.length);
    this.plain.writeUIntLE(this.offset, this.used, 6);
    this.used += 6;
    this.place = undefined;
  }

  /** Records are never cut, so that each is written in one go. */
  private record(place: Place, length: number): void {
    if (this.used + RECORD_BYTES > PIECE_BYTES) this.flushPiece();
    this.plain[this.used] = place;
    this.plain.writeUIntLE(length, this.used + 1, 6);
    this.used += 7;
  }

  private flushPiece(): void {
    if (this.used === 0) return;
    // Level 1: headers are zeros and repetition, and a pull waits for this.
    const deflated = deflateRawSync(this.plain.subarray(0, this.used), { level: 1 });
    const head = Buffer.alloc(8);
    head.writeUInt32LE(deflated.length, 0);
    head.writeUInt32LE(this.used, 4);
    this.file.write(head, 0, 8);
    this.file.write(deflated, 0, deflated.length);
    this.used = 0;
  }
}

export function encodeFileHeader(tarBytes: number): Uint8Array {
  const header = Buffer.alloc(FILE_HEADER_BYTES);
  header.set(MAGIC);
  header.writeUInt32LE(VERSION, 8);
  header.writeBigUInt64LE(BigInt(tarBytes), 16);
  return header;
}

/** A run of the archive: bytes that are in the file itself, or where they are. */
export type Run =
  | { readonly place: typeof Place.here; readonly bytes: Uint8Array }
  | { readonly place: 1 | 2; readonly offset: number; readonly length: number };

export interface OpenHeaders extends AsyncDisposable {
  /** Size of the whole archive. */
  readonly tarBytes: number;
  /** In the archive's order. @throws LayerHeadersError `layer-headers-corrupt` */
  runs(): AsyncGenerator<Run, void, undefined>;
}

/** @throws LayerHeadersError `layer-headers-missing`, `layer-headers-corrupt` */
export async function openLayerHeaders(path: string): Promise<OpenHeaders> {
  let file: FileHandle;
  try {
    file = await open(path, "r");
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw error;
    throw new LayerHeadersError(
      "layer-headers-missing",
      "what is needed to make a layer's archive again is not here",
      { hint: "remove the image and pull it again: layers that an older FlameBox converted lack it" },
    );
  }
  try {
    const header = Buffer.alloc(FILE_HEADER_BYTES);
    await readFully(file, header, 0);
    const tarBytes = Number(header.readBigUInt64LE(16));
    if (!header.subarray(0, 8).equals(MAGIC) || !Number.isSafeInteger(tarBytes))
      throw corrupt("they do not begin as such");
    const version = header.readUInt32LE(8);
    if (version !== VERSION) throw corrupt(`their version is ${version}, wanted ${VERSION}`);
    return { tarBytes, runs: () => readRuns(file), [Symbol.asyncDispose]: () => file.close() };
  } catch (error) {
    await file.close();
    throw error;
  }
}

async function readFully(file: FileHandle, into: Buffer, at: number): Promise<void> {
  for (let done = 0; done < into.length; ) {
    const { bytesRead } = await file.read(into, done, into.length - done, at + done);
    if (bytesRead === 0) throw corrupt("they end too early");
    done += bytesRead;
  }
}

async function* readPieces(file: FileHandle): AsyncGenerator<Buffer, void, undefined> {
  const { size } = await file.stat();
  for (let at = FILE_HEADER_BYTES; at < size; ) {
    const head = Buffer.alloc(8);
    await readFully(file, head, at);
    const [deflatedBytes, plainBytes] = [head.readUInt32LE(0), head.readUInt32LE(4)];
    // What does not shrink grows by a few bytes.
    if (plainBytes === 0 || plainBytes > PIECE_BYTES || deflatedBytes > PIECE_BYTES + 1024)
      throw corrupt("a piece has an impossible size");
    const deflated = Buffer.allocUnsafe(deflatedBytes);
    await readFully(file, deflated, at + 8);
    at += 8 + deflatedBytes;
    yield inflate(deflated, plainBytes);
  }
}

function inflate(deflated: Buffer, plainBytes: number): Buffer {
  let plain: Buffer;
  try {
    plain = inflateRawSync(deflated, { maxOutputLength: plainBytes });
  } catch (error) {
    throw corrupt(messageOf(error), error);
  }
  if (plain.length !== plainBytes) throw corrupt("a piece is shorter than it says");
  return plain;
}

async function* readRuns(file: FileHandle): AsyncGenerator<Run, void, undefined> {
  /** Bytes of a run that began in an earlier piece. */
  let left = 0;
  for await (const piece of readPieces(file)) {
    let at = 0;
    while (at < piece.length) {
      if (left > 0) {
        const bytes = piece.subarray(at, at + left);
        left -= bytes.length;
        at += bytes.length;
        yield { place: Place.here, bytes };
        continue;
      }
      const place = piece[at] as number;
      const recordBytes = place === Place.here ? 7 : RECORD_BYTES;
      if (place > Place.blob || at + recordBytes > piece.length) throw corrupt("a record is malformed");
      const length = piece.readUIntLE(at + 1, 6);
      if (place === Place.here) left = length;
      else yield { place: place as 1 | 2, length, offset: piece.readUIntLE(at + 7, 6) };
      at += recordBytes;
    }
  }
  if (left > 0) throw corrupt("they end within a run");
}
