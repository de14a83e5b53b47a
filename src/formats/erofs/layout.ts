/**
 * The first of the writer's two passes: where everything goes. Nothing is written yet.
 *
 * Inodes are placed in the tree's order behind the superblock. A directory's names, a small file or a
 * symlink's target go behind their inode as its inline tail; what has full blocks, or would leave no room,
 * goes to the data blocks behind the last inode.
 */
import {
  BLOCK_SIZE,
  CHUNK_ENTRY_BYTES,
  DIRENT,
  ErofsError,
  INODE,
  Layout,
  MAX_BLOCKS,
  SLOT_BYTES,
  SUPER_BLOCK,
  SUPER_OFFSET,
  TYPE_MASK,
  TypeBits,
  alignUp,
  blocksOf,
} from "./format.ts";
import { Content } from "./tree.ts";
import type { ValidatedTree } from "./tree.ts";
import { xattrBodyBytes } from "./xattr.ts";

export interface ImageLayout {
  /** One element an inode. */
  readonly slot: Float64Array;
  readonly layout: Uint8Array;
  /** Size as stored: that of a directory is the size of its entries. */
  readonly sizeBytes: Float64Array;
  readonly xattrBytes: Uint32Array;
  /** Bytes behind the inode and its xattrs, which do not cross a block. */
  readonly tailBytes: Uint16Array;
  /** Blocks in the primary, counted from `dataBlock`; only where `blockCount` is not 0. */
  readonly firstBlock: Float64Array;
  readonly blockCount: Float64Array;

  /** The first block behind the inodes. */
  readonly dataBlock: number;
  readonly primaryBlocks: number;
  /** The first block of each source's blob. */
  readonly blobBlock: readonly number[];
  readonly totalBlocks: number;
  /** The longest inode with all that follows it. */
  readonly maxRecordBytes: number;
  readonly hasChunks: boolean;
}

/** Number of chunks in a sparse file's map. */
export function chunkCount(sizeBytes: number, chunkBits: number): number {
  return Math.ceil(sizeBytes / (BLOCK_SIZE * 2 ** chunkBits));
}

/** Reads a u32le of a heap whose bounds have been validated. */
export function heapUint32(heap: Uint8Array, at: number): number {
  return (
    ((heap[at] ?? 0) |
      ((heap[at + 1] ?? 0) << 8) |
      ((heap[at + 2] ?? 0) << 16) |
      ((heap[at + 3] ?? 0) << 24)) >>>
    0
  );
}

/** The size of a directory's data: names do not cross blocks, and each block starts with its entries. */
function directoryBytes(tree: ValidatedTree, inode: number): number {
  const { firstChild, childName } = tree;
  const names = new DirectoryOrder(tree, inode);
  const first = firstChild[inode] ?? 0;
  let full = 0;
  let used = 0;
  for (let place = 0; place < names.count; place++) {
    const child = names.childAt(place);
    const length = child < 0 ? -child : (childName[first + child] ?? "").length;
    const need = DIRENT.sizeBytes + length;
    if (used + need > BLOCK_SIZE) {
      full++;
      used = 0;
    }
    used += need;
  }
  return full * BLOCK_SIZE + used;
}

/**
 * The places of `.` and `..` among a directory's names: lookup bisects by bytes, and `!`, `+`, `-` and
 * others sort before the dot.
 */
export class DirectoryOrder {
  /** Entries with the two dots. */
  readonly count: number;
  readonly #dot: number;
  readonly #dotDot: number;

  constructor(tree: ValidatedTree, inode: number) {
    const { firstChild, childName } = tree;
    const first = firstChild[inode] ?? 0;
    const end = firstChild[inode + 1] ?? 0;
    let row = first;
    while (row < end && (childName[row] ?? "") < ".") row++;
    this.#dot = row - first;
    while (row < end && (childName[row] ?? "") < "..") row++;
    this.#dotDot = row - first + 1;
    this.count = end - first + 2;
  }

