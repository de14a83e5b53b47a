/**
 * The gate between what images say and what is written: a `ValidatedTree` comes from here only.
 *
 * Layer indexes were made by us, but are read back from disk, from data that strangers chose. What passes
 * here is a tree that a writer can put down without looking: every reference ends inside its heap or blob,
 * every name can be a name, and the directories form one tree.
 */
import {
  BLOCK_SIZE,
  MAX_BLOCKS,
  MAX_DEVICE_MAJOR,
  MAX_DEVICE_MINOR,
  MAX_NAME_BYTES,
  MAX_TARGET_BYTES,
  TYPE_MASK,
  TypeBits,
  blocksOf,
} from "../formats/erofs/format.ts";
import { chunkCount, heapUint32 } from "../formats/erofs/layout.ts";
import { Content } from "../formats/erofs/tree.ts";
import type { ValidatedTree } from "../formats/erofs/tree.ts";
import { xattrProblem } from "../formats/erofs/xattr.ts";
import type { LayerSource, MergedTree } from "./columns.ts";
import { HOLE, INLINE_LIMIT } from "./layer-index.ts";
import { RootfsError, printable } from "./rootfs-error.ts";

export type { ValidatedTree } from "../formats/erofs/tree.ts";

/** A path of 4,095 bytes has no more components than this. */
const MAX_DEPTH = 2048;
const MAX_CHUNK_BITS = 31;
const NANOSECONDS = 1_000_000_000;

const NOWHERE: LayerSource = { diffId: "" as LayerSource["diffId"], heap: new Uint8Array(0), blobBlocks: 0 };

/** @throws RootfsError `invalid-tree` naming the inode's path and layer */
export function validate(tree: MergedTree): ValidatedTree {
  const blobBlocks = tree.sources.reduce((sum, source) => sum + source.blobBlocks, 0);
  if (!(blobBlocks < MAX_BLOCKS)) {
    throw new RootfsError(
      "rootfs-too-large",
      `the layers have ${blobBlocks} blocks of 4 KiB; the limit is 16 TiB`,
    );
  }
  checkShape(tree);
  for (let inode = 0; inode < tree.inodeCount; inode++) {
    const problem = inodeProblem(tree, inode);
    if (problem !== undefined) throw invalid(tree, inode, problem);
  }
  return tree as MergedTree & ValidatedTree;
}

/** Names, and that the directories form one tree whose root is inode 0. */
function checkShape(tree: MergedTree): void {
  const { inodeCount, firstChild, childInode, childName, mode, parent, nlink } = tree;
  const seen = new Uint32Array(inodeCount);
  const subdirectories = new Uint32Array(inodeCount);
  const depth = new Uint16Array(inodeCount);
  if (inodeCount < 1 || !isDirectory(mode[0]))
    throw new RootfsError("invalid-tree", "the root is no directory");
  for (let inode = 0; inode < inodeCount; inode++) {
    const first = firstChild[inode] ?? 0;
    const end = firstChild[inode + 1] ?? 0;
    if (!isDirectory(mode[inode])) {
      if (first !== end) throw invalid(tree, inode, "it has children, but is no directory");
      continue;
    }
    let previous = "";
    for (let row = first; row < end; row++) {
      const name = childName[row] ?? "";
      const child = childInode[row] ?? inodeCount;
      const problem = nameProblem(name) ?? (name <= previous ? "names are not in order" : undefined);
      if (problem !== undefined) throw invalid(tree, inode, `${printable(name)} in it: ${problem}`);
      if (child >= inodeCount) throw invalid(tree, inode, `${printable(name)} in it leads nowhere`);
      previous = name;
      seen[child] = (seen[child] ?? 0) + 1;
      if (!isDirectory(mode[child])) continue;
      // Children of a directory have higher numbers than it: with one name each, there can be no cycle.
      if (child <= inode || parent[child] !== inode || seen[child] !== 1) {
        throw invalid(tree, inode, `${printable(name)} in it is a directory with a second name`);
      }
      subdirectories[inode] = (subdirectories[inode] ?? 0) + 1;
      depth[child] = (depth[inode] ?? 0) + 1;
      if ((depth[child] ?? 0) > MAX_DEPTH) throw invalid(tree, inode, `deeper than ${MAX_DEPTH} directories`);
    }
  }
  for (let inode = 0; inode < inodeCount; inode++) {
    const links = isDirectory(mode[inode]) ? 2 + (subdirectories[inode] ?? 0) : seen[inode];
    if (nlink[inode] !== links)
      throw invalid(tree, inode, `${nlink[inode]} links are noted, ${links} counted`);
    if (inode > 0 && seen[inode] === 0) throw invalid(tree, inode, "it has no name");
  }
}

function isDirectory(mode: number | undefined): boolean {
  return ((mode ?? 0) & TYPE_MASK) === TypeBits.directory;
}

function nameProblem(name: string): string | undefined {
  if (name.length < 1 || name.length > MAX_NAME_BYTES) return `a name has 1..${MAX_NAME_BYTES} bytes`;
  if (name === "." || name === ".." || name.includes("/") || name.includes("\0")) return "not a file name";
  return undefined;
}

function inodeProblem(tree: MergedTree, inode: number): string | undefined {
  const source = tree.sources[tree.source[inode] ?? 0] ?? NOWHERE;
  const seconds = tree.mtimeSeconds[inode] ?? 0;
  if (!Number.isSafeInteger(seconds) || (tree.mtimeNanoseconds[inode] ?? 0) >= NANOSECONDS) {
    return `${seconds} s is no time`;
  }
  return xattrProblem(source.heap, tree.xattrOffset[inode] ?? 0) ?? contentProblem(tree, inode, source);
}

