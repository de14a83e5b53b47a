/**
 * A streaming tar reader that does no I/O: chunks of any size are pushed in, entries come out.
 *
 *     push(chunk) ──► header ──► [extension data] ──► header ──► [sparse map] ──► data, padding ──► header …
 *                                                       │                          │
 *                                                handler.entry            handler.data (runs of the chunk)
 *
 * File data is handed on as ranges of the pushed chunk, uncopied, so nothing is held that grows with the
 * archive: at most one header's extension data and sparse map, both bounded.
 *
 * Where implementations differ, Go's archive/tar is followed, because that is what images are made and
 * unpacked with: links, directories, devices and FIFOs have no data whatever their size field says; a GNU long
 * name beats a PAX path; an extension header of the same kind replaces the one before.
 */
import { TarError, type TarErrorCode } from "./error.ts";
import { checksum, fullName, nameField, numberField, variantOf, type Variant } from "./fields.ts";
import {
  BLOCK_BYTES,
  Field,
  MAX_EXTENSION_BYTES,
  MAX_NAME_BYTES,
  MAX_SPARSE_BYTES,
  TYPE_OFFSET,
  TYPES,
  type TarEntry,
  type TarType,
} from "./format.ts";
import type { TarHandler, TarReaderOptions } from "./handler.ts";
import { parsePax, PaxSyntaxError, xattrsOf, type PaxHeader, type PaxSparse } from "./pax.ts";
import { addGnuPairs, checkedSegments, SparseSyntaxError, SparseTextMap } from "./sparse.ts";

export type { TarHandler, TarReaderOptions } from "./handler.ts";

const State = { header: 0, extension: 1, gnuMap: 2, textMap: 3, data: 4, padding: 5, ended: 6 } as const;
type State = (typeof State)[keyof typeof State];

const EMPTY = new Uint8Array(0);

/** An entry while its map is still being read. */
type Draft = { -readonly [K in keyof TarEntry]: TarEntry[K] };

export class TarReader {
  private readonly handler: TarHandler;
  private readonly maxSparseBytes: number;
  private readonly applyGlobalHeaders: boolean;

  private state: State = State.header;
  /** Archive offset of the first byte of the chunk that is being pushed. */
  private chunkOffset = 0;
  /** A block that did not come in one piece. A Buffer, as chunks mostly are: V8 compiles what reads it for one kind. */
  private readonly partial: Uint8Array = Buffer.alloc(BLOCK_BYTES);
  private partialLength = 0;
  private block: Uint8Array = EMPTY;
  private blockAt = 0;
  private blockOffset = 0;
  private zeroBlocks = 0;

  private extensionType = "";
  private extension: Uint8Array = EMPTY;
  private extensionLength = 0;
  private longName: Uint8Array | undefined;
  private longLinkName: Uint8Array | undefined;
  private pax: PaxHeader | undefined;
  private globalPax: PaxHeader | undefined;
  private globalBytes = 0;

  private draft: Draft | undefined;
  private map: number[] = [];
  private textMap: SparseTextMap | undefined;
  private segments: readonly number[] | undefined;
  private segment = 0;
  private position = 0;
  /** Bytes of data left: of the entry, or of its current segment. */
  private runLeft = 0;
  private paddingLeft = 0;

  constructor(handler: TarHandler, options: TarReaderOptions = {}) {
    this.handler = handler;
    this.maxSparseBytes = options.maxSparseBytes ?? MAX_SPARSE_BYTES;
    this.applyGlobalHeaders = options.applyGlobalHeaders ?? false;
  }

  /** @throws TarError, and what the handler throws; the reader is of no use afterwards */
  push(chunk: Uint8Array): void {
    let at = 0;
    while (at < chunk.length && this.state !== State.ended) {
      if (this.state === State.data) at = this.takeData(chunk, at);
      else if (this.state === State.padding) at = this.takePadding(chunk, at);
      else if (this.state === State.extension) at = this.takeExtension(chunk, at);
      else at = this.takeBlock(chunk, at);
    }
    this.chunkOffset += chunk.length;
  }

