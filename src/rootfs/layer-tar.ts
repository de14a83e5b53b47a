/**
 * A layer's archive, made again:
 *
 *     headers file ─► runs ─┬─ bytes ───────────────────────► chunks ─► sha256 = diff ID? ─► the last chunk
 *     index file, heap ─────┤
 *     layer blob ───────────┘
 *
 * Runs of the heap and of the blob come in ascending order, so each is read through one window that moves on.
 */
import { open, type FileHandle } from "node:fs/promises";
import { algorithmOf, digestFrom, hashFor } from "../reference/digest.ts";
import type { Digest } from "../reference/digest.ts";
import type { LayerPaths } from "../store/layout.ts";
import { systemCode } from "../util/error.ts";
import { HEADER_BYTES } from "./layer-index-file.ts";
import { LayerHeadersError, Place, openLayerHeaders } from "./layer-headers.ts";

const CHUNK_BYTES = 512 * 1024;
const WINDOW_BYTES = 512 * 1024;

/** Size in bytes of the archive that `layerTar` makes. @throws LayerHeadersError */
export async function layerTarBytes(paths: LayerPaths): Promise<number> {
  await using headers = await openLayerHeaders(paths.headersPath);
  return headers.tarBytes;
}

/**
 * The archive of a layer that is here. Its digest is verified before the last chunk is handed out; the chunks
 * are the caller's.
 * @throws LayerHeadersError `layer-headers-missing`, `layer-headers-corrupt` (also when the blob is damaged)
 */
export async function* layerTar(
  paths: LayerPaths,
  diffId: Digest,
  options: { readonly signal?: AbortSignal | undefined } = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  await using headers = await openLayerHeaders(paths.headersPath);
  await using heap = await Window.open(paths.indexPath, HEADER_BYTES);
  await using blob = await Window.open(paths.blobPath, 0);
  const hash = hashFor(diffId);
  const chunker = new Chunker(hash);
  let held: Uint8Array | undefined;
  for await (const run of headers.runs()) {
    options.signal?.throwIfAborted();
    if (run.place === Place.here) chunker.add(run.bytes);
    else await (run.place === Place.heap ? heap : blob).copy(run.offset, run.length, chunker);
    while (chunker.ready.length > 0) {
      if (held) yield held;
      held = chunker.ready.shift();
    }
  }
  const rest = chunker.finish();
  const got = digestFrom(hash, algorithmOf(diffId));
  if (got !== diffId || chunker.totalBytes !== headers.tarBytes) {
    throw new LayerHeadersError(
      "layer-headers-corrupt",
      `the archive of layer ${diffId} comes out as ${got}`,
      {
        hint: "the layer is damaged: remove the image and pull it again",
      },
    );
  }
  if (held) yield held;
  if (rest.length > 0) yield rest;
}

/** Gathers runs into chunks of one size. */
class Chunker {
  readonly ready: Uint8Array[] = [];
  totalBytes = 0;
  private readonly hash: ReturnType<typeof hashFor>;
  private chunk = Buffer.allocUnsafeSlow(CHUNK_BYTES);
  private used = 0;

  constructor(hash: ReturnType<typeof hashFor>) {
    this.hash = hash;
  }

  add(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) {
      const taken = Math.min(CHUNK_BYTES - this.used, bytes.length - at);
      Buffer.prototype.copy.call(bytes, this.chunk, this.used, at, at + taken);
      this.used += taken;
      at += taken;
      if (this.used === CHUNK_BYTES) this.next();
    }
  }

  finish(): Uint8Array {
    const rest = this.chunk.subarray(0, this.used);
    this.hash.update(rest);
    this.totalBytes += rest.length;
    return rest;
  }

  private next(): void {
    this.hash.update(this.chunk);
    this.totalBytes += this.used;
    this.ready.push(this.chunk);
    this.chunk = Buffer.allocUnsafeSlow(CHUNK_BYTES);
    this.used = 0;
  }
}

class Window implements AsyncDisposable {
  private readonly file: FileHandle | undefined;
  /** Where offset 0 is in the file. */
  private readonly startsAt: number;
  private readonly buffer = Buffer.allocUnsafeSlow(WINDOW_BYTES);
  private from = 0;
  private filled = 0;

  private constructor(file: FileHandle | undefined, startsAt: number) {
    this.file = file;
    this.startsAt = startsAt;
  }

  /** A layer without data has no blob. */
  static async open(path: string, startsAt: number): Promise<Window> {
    try {
      return new Window(await open(path, "r"), startsAt);
    } catch (error) {
      if (systemCode(error) === "ENOENT") return new Window(undefined, startsAt);
      throw error;
    }
  }

  async copy(offset: number, length: number, chunker: Chunker): Promise<void> {
    for (let done = 0; done < length; ) {
      const at = offset + done;
      if (at < this.from || at >= this.from + this.filled) await this.fill(at);
      const start = at - this.from;
      const taken = Math.min(length - done, this.filled - start);
      chunker.add(this.buffer.subarray(start, start + taken));
      done += taken;
    }
  }

  private async fill(at: number): Promise<void> {
    const read = await this.file?.read(this.buffer, 0, WINDOW_BYTES, this.startsAt + at);
    this.from = at;
    this.filled = read?.bytesRead ?? 0;
    if (this.filled === 0)
      throw new LayerHeadersError("layer-headers-corrupt", "a layer's data ends before its archive does", {
        hint: "the layer is damaged: remove the image and pull it again",
      });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.file?.close();
  }
}
