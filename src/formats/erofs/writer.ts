/**
 * Writes the metadata of a file system image: all that is not in a blob.
 *
 *     ValidatedTree ──layoutImage──► where everything goes ──chunks()──► bytes, in ascending order
 *
 * The same tree and options give the same bytes. The result is the primary part; with the sources' blobs
 * laid behind it, in their order, it is one image without a device table, which any kernel since 5.15 mounts.
 */
import { setInt64 } from "../struct.ts";
import { crc32c } from "../crc32c.ts";
import {
  BLOCK_BITS,
  BLOCK_SIZE,
  CHUNK_ENTRY_BYTES,
  DIRENT,
  DIRENT_TYPES,
  FEATURE_COMPAT_MTIME,
  FEATURE_COMPAT_SB_CHKSUM,
  FEATURE_INCOMPAT_CHUNKED_FILE,
  FORMAT_EXTENDED,
  INODE,
  Layout,
  NO_BLOCK,
  SLOT_BYTES,
  SUPER_BLOCK,
  SUPER_MAGIC,
  SUPER_OFFSET,
  XATTR_HEADER,
  encodeDevice,
} from "./format.ts";
import { DirectoryOrder, chunkCount, heapUint32, layoutImage } from "./layout.ts";
import type { ImageLayout } from "./layout.ts";
import { Content } from "./tree.ts";
import type { ValidatedTree } from "./tree.ts";
import { writeXattrBody } from "./xattr.ts";

export interface ErofsOptions {
  /** 16 bytes. */
  readonly uuid: Uint8Array;
  /** At most 15 bytes; the kernel wants a NUL behind it. */
  readonly volumeName?: Uint8Array | undefined;
}

export interface ErofsImage {
  /** Blocks of the metadata, which `chunks` gives. */
  readonly primaryBlocks: number;
  /** With all blobs. */
  readonly totalBlocks: number;
  readonly inodeCount: number;
  /** The metadata in order, `primaryBlocks` × 4 KiB. Each chunk is valid until the next one is asked for. */
  chunks(): Generator<Uint8Array, void, undefined>;
}

/** @throws ErofsError `erofs-too-large` */
export function buildErofs(tree: ValidatedTree, options: ErofsOptions): ErofsImage {
  const plan = layoutImage(tree);
  return {
    primaryBlocks: plan.primaryBlocks,
    totalBlocks: plan.totalBlocks,
    inodeCount: tree.inodeCount,
    chunks: () => emit(tree, plan, options),
  };
}

const WINDOW_BYTES = 4 * 1024 * 1024;

/** The bytes being written: a window of zeros that moves through the image. */
interface Window {
  readonly bytes: Buffer;
  readonly view: DataView;
  /** Image offset of its first byte. */
  start: number;
}

function* emit(
  tree: ValidatedTree,
  plan: ImageLayout,
  options: ErofsOptions,
): Generator<Uint8Array, void, undefined> {
  // Two blocks more than the longest record: so block 0 is complete when the window first moves. The buffer
  // has two blocks more than the window, because padding may lie between its last record and the next.
  const imageBytes = plan.primaryBlocks * BLOCK_SIZE;
  const size = Math.min(Math.max(WINDOW_BYTES, plan.maxRecordBytes + 2 * BLOCK_SIZE), imageBytes);
  const bytes = Buffer.alloc(size + 2 * BLOCK_SIZE);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const window: Window = { bytes, view, start: 0 };
  writeSuperBlock(window, tree, plan, options);
  const writer = new InodeWriter(tree, plan, window);

  for (let inode = 0; inode < tree.inodeCount; inode++) {
    const position = SLOT_BYTES * (plan.slot[inode] ?? 0);
    if (position + writer.recordBytes(inode) > window.start + size) {
      yield finish(window, position);
      moveTo(window, position);
    }
    writer.writeInode(inode, position - window.start);
  }
  for (let inode = 0; inode < tree.inodeCount; inode++) {
    for (let block = 0; block < (plan.blockCount[inode] ?? 0); block++) {
      const position = BLOCK_SIZE * (plan.dataBlock + (plan.firstBlock[inode] ?? 0) + block);
      if (position + BLOCK_SIZE > window.start + size) {
        yield finish(window, position);
        moveTo(window, position);
      }
      writer.writeBlock(inode, block, position - window.start);
    }
  }
  yield finish(window, imageBytes);
}

function moveTo(window: Window, position: number): void {
  window.bytes.fill(0);
  window.start = position;
}

