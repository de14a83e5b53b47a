/**
 * Reads the images that the writer makes: to list, to stat, to read. For dumps, tests, and for copying files
 * out of an image on the host without a guest.
 *
 * An image may have been damaged or made by an enemy. Every position is checked against the source before
 * it is read, no length is trusted for an allocation, symlinks are followed a bounded number of times, and
 * whatever is wrong ends in an ErofsError.
 */
import { crc32c } from "../crc32c.ts";
import {
  BLOCK_BITS,
  BLOCK_SIZE,
  CHUNK_BITS_MASK,
  CHUNK_ENTRY_BYTES,
  DIRENT,
  ErofsError,
  FEATURE_COMPAT_SB_CHKSUM,
  FEATURE_INCOMPAT_CHUNKED_FILE,
  FORMAT_EXTENDED,
  INODE,
  Layout,
  MAX_NAME_BYTES,
  MAX_TARGET_BYTES,
  NO_BLOCK,
  SLOT_BYTES,
  SUPER_BLOCK,
  SUPER_MAGIC,
  SUPER_OFFSET,
  TYPE_MASK,
  TypeBits,
  XATTR_HEADER,
  blocksOf,
  decodeDevice,
} from "./format.ts";
import { readXattrBody } from "./xattr.ts";
import type { Xattrs } from "./xattr.ts";

/** Bytes of an image. */
export interface ErofsSource {
  readonly sizeBytes: number;
  /** Fills `out` from `offset` on. Only asked for what lies inside `sizeBytes`. */
  read(offset: number, out: Uint8Array): void;
}

export interface ErofsInode {
  readonly nid: number;
  /** As in `st_mode`. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly sizeBytes: number;
  readonly mtimeSeconds: number;
  readonly mtimeNanoseconds: number;
  readonly nlink: number;
  /** Devices only; 0:0 for the rest. */
  readonly rdev: { readonly major: number; readonly minor: number };
  /** See `Layout`. */
  readonly layout: number;
  /** The layout's number: start block or chunk format. */
  readonly start: number;
  readonly xattrBytes: number;
}

export interface ErofsEntry {
  /** latin1: one character a byte. */
  readonly name: string;
  readonly nid: number;
}

/** A run of a file's bytes, and where they are; a hole has no place. */
export interface ErofsExtent {
  readonly fileOffset: number;
  readonly lengthBytes: number;
  readonly imageOffset: number | undefined;
}

export type ErofsSuperBlock = ReturnType<typeof SUPER_BLOCK.decode>;

const MAX_SYMLINK_HOPS = 40;
/** What a symlink's or a path's components may add up to. */
const MAX_COMPONENTS = 100_000;

export function isDirectory(inode: ErofsInode): boolean {
  return (inode.mode & TYPE_MASK) === TypeBits.directory;
}

function isSymlink(inode: ErofsInode): boolean {
  return (inode.mode & TYPE_MASK) === TypeBits.symlink;
}

/** @throws ErofsError `invalid-erofs`, `unsupported-erofs` */
export function openErofs(source: ErofsSource): Erofs {
  if (source.sizeBytes < BLOCK_SIZE) throw invalid(`${source.sizeBytes} bytes are no image`);
  const block = new Uint8Array(BLOCK_SIZE);
  source.read(0, block);
  const superBlock = SUPER_BLOCK.decode(block, SUPER_OFFSET);
  if (superBlock.magic !== SUPER_MAGIC) throw invalid("no EROFS magic");
  if (superBlock.blkszbits !== BLOCK_BITS || superBlock.dirblkbits !== 0) {
    throw new ErofsError(
      "unsupported-erofs",
      `blocks of 2^${superBlock.blkszbits} bytes; only 4096 are supported`,
    );
  }
  if ((superBlock.feature_incompat & ~FEATURE_INCOMPAT_CHUNKED_FILE) !== 0) {
    const features = superBlock.feature_incompat.toString(16);
    throw new ErofsError(
      "unsupported-erofs",
      `it has features 0x${features}, not all of which are supported`,
    );
  }
  if (superBlock.feature_compat & FEATURE_COMPAT_SB_CHKSUM) {
    block.fill(0, SUPER_OFFSET + SUPER_BLOCK.at.checksum, SUPER_OFFSET + SUPER_BLOCK.at.checksum + 4);
    const got = crc32c(block.subarray(SUPER_OFFSET));
    if (got !== superBlock.checksum) {
      throw invalid(
        `the superblock's checksum is ${got.toString(16)}, not ${superBlock.checksum.toString(16)}`,
      );
    }
  }
  return new Erofs(source, superBlock);
}

export class Erofs {
  readonly superBlock: ErofsSuperBlock;
  readonly #source: ErofsSource;