  /** The child (counted from 0) at a place, or -1 for `.` and -2 for `..`. */
  childAt(place: number): number {
    if (place < this.#dot) return place;
    if (place === this.#dot) return -1;
    if (place === this.#dotDot) return -2;
    return place < this.#dotDot ? place - 1 : place - 2;
  }
}

/** @throws ErofsError `erofs-too-large` beyond 16 TiB */
export function layoutImage(tree: ValidatedTree): ImageLayout {
  const { inodeCount: count, sources } = tree;
  const plan = {
    slot: new Float64Array(count),
    layout: new Uint8Array(count),
    sizeBytes: tree.sizeBytes.slice(),
    xattrBytes: new Uint32Array(count),
    tailBytes: new Uint16Array(count),
    firstBlock: new Float64Array(count),
    blockCount: new Float64Array(count),
  };
  let position = SUPER_OFFSET + SUPER_BLOCK.sizeBytes;
  let dataBlocks = 0;
  let maxRecordBytes = 0;
  let hasChunks = false;
  for (let inode = 0; inode < count; inode++) {
    const mapBytes = placeContent(tree, plan, inode);
    const head = INODE.sizeBytes + (plan.xattrBytes[inode] ?? 0);
    const tail = plan.tailBytes[inode] ?? 0;
    position = placeInode(position, head, tail);
    plan.slot[inode] = position / SLOT_BYTES;
    plan.firstBlock[inode] = dataBlocks;
    dataBlocks += plan.blockCount[inode] ?? 0;
    hasChunks ||= mapBytes > 0;
    position += head + tail + mapBytes;
    maxRecordBytes = Math.max(maxRecordBytes, head + tail + mapBytes);
  }
  const dataBlock = blocksOf(position);
  const primaryBlocks = dataBlock + dataBlocks;
  const { blobBlock, totalBlocks } = placeBlobs(primaryBlocks, sources);
  return { ...plan, dataBlock, primaryBlocks, blobBlock, totalBlocks, maxRecordBytes, hasChunks };
}

type Plan = Pick<ImageLayout, "layout" | "sizeBytes" | "xattrBytes" | "tailBytes" | "blockCount">;

/** Decides one inode's layout. Returns the bytes of its chunk map. */
function placeContent(tree: ValidatedTree, plan: Plan, inode: number): number {
  const heap = tree.sources[tree.source[inode] ?? 0]?.heap ?? EMPTY;
  const xattrBytes = xattrBodyBytes(heap, tree.xattrOffset[inode] ?? 0);
  plan.xattrBytes[inode] = xattrBytes;
  const content = tree.content[inode];
  const isDirectory = ((tree.mode[inode] ?? 0) & TYPE_MASK) === TypeBits.directory;
  if (isDirectory) plan.sizeBytes[inode] = directoryBytes(tree, inode);
  const sizeBytes = plan.sizeBytes[inode] ?? 0;
  if (content === Content.chunks) {
    plan.layout[inode] = Layout.chunkBased;
    // Xattr bodies have whole words, so the map behind them is aligned to its entries.
    return CHUNK_ENTRY_BYTES * chunkCount(sizeBytes, heapUint32(heap, tree.contentOffset[inode] ?? 0));
  }
  if (!isDirectory && content !== Content.bytes) return 0;
  const tail = sizeBytes % BLOCK_SIZE;
  const inline = tail > 0 && INODE.sizeBytes + xattrBytes + tail <= BLOCK_SIZE;
  plan.layout[inode] = inline ? Layout.flatInline : Layout.flatPlain;
  plan.tailBytes[inode] = inline ? tail : 0;
  plan.blockCount[inode] = inline ? (sizeBytes - tail) / BLOCK_SIZE : blocksOf(sizeBytes);
  return 0;
}

const EMPTY = new Uint8Array(0);

/** The next slot from which the tail does not cross a block; the inode itself may. */
function placeInode(position: number, head: number, tail: number): number {
  const start = alignUp(position, SLOT_BYTES);
  if (!crosses(start + head, tail)) return start;
  const nextBlock = alignUp(start + head, BLOCK_SIZE);
  const atBlock = alignUp(nextBlock - head, SLOT_BYTES);
  return crosses(atBlock + head, tail) ? nextBlock : atBlock;
}

function crosses(start: number, length: number): boolean {
  return length > 0 && (start % BLOCK_SIZE) + length > BLOCK_SIZE;
}

function placeBlobs(
  primaryBlocks: number,
  sources: ValidatedTree["sources"],
): { blobBlock: number[]; totalBlocks: number } {
  let end = primaryBlocks;
  const blobBlock = sources.map(({ blobBlocks }) => {
    end += blobBlocks;
    return end - blobBlocks;
  });
  if (end >= MAX_BLOCKS) {
    throw new ErofsError("erofs-too-large", `${end} blocks of 4 KiB; a block address has 32 bits`);
  }
  return { blobBlock, totalBlocks: end };
}