/** The bytes up to an image offset, which are final. Block 0 gets its checksum, now that it is complete. */
function finish(window: Window, end: number): Uint8Array {
  if (window.start === 0) {
    const sum = crc32c(window.bytes.subarray(SUPER_OFFSET, BLOCK_SIZE));
    window.view.setUint32(SUPER_OFFSET + SUPER_BLOCK.at.checksum, sum, true);
  }
  return window.bytes.subarray(0, end - window.start);
}

function writeSuperBlock(
  window: Window,
  tree: ValidatedTree,
  plan: ImageLayout,
  options: ErofsOptions,
): void {
  SUPER_BLOCK.encode(window.bytes, SUPER_OFFSET, {
    magic: SUPER_MAGIC,
    feature_compat: FEATURE_COMPAT_SB_CHKSUM | FEATURE_COMPAT_MTIME,
    feature_incompat: plan.hasChunks ? FEATURE_INCOMPAT_CHUNKED_FILE : 0,
    blkszbits: BLOCK_BITS,
    root_nid: plan.slot[0] ?? 0,
    inos: tree.inodeCount,
    blocks: plan.totalBlocks,
    uuid: options.uuid,
    // One byte short of the field, so that a NUL is left.
    volume_name: (options.volumeName ?? new Uint8Array(0)).subarray(0, 15),
  });
}

/** Writes one inode, or one data block, at a place in the window. */
class InodeWriter {
  readonly #tree: ValidatedTree;
  readonly #plan: ImageLayout;
  readonly #window: Window;

  constructor(tree: ValidatedTree, plan: ImageLayout, window: Window) {
    this.#tree = tree;
    this.#plan = plan;
    this.#window = window;
  }

  recordBytes(inode: number): number {
    return this.#headBytes(inode) + (this.#plan.tailBytes[inode] ?? 0) + this.#mapBytes(inode);
  }

  #headBytes(inode: number): number {
    return INODE.sizeBytes + (this.#plan.xattrBytes[inode] ?? 0);
  }

