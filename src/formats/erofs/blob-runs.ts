/** Where a file's data is, for writers that copy it out of the blobs. */
import { NO_BLOCK, blocksOf } from "./format.ts";
import { chunkCount, heapUint32 } from "./layout.ts";
import { Content } from "./tree.ts";
import type { ValidatedTree } from "./tree.ts";

const EMPTY = new Uint8Array(0);

/** The heap that an inode's offsets point into. */
export function heapOf(tree: ValidatedTree, inode: number): Uint8Array {
  return tree.sources[tree.source[inode] ?? 0]?.heap ?? EMPTY;
}

/** The bytes of a small file or a symlink's target. */
export function bytesOf(tree: ValidatedTree, inode: number): Uint8Array {
  const offset = tree.contentOffset[inode] ?? 0;
  return heapOf(tree, inode).subarray(offset, offset + (tree.sizeBytes[inode] ?? 0));
}

/** Where the blocks of a file are in its source's blob; between the runs are its holes. */
export function* blobRuns(
  tree: ValidatedTree,
  inode: number,
): Generator<{ readonly logical: number; readonly blobBlock: number; readonly count: number }> {
  const offset = tree.contentOffset[inode] ?? 0;
  const fileBlocks = blocksOf(tree.sizeBytes[inode] ?? 0);
  if (tree.content[inode] === Content.extent) {
    yield { logical: 0, blobBlock: offset, count: fileBlocks };
    return;
  }
  const heap = heapOf(tree, inode);
  const chunkBits = heapUint32(heap, offset);
  const chunkBlocks = 2 ** chunkBits;
  const chunks = chunkCount(tree.sizeBytes[inode] ?? 0, chunkBits);
  let run = { logical: 0, blobBlock: 0, count: 0 };
  for (let chunk = 0; chunk < chunks; chunk++) {
    const blobBlock = heapUint32(heap, offset + 4 + 4 * chunk);
    if (blobBlock === NO_BLOCK) continue;
    const logical = chunk * chunkBlocks;
    const count = Math.min(chunkBlocks, fileBlocks - logical);
    if (run.logical + run.count === logical && run.blobBlock + run.count === blobBlock) run.count += count;
    else {
      if (run.count > 0) yield run;
      run = { logical, blobBlock, count };
    }
  }
  if (run.count > 0) yield run;
}