  constructor(source: ErofsSource, superBlock: ErofsSuperBlock) {
    this.#source = source;
    this.superBlock = superBlock;
  }

  get root(): ErofsInode {
    return this.inode(this.superBlock.root_nid);
  }

  inode(nid: number): ErofsInode {
    const fields = INODE.decode(this.#bytes(this.#position(nid), INODE.sizeBytes), 0);
    const layout = (fields.i_format >>> 1) & 7;
    if ((fields.i_format & ~0xe) !== FORMAT_EXTENDED) {
      throw new ErofsError("unsupported-erofs", `inode ${nid} has format ${fields.i_format}`);
    }
    const type = fields.i_mode & TYPE_MASK;
    const isDevice = type === TypeBits.character || type === TypeBits.block;
    const inode: ErofsInode = {
      nid,
      mode: fields.i_mode,
      uid: fields.i_uid,
      gid: fields.i_gid,
      sizeBytes: fields.i_size,
      mtimeSeconds: fields.i_mtime,
      mtimeNanoseconds: fields.i_mtime_nsec,
      nlink: fields.i_nlink,
      rdev: decodeDevice(isDevice ? fields.i_u : 0),
      layout,
      start: fields.i_u,
      xattrBytes: fields.i_xattr_icount === 0 ? 0 : XATTR_HEADER.sizeBytes + 4 * (fields.i_xattr_icount - 1),
    };
    if (!Number.isSafeInteger(inode.sizeBytes)) throw invalid(`inode ${nid} is too big`);
    return inode;
  }

  xattrs(inode: ErofsInode): Xattrs {
    return readXattrBody(this.#bytes(this.#position(inode.nid) + INODE.sizeBytes, inode.xattrBytes));
  }

  /** Where the data of a file, directory or symlink is, in order and without gaps. */
  *extents(inode: ErofsInode): Generator<ErofsExtent, void, undefined> {
    const { sizeBytes, layout, start } = inode;
    const behind = this.#position(inode.nid) + INODE.sizeBytes + inode.xattrBytes;
    if (sizeBytes === 0) return;
    if (layout === Layout.chunkBased) {
      yield* this.#chunks(inode, behind);
    } else if (layout === Layout.flatPlain) {
      yield this.#extent(0, sizeBytes, start * BLOCK_SIZE);
    } else if (layout === Layout.flatInline) {
      const fullBytes = (blocksOf(sizeBytes) - 1) * BLOCK_SIZE;
      const tailBytes = sizeBytes - fullBytes;
      if ((behind % BLOCK_SIZE) + tailBytes > BLOCK_SIZE)
        throw invalid(`inode ${inode.nid}: its tail crosses a block`);
      if (fullBytes > 0) yield this.#extent(0, fullBytes, start * BLOCK_SIZE);
      yield this.#extent(fullBytes, tailBytes, behind);
    } else {
      throw new ErofsError("unsupported-erofs", `inode ${inode.nid} has layout ${layout}`);
    }
  }

  *#chunks(inode: ErofsInode, behind: number): Generator<ErofsExtent, void, undefined> {
    if ((inode.start & ~CHUNK_BITS_MASK) !== 0) {
      throw new ErofsError("unsupported-erofs", `inode ${inode.nid} has chunk format ${inode.start}`);
    }
    const chunkBytes = BLOCK_SIZE * 2 ** inode.start;
    const map = Math.ceil(behind / CHUNK_ENTRY_BYTES) * CHUNK_ENTRY_BYTES;
    const count = Math.ceil(inode.sizeBytes / chunkBytes);
    this.#check(map, count * CHUNK_ENTRY_BYTES);
    for (let chunk = 0; chunk < count; chunk++) {
      const entry = this.#bytes(map + chunk * CHUNK_ENTRY_BYTES, CHUNK_ENTRY_BYTES);
      const block = new DataView(entry.buffer).getUint32(0, true);
      const fileOffset = chunk * chunkBytes;
      const lengthBytes = Math.min(chunkBytes, inode.sizeBytes - fileOffset);
      if (block === NO_BLOCK) yield { fileOffset, lengthBytes, imageOffset: undefined };
      else yield this.#extent(fileOffset, lengthBytes, block * BLOCK_SIZE);
    }
  }

  #extent(fileOffset: number, lengthBytes: number, imageOffset: number): ErofsExtent {
    this.#check(imageOffset, lengthBytes);
    return { fileOffset, lengthBytes, imageOffset };
  }

  /**
   * All bytes of a file or symlink.
   * @throws ErofsError `erofs-too-much-data` when there are more than `maxBytes`
   */
  read(inode: ErofsInode, maxBytes: number): Uint8Array {
    if (inode.sizeBytes > maxBytes) {
      throw new ErofsError(
        "erofs-too-much-data",
        `${inode.sizeBytes} bytes; at most ${maxBytes} were asked for`,
      );
    }
    const data = new Uint8Array(inode.sizeBytes);
    for (const { fileOffset, lengthBytes, imageOffset } of this.extents(inode)) {
      if (imageOffset === undefined) continue;
      this.#source.read(imageOffset, data.subarray(fileOffset, fileOffset + lengthBytes));
    }
    return data;
  }