  /**
   * The archive's bytes are over. End blocks and the last padding may be missing, as some tools have it.
   * @throws TarError `tar-truncated`
   */
  finish(): void {
    if (this.state === State.ended) return;
    const isPending =
      this.pax !== undefined || this.longName !== undefined || this.longLinkName !== undefined;
    if (!isPending && (this.state === State.padding || (this.state === State.header && !this.partialLength)))
      return;
    throw new TarError("tar-truncated", "it ends within an entry", this.chunkOffset, this.draft?.name);
  }

  private fail(code: TarErrorCode, what: string, name = this.draft?.name ?? this.longName): TarError {
    return new TarError(code, what, this.blockOffset, name);
  }

  // --- blocks ---------------------------------------------------------------------------------------------

  private takeBlock(chunk: Uint8Array, at: number): number {
    if (this.partialLength === 0 && chunk.length - at >= BLOCK_BYTES) {
      this.block = chunk;
      this.blockAt = at;
      this.blockOffset = this.chunkOffset + at;
      this.onBlock();
      return at + BLOCK_BYTES;
    }
    const taken = Math.min(BLOCK_BYTES - this.partialLength, chunk.length - at);
    this.partial.set(chunk.subarray(at, at + taken), this.partialLength);
    this.partialLength += taken;
    if (this.partialLength === BLOCK_BYTES) {
      this.partialLength = 0;
      this.block = this.partial;
      this.blockAt = 0;
      this.blockOffset = this.chunkOffset + at + taken - BLOCK_BYTES;
      this.onBlock();
    }
    return at + taken;
  }

  private onBlock(): void {
    if (this.state === State.header) this.onHeader();
    else if (this.state === State.gnuMap) this.onGnuMap(false);
    else this.onTextMap();
  }

  private onHeader(): void {
    const { block, blockAt: at } = this;
    const sum = checksum(block, at);
    if (sum === "zero-block") {
      if (++this.zeroBlocks === 2) this.state = State.ended;
      return;
    }
    if (this.zeroBlocks > 0) throw this.fail("tar-lone-zero-block", "something follows a zero block");
    if (sum === "bad")
      throw this.fail("tar-bad-checksum", "a header's checksum is wrong, or this is no tar archive");
    const type = String.fromCharCode(block[at + TYPE_OFFSET] as number);
    const sizeBytes = this.number("size", numberField(block, at, Field.size));
    if (type === "x" || type === "X" || type === "g" || type === "L" || type === "K") {
      this.beginExtension(type, sizeBytes);
    } else {
      this.beginEntry(type, sizeBytes);
    }
  }

  private number(what: string, value: number | undefined): number {
    if (value !== undefined && value >= 0) return value;
    throw this.fail("tar-bad-number", `a header's ${what} is malformed, negative or out of range`);
  }

  // --- extension headers ----------------------------------------------------------------------------------

  /** The size is the header's own: a PAX size is for the entry that follows, not for a long name in between. */
  private beginExtension(type: string, sizeBytes: number): void {
    const isGlobal = type === "g";
    if (isGlobal) this.globalBytes += sizeBytes;
    if (sizeBytes > MAX_EXTENSION_BYTES || this.globalBytes > MAX_EXTENSION_BYTES) {
      throw this.fail("tar-extension-too-large", `an extended header has ${sizeBytes} bytes`);
    }
    this.extensionType = type;
    this.extension = new Uint8Array(sizeBytes);
    this.extensionLength = 0;
    this.paddingLeft = paddingOf(sizeBytes);
    this.state = State.extension;
    if (sizeBytes === 0) this.endExtension();
  }

  private takeExtension(chunk: Uint8Array, at: number): number {
    const taken = Math.min(this.extension.length - this.extensionLength, chunk.length - at);
    this.extension.set(chunk.subarray(at, at + taken), this.extensionLength);
    this.extensionLength += taken;
    if (this.extensionLength === this.extension.length) this.endExtension();
    return at + taken;
  }

  private endExtension(): void {
    const bytes = this.extension;
    this.extension = EMPTY;
    this.state = this.paddingLeft > 0 ? State.padding : State.header;
    if (this.extensionType === "L") this.longName = this.boundedName(upToNul(bytes));
    else if (this.extensionType === "K") this.longLinkName = this.boundedName(upToNul(bytes));
    else if (this.extensionType !== "g") this.pax = this.parseExtension(bytes, this.globalPax);
    else {
      const global = this.parseExtension(bytes, this.globalPax);
      delete global.sparse;
      if (this.applyGlobalHeaders) this.globalPax = global;
    }
  }