  #mapBytes(inode: number): number {
    if (this.#plan.layout[inode] !== Layout.chunkBased) return 0;
    const chunkBits = heapUint32(this.#heap(inode), this.#tree.contentOffset[inode] ?? 0);
    return CHUNK_ENTRY_BYTES * chunkCount(this.#tree.sizeBytes[inode] ?? 0, chunkBits);
  }

  #heap(inode: number): Uint8Array {
    return this.#tree.sources[this.#tree.source[inode] ?? 0]?.heap ?? EMPTY;
  }

  /** The hot path: the table's offsets, no object an inode. */
  writeInode(inode: number, at: number): void {
    const { view, bytes } = this.#window;
    const tree = this.#tree;
    const plan = this.#plan;
    const layout = plan.layout[inode] ?? 0;
    const xattrBytes = plan.xattrBytes[inode] ?? 0;
    const field = INODE.at;
    view.setUint16(at + field.i_format, FORMAT_EXTENDED | (layout << 1), true);
    view.setUint16(at + field.i_mode, tree.mode[inode] ?? 0, true);
    setInt64(view, at + field.i_size, plan.sizeBytes[inode] ?? 0);
    view.setUint32(at + field.i_u, this.#startOf(inode, layout), true);
    view.setUint32(at + field.i_ino, inode + 1, true);
    view.setUint32(at + field.i_uid, tree.uid[inode] ?? 0, true);
    view.setUint32(at + field.i_gid, tree.gid[inode] ?? 0, true);
    setInt64(view, at + field.i_mtime, tree.mtimeSeconds[inode] ?? 0);
    view.setUint32(at + field.i_mtime_nsec, tree.mtimeNanoseconds[inode] ?? 0, true);
    view.setUint32(at + field.i_nlink, tree.nlink[inode] ?? 0, true);
    const behind = at + INODE.sizeBytes + xattrBytes;
    if (xattrBytes > 0) {
      view.setUint16(at + field.i_xattr_icount, 1 + (xattrBytes - XATTR_HEADER.sizeBytes) / 4, true);
      writeXattrBody(this.#heap(inode), tree.xattrOffset[inode] ?? 0, bytes, at + INODE.sizeBytes);
    }
    if (layout === Layout.chunkBased) this.#writeChunkMap(inode, behind);
    const tail = plan.tailBytes[inode] ?? 0;
    if (tail > 0) this.#writeData(inode, plan.blockCount[inode] ?? 0, behind, tail);
  }

  writeBlock(inode: number, block: number, at: number): void {
    const left = (this.#plan.sizeBytes[inode] ?? 0) - block * BLOCK_SIZE;
    this.#writeData(inode, block, at, Math.min(left, BLOCK_SIZE));
  }

  /** The union field `i_u`. */
  #startOf(inode: number, layout: number): number {
    const tree = this.#tree;
    const plan = this.#plan;
    if (layout === Layout.chunkBased) return heapUint32(this.#heap(inode), tree.contentOffset[inode] ?? 0);
    if (tree.content[inode] === Content.extent) {
      return (plan.blobBlock[tree.source[inode] ?? 0] ?? 0) + (tree.contentOffset[inode] ?? 0);
    }
    if ((plan.blockCount[inode] ?? 0) > 0) return plan.dataBlock + (plan.firstBlock[inode] ?? 0);
    const type = DIRENT_TYPES[(tree.mode[inode] ?? 0) >>> 12];
    if (type === 3 || type === 4) return encodeDevice(tree.rdevMajor[inode] ?? 0, tree.rdevMinor[inode] ?? 0);
    return type === 5 || type === 6 ? 0 : NO_BLOCK;
  }

  #writeChunkMap(inode: number, at: number): void {
    const heap = this.#heap(inode);
    const from = (this.#tree.contentOffset[inode] ?? 0) + CHUNK_ENTRY_BYTES;
    const blobBlock = this.#plan.blobBlock[this.#tree.source[inode] ?? 0] ?? 0;
    const mapBytes = this.#mapBytes(inode);
    for (let entry = 0; entry < mapBytes; entry += CHUNK_ENTRY_BYTES) {
      const block = heapUint32(heap, from + entry);
      this.#window.view.setUint32(at + entry, block === NO_BLOCK ? NO_BLOCK : blobBlock + block, true);
    }
  }

  /** Writes one block of an inode's own data: the `block`th, of which `length` bytes are used. */
  #writeData(inode: number, block: number, at: number, length: number): void {
    const tree = this.#tree;
    if (tree.content[inode] === Content.bytes) {
      const from = (tree.contentOffset[inode] ?? 0) + block * BLOCK_SIZE;
      this.#window.bytes.set(this.#heap(inode).subarray(from, from + length), at);
    } else {
      this.#writeDirents(inode, block, at);
    }
  }

  /** The place of the first entry of the next block, while a directory's blocks are written in order. */
  #open:
    | {
        readonly inode: number;
        readonly block: number;
        readonly place: number;
        readonly order: DirectoryOrder;
      }
    | undefined;

  #writeDirents(inode: number, block: number, at: number): void {
    const { first, end, order } = this.#direntRange(inode, block);
    const tree = this.#tree;
    const { view, bytes } = this.#window;
    const firstRow = tree.firstChild[inode] ?? 0;
    let nameOffset = (end - first) * DIRENT.sizeBytes;
    for (let place = first; place < end; place++) {
      const child = order.childAt(place);
      const name = child < 0 ? "..".slice(0, -child) : (tree.childName[firstRow + child] ?? "");
      const target =
        child >= 0 ? tree.childInode[firstRow + child] : child === -1 ? inode : tree.parent[inode];
      const dirent = at + (place - first) * DIRENT.sizeBytes;
      setInt64(view, dirent + DIRENT.at.nid, this.#plan.slot[target ?? 0] ?? 0);
      view.setUint16(dirent + DIRENT.at.nameoff, nameOffset, true);
      bytes[dirent + DIRENT.at.file_type] = DIRENT_TYPES[(tree.mode[target ?? 0] ?? 0) >>> 12] ?? 0;
      bytes.write(name, at + nameOffset, "latin1");
      nameOffset += name.length;
    }
  }

  #direntRange(inode: number, block: number): { first: number; end: number; order: DirectoryOrder } {
    const { childName, firstChild } = this.#tree;
    let open = this.#open;
    // Tails are written before full blocks, so a directory with both is walked from its start once more.
    if (open?.inode !== inode || open.block > block) {
      open = { inode, block: 0, place: 0, order: new DirectoryOrder(this.#tree, inode) };
    }
    const { order } = open;
    const firstRow = firstChild[inode] ?? 0;
    let at = open.block;
    let first = open.place;
    let end = first;
    for (; at <= block; at++) {
      first = end;
      let used = 0;
      for (; end < order.count; end++) {
        const child = order.childAt(end);
        used += DIRENT.sizeBytes + (child < 0 ? -child : (childName[firstRow + child] ?? "").length);
        if (used > BLOCK_SIZE) break;
      }
    }
    this.#open = { inode, block: at, place: end, order };
    return { first, end, order };
  }
}

const EMPTY = new Uint8Array(0);