  /** The target of a symlink, as latin1. */
  readlink(inode: ErofsInode): string {
    if (!isSymlink(inode)) throw invalid(`inode ${inode.nid} is no symbolic link`);
    return Buffer.from(this.read(inode, MAX_TARGET_BYTES)).toString("latin1");
  }

  /** The entries of a directory in stored order, without `.` and `..`. */
  *entries(inode: ErofsInode): Generator<ErofsEntry, void, undefined> {
    if (!isDirectory(inode)) throw invalid(`inode ${inode.nid} is no directory`);
    for (const { lengthBytes, imageOffset } of this.extents(inode)) {
      if (imageOffset === undefined) throw invalid(`directory ${inode.nid} has a hole`);
      for (let done = 0; done < lengthBytes; done += BLOCK_SIZE) {
        const block = this.#bytes(imageOffset + done, Math.min(BLOCK_SIZE, lengthBytes - done));
        for (const entry of blockEntries(block, inode.nid)) {
          if (entry.name !== "." && entry.name !== "..") yield entry;
        }
      }
    }
  }

  /**
   * The inode that an absolute path (latin1) leads to, inside the image; a last symlink is followed too.
   * @throws ErofsError `erofs-not-found`
   */
  lookup(path: string): ErofsInode {
    let trail = [this.root];
    const pending = path.split("/").toReversed();
    let hops = 0;
    for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
      if (name === "" || name === ".") continue;
      if (name === "..") {
        if (trail.length > 1) trail.pop();
        continue;
      }
      const child = this.#child(trail.at(-1), name);
      if (isSymlink(child)) {
        const target = this.readlink(child);
        if (++hops > MAX_SYMLINK_HOPS || pending.length > MAX_COMPONENTS) {
          throw new ErofsError("erofs-not-found", "too many symbolic links");
        }
        if (target.startsWith("/")) trail = [this.root];
        for (const part of target.split("/").toReversed()) pending.push(part);
      } else {
        trail.push(child);
      }
    }
    return trail.at(-1) ?? this.root;
  }

  #child(directory: ErofsInode | undefined, name: string): ErofsInode {
    if (directory !== undefined && isDirectory(directory)) {
      for (const entry of this.entries(directory)) if (entry.name === name) return this.inode(entry.nid);
    }
    throw new ErofsError("erofs-not-found", "no such file in the image");
  }

  #position(nid: number): number {
    return this.superBlock.meta_blkaddr * BLOCK_SIZE + nid * SLOT_BYTES;
  }

  #bytes(offset: number, length: number): Uint8Array {
    this.#check(offset, length);
    const out = new Uint8Array(length);
    this.#source.read(offset, out);
    return out;
  }

  #check(offset: number, length: number): void {
    if (!Number.isSafeInteger(offset) || offset < 0 || !(offset + length <= this.#source.sizeBytes)) {
      throw invalid(`${length} bytes at ${offset} are outside an image of ${this.#source.sizeBytes}`);
    }
  }
}

function blockEntries(block: Uint8Array, nid: number): ErofsEntry[] {
  const damaged = (): ErofsError => invalid(`directory ${nid} is damaged`);
  if (block.length < DIRENT.sizeBytes) throw damaged();
  const heads = DIRENT.decode(block, 0).nameoff;
  if (heads < DIRENT.sizeBytes || heads % DIRENT.sizeBytes !== 0 || heads > block.length) throw damaged();
  const entries: ErofsEntry[] = [];
  for (let at = 0; at < heads; at += DIRENT.sizeBytes) {
    const entry = DIRENT.decode(block, at);
    const isLast = at + DIRENT.sizeBytes === heads;
    // The last name goes up to the end of the block, or to the zeros that fill it up.
    let end = isLast ? block.indexOf(0, entry.nameoff) : DIRENT.decode(block, at + DIRENT.sizeBytes).nameoff;
    if (isLast && end < 0) end = block.length;
    const length = end - entry.nameoff;
    if (entry.nameoff < heads || end > block.length || length < 1 || length > MAX_NAME_BYTES) throw damaged();
    const name = Buffer.from(block.subarray(entry.nameoff, end)).toString("latin1");
    if (name.includes("/") || name.includes("\0")) throw damaged();
    entries.push({ name, nid: entry.nid });
  }
  return entries;
}

function invalid(why: string): ErofsError {
  return new ErofsError("invalid-erofs", `not a sound EROFS image: ${why}`);
}