  private parseExtension(bytes: Uint8Array, base: PaxHeader | undefined): PaxHeader {
    try {
      return parsePax(bytes, base);
    } catch (error) {
      if (!(error instanceof PaxSyntaxError)) throw error;
      throw this.fail("tar-bad-pax", `an extended header is malformed: ${error.message}`);
    }
  }

  private boundedName(name: Uint8Array): Uint8Array {
    if (name.length <= MAX_NAME_BYTES) return name;
    throw this.fail(
      "tar-name-too-long",
      `a name of ${name.length} bytes is longer than ${MAX_NAME_BYTES}`,
      name,
    );
  }

  // --- entries --------------------------------------------------------------------------------------------

  private beginEntry(typeFlag: string, headerSizeBytes: number): void {
    const { block, blockAt: at } = this;
    const pax = this.pax ?? this.globalPax;
    const variant = variantOf(block, at);
    const name = this.longName ?? pax?.sparse?.name ?? pax?.path ?? fullName(block, at, variant);
    const linkName = this.longLinkName ?? pax?.linkPath ?? nameField(block, at, Field.linkName);
    const type = this.typeOf(typeFlag, name);
    const isDevice = type === "character" || type === "block";
    // Old archives mark a directory by its name alone; it still has the data its size says.
    const isFile = type === "file" || typeFlag === "0" || typeFlag === "\0";
    const storedBytes = isFile ? (pax?.sizeBytes ?? headerSizeBytes) : 0;
    const mtime = numberField(block, at, Field.mtime);
    if (mtime === undefined) throw this.fail("tar-bad-number", "a header's mtime is malformed", name);
    this.draft = {
      type,
      name: this.boundedName(name),
      linkName: this.boundedName(linkName),
      mode: this.number("mode", numberField(block, at, Field.mode)),
      uid: pax?.uid ?? this.number("uid", numberField(block, at, Field.uid)),
      gid: pax?.gid ?? this.number("gid", numberField(block, at, Field.gid)),
      mtimeSeconds: pax?.mtime?.seconds ?? mtime,
      mtimeNanoseconds: pax?.mtime?.nanoseconds ?? 0,
      sizeBytes: type === "file" ? storedBytes : 0,
      storedBytes,
      segments: undefined,
      devMajor: isDevice ? this.deviceNumber(variant, Field.devMajor) : 0,
      devMinor: isDevice ? this.deviceNumber(variant, Field.devMinor) : 0,
      xattrs: xattrsOf(pax),
      droppedAcls: pax?.droppedAcls ?? 0,
      offset: this.blockOffset,
    };
    this.pax = this.longName = this.longLinkName = undefined;
    this.paddingLeft = paddingOf(storedBytes);
    if (typeFlag === "S") this.beginGnuSparse();
    else if (type === "file" && pax?.sparse) this.beginPaxSparse(pax.sparse);
    else this.emit();
  }

  private typeOf(typeFlag: string, name: Uint8Array): TarType {
    const type = TYPES[typeFlag];
    if (type === undefined) {
      const shown = `0x${typeFlag.charCodeAt(0).toString(16).padStart(2, "0")}`;
      throw this.fail("tar-unknown-type", `type ${shown} is none that an image can hold`, name);
    }
    return type === "file" && typeFlag !== "S" && name.at(-1) === 0x2f ? "directory" : type;
  }

  private deviceNumber(variant: Variant, field: typeof Field.devMajor | typeof Field.devMinor): number {
    if (variant === "v7") return 0;
    return this.number("device number", numberField(this.block, this.blockAt, field));
  }

  // --- sparse maps ----------------------------------------------------------------------------------------

  private beginGnuSparse(): void {
    const draft = this.draft as Draft;
    draft.sizeBytes = this.number("sparse size", numberField(this.block, this.blockAt, Field.gnuRealSize));
    this.map = [];
    this.onGnuMap(true);
  }

  private onGnuMap(isHeader: boolean): void {
    this.state = State.gnuMap;
    if (this.sparse(() => addGnuPairs(this.map, this.block, this.blockAt, isHeader))) return;
    this.endMap(this.map);
  }