function contentProblem(tree: MergedTree, inode: number, source: LayerSource): string | undefined {
  const type = (tree.mode[inode] ?? 0) & TYPE_MASK;
  const content = tree.content[inode];
  const sizeBytes = tree.sizeBytes[inode] ?? 0;
  switch (type) {
    case TypeBits.file:
      return fileProblem(tree, inode, source);
    case TypeBits.symlink:
      return symlinkProblem(tree, inode, source);
    case TypeBits.character:
    case TypeBits.block:
    case TypeBits.fifo:
    case TypeBits.directory:
      break;
    default:
      return `its mode 0o${(tree.mode[inode] ?? 0).toString(8)} is of no known type`;
  }
  if (content !== Content.none || sizeBytes !== 0) return "it has data, but is no file";
  const major = tree.rdevMajor[inode] ?? 0;
  const minor = tree.rdevMinor[inode] ?? 0;
  if (major > MAX_DEVICE_MAJOR || minor > MAX_DEVICE_MINOR) {
    return `Linux has no device ${major}:${minor}; majors end at ${MAX_DEVICE_MAJOR}, minors at ${MAX_DEVICE_MINOR}`;
  }
  return undefined;
}

function symlinkProblem(tree: MergedTree, inode: number, source: LayerSource): string | undefined {
  const sizeBytes = tree.sizeBytes[inode] ?? 0;
  const offset = tree.contentOffset[inode] ?? 0;
  if (sizeBytes < 1 || sizeBytes > MAX_TARGET_BYTES)
    return `a link's target has 1..${MAX_TARGET_BYTES} bytes`;
  if (tree.content[inode] !== Content.bytes || offset + sizeBytes > source.heap.length) {
    return "its target is outside the heap";
  }
  // A kernel would take the target only up to the NUL, and tools disagree about the rest.
  const hasNul = source.heap.subarray(offset, offset + sizeBytes).includes(0);
  return hasNul ? "its target has a NUL" : undefined;
}

function fileProblem(tree: MergedTree, inode: number, source: LayerSource): string | undefined {
  const sizeBytes = tree.sizeBytes[inode] ?? 0;
  const offset = tree.contentOffset[inode] ?? 0;
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 0) return `${sizeBytes} bytes is no size`;
  switch (tree.content[inode]) {
    case Content.none:
      return sizeBytes === 0 ? undefined : `${sizeBytes} bytes, but no data`;
    case Content.bytes:
      if (sizeBytes < 1 || sizeBytes > INLINE_LIMIT) return `${sizeBytes} bytes are kept inline`;
      return offset + sizeBytes > source.heap.length ? "its data is outside the heap" : undefined;
    case Content.extent:
      if (sizeBytes < 1) return "it is empty, but has blocks";
      return offset + blocksOf(sizeBytes) > source.blobBlocks
        ? `blocks ${offset} + ${blocksOf(sizeBytes)} are outside a blob of ${source.blobBlocks}`
        : undefined;
    case Content.chunks:
      return chunkProblem(sizeBytes, offset, source);
    default:
      return "its kind of data is unknown";
  }
}

function chunkProblem(
  sizeBytes: number,
  offset: number,
  { heap, blobBlocks }: LayerSource,
): string | undefined {
  if (sizeBytes < 1 || offset + 4 > heap.length) return "its chunk map is outside the heap";
  const chunkBits = heapUint32(heap, offset);
  if (chunkBits > MAX_CHUNK_BITS) return `chunks of 2^${chunkBits} blocks`;
  const count = chunkCount(sizeBytes, chunkBits);
  if (offset + 4 + 4 * count > heap.length) return "its chunk map is outside the heap";
  const chunkBlocks = 2 ** chunkBits;
  for (let chunk = 0; chunk < count; chunk++) {
    const block = heapUint32(heap, offset + 4 + 4 * chunk);
    if (block === HOLE) continue;
    // The last chunk has only the blocks that the file's size still needs.
    const leftBytes = sizeBytes - chunk * chunkBlocks * BLOCK_SIZE;
    if (block + Math.min(chunkBlocks, blocksOf(leftBytes)) > blobBlocks) {
      return `chunk ${chunk} at block ${block} is outside a blob of ${blobBlocks}`;
    }
  }
  return undefined;
}

function invalid(tree: MergedTree, inode: number, why: string): RootfsError {
  const { diffId } = tree.sources[tree.source[inode] ?? 0] ?? NOWHERE;
  const path = printable(pathOf(tree, inode));
  return new RootfsError("invalid-tree", `layer ${diffId}: ${path} cannot be in a root file system: ${why}`, {
    hint: "the image or its converted layers are damaged; remove the image and pull it again",
  });
}

/** One path of an inode, for messages. Bounded: the tree is not known to be one yet. */
function pathOf(tree: MergedTree, inode: number): string {
  let path = "";
  let at = inode;
  for (let step = 0; step < MAX_DEPTH && at !== 0; step++) {
    const row = tree.childInode.indexOf(at);
    if (row < 0) break;
    path = `/${tree.childName[row] ?? ""}${path}`;
    at = tree.parent[at] ?? 0;
  }
  return path === "" ? "/" : path;
}