  private beginPaxSparse(sparse: PaxSparse): void {
    const draft = this.draft as Draft;
    const { major = 0, minor = 0 } = sparse;
    if (sparse.realSizeBytes === undefined) {
      // The keys of a form that nobody has defined; without a size this is an ordinary file.
      if (major === 0 && sparse.map === undefined) return this.emit();
      throw this.fail("tar-bad-sparse", "a sparse file's size is missing");
    }
    draft.sizeBytes = sparse.realSizeBytes;
    if (major === 1 && minor === 0) {
      this.textMap = new SparseTextMap();
      this.state = State.textMap;
      if (draft.storedBytes < BLOCK_BYTES) throw this.fail("tar-bad-sparse", "a sparse map is missing");
    } else if (major === 0 && minor <= 1) {
      const map = sparse.map ?? [];
      if (sparse.segmentCount !== undefined && sparse.segmentCount * 2 !== map.length) {
        throw this.fail("tar-bad-sparse", "a sparse map has another length than announced");
      }
      this.endMap(map);
    } else {
      throw this.fail("tar-bad-sparse", `sparse format ${major}.${minor} is unknown`);
    }
  }

  private onTextMap(): void {
    const draft = this.draft as Draft;
    const textMap = this.textMap as SparseTextMap;
    // The map is a part of the stored data, and always whole blocks of it.
    draft.storedBytes -= BLOCK_BYTES;
    if (this.sparse(() => textMap.push(this.block, this.blockAt))) {
      this.textMap = undefined;
      this.endMap(textMap.map);
    } else if (draft.storedBytes < BLOCK_BYTES) {
      throw this.fail("tar-bad-sparse", "a sparse map is incomplete");
    }
  }

  private endMap(map: readonly number[]): void {
    const draft = this.draft as Draft;
    draft.segments = this.sparse(() =>
      checkedSegments(map, draft.sizeBytes, draft.storedBytes, this.maxSparseBytes),
    );
    this.map = [];
    this.emit();
  }

  private sparse<T>(job: () => T): T {
    try {
      return job();
    } catch (error) {
      if (!(error instanceof SparseSyntaxError)) throw error;
      throw this.fail("tar-bad-sparse", error.message);
    }
  }

  // --- data -----------------------------------------------------------------------------------------------

  private emit(): void {
    const draft = this.draft as Draft;
    this.segments = draft.segments;
    this.segment = 0;
    this.position = draft.segments?.[0] ?? 0;
    this.runLeft = draft.segments === undefined ? draft.storedBytes : (draft.segments[1] ?? 0);
    this.handler.entry(draft);
    if (this.runLeft > 0) this.state = State.data;
    else this.endData();
  }

  private takeData(chunk: Uint8Array, at: number): number {
    const taken = Math.min(this.runLeft, chunk.length - at);
    this.handler.data(chunk, at, at + taken, this.position);
    this.runLeft -= taken;
    this.position += taken;
    if (this.runLeft === 0) this.nextRun();
    return at + taken;
  }

  private nextRun(): void {
    const start = this.segments?.[(this.segment += 2)];
    if (start === undefined) return this.endData();
    this.position = start;
    this.runLeft = this.segments?.[this.segment + 1] ?? 0;
  }

  private endData(): void {
    this.handler.endEntry();
    this.segments = undefined;
    this.state = this.paddingLeft > 0 ? State.padding : State.header;
    if (this.state === State.header) this.draft = undefined;
  }

  private takePadding(chunk: Uint8Array, at: number): number {
    const taken = Math.min(this.paddingLeft, chunk.length - at);
    this.paddingLeft -= taken;
    if (this.paddingLeft === 0) {
      this.state = State.header;
      this.draft = undefined;
    }
    return at + taken;
  }
}

function paddingOf(sizeBytes: number): number {
  return (BLOCK_BYTES - (sizeBytes % BLOCK_BYTES)) % BLOCK_BYTES;
}

function upToNul(bytes: Uint8Array): Uint8Array {
  const nul = bytes.indexOf(0);
  return nul < 0 ? bytes : bytes.subarray(0, nul);
}
