/**
 * The end of a merge: the reachable nodes, numbered breadth first (so the inodes of one directory lie
 * together in the image), with all that a writer needs gathered from the layers' columns.
 */
import { Content, NO_XATTRS } from "../formats/erofs/tree.ts";
import type { InodeTree, TreeSource } from "../formats/erofs/tree.ts";
import { TypeBits } from "../formats/erofs/format.ts";
import type { Digest } from "../reference/digest.ts";
import { DataKind, EntryKind } from "./layer-index.ts";
import { IMPLICIT, ROOT } from "./tree.ts";
import type { Tree } from "./tree.ts";

export interface LayerSource extends TreeSource {
  readonly diffId: Digest;
}

/** A merged tree as columns, not validated yet. Source i is layer i. */
export interface MergedTree extends InodeTree {
  readonly sources: readonly LayerSource[];
}

/** Type bits by EntryKind; a kind that cannot be an inode has none, and validation refuses it. */
const TYPE_OF_KIND: readonly number[] = [
  TypeBits.directory,
  TypeBits.file,
  TypeBits.symlink,
  0,
  TypeBits.character,
  TypeBits.block,
  TypeBits.fifo,
];

const CONTENT_OF_DATA: Readonly<Record<number, Content>> = {
  [DataKind.none]: Content.none,
  [DataKind.inline]: Content.bytes,
  [DataKind.extent]: Content.extent,
  [DataKind.chunks]: Content.chunks,
};

interface Numbering {
  /** The node of each inode. */
  readonly nodes: readonly number[];
  readonly nlink: readonly number[];
  readonly parent: readonly number[];
  readonly firstChild: Uint32Array;
  readonly childName: readonly string[];
  readonly childInode: readonly number[];
}

function numberInodes(tree: Tree): Numbering {
  const inodeOf = new Int32Array(tree.children.length).fill(-1);
  const nodes = [ROOT];
  const nlink = [2];
  const parent = [0];
  const firstChild: number[] = [];
  const childName: string[] = [];
  const childInode: number[] = [];
  inodeOf[ROOT] = 0;
  // `nodes` grows while it is walked: a directory's children are numbered when its turn comes.
  for (let inode = 0; inode < nodes.length; inode++) {
    firstChild.push(childName.length);
    const children = tree.children[nodes[inode] ?? ROOT];
    if (children === undefined) continue;
    // The default order of strings is that of their code units, here bytes.
    for (const name of [...children.keys()].sort()) {
      const node = children.get(name) ?? ROOT;
      let child = inodeOf[node] ?? -1;
      if (child < 0) {
        child = nodes.push(node) - 1;
        inodeOf[node] = child;
        parent.push(inode);
        nlink.push(tree.isDirectory(node) ? 2 : 1);
        if (tree.isDirectory(node)) nlink[inode] = (nlink[inode] ?? 0) + 1;
      } else {
        nlink[child] = (nlink[child] ?? 0) + 1;
      }
      childName.push(name);
      childInode.push(child);
    }
  }
  firstChild.push(childName.length);
  return { nodes, nlink, parent, firstChild: new Uint32Array(firstChild), childName, childInode };
}

export function toColumns(tree: Tree): MergedTree {
  const { nodes, nlink, parent, firstChild, childName, childInode } = numberInodes(tree);
  const count = nodes.length;
  const columns = {
    mode: new Uint16Array(count),
    uid: new Uint32Array(count),
    gid: new Uint32Array(count),
    mtimeSeconds: new Float64Array(count),
    mtimeNanoseconds: new Uint32Array(count),
    sizeBytes: new Float64Array(count),
    rdevMajor: new Uint32Array(count),
    rdevMinor: new Uint32Array(count),
    source: new Uint16Array(count),
    content: new Uint8Array(count),
    contentOffset: new Uint32Array(count),
    xattrOffset: new Uint32Array(count).fill(NO_XATTRS),
  };
  for (let inode = 0; inode < count; inode++) gather(tree, nodes[inode] ?? ROOT, columns, inode);
  return {
    ...columns,
    inodeCount: count,
    sources: tree.layers.map(({ diffId, index: { heap, blobBlocks } }) => ({ diffId, heap, blobBlocks })),
    nlink: new Uint32Array(nlink),
    parent: new Uint32Array(parent),
    firstChild,
    childName,
    childInode: new Uint32Array(childInode),
  };
}

type Gathered = Omit<
  InodeTree,
  "inodeCount" | "sources" | "nlink" | "parent" | "firstChild" | "childName" | "childInode"
>;

function gather(tree: Tree, node: number, to: Gathered, inode: number): void {
  const layer = tree.layerOf[node] ?? IMPLICIT;
  const index = tree.layers[layer]?.index;
  if (index === undefined) {
    to.mode[inode] = TypeBits.directory | 0o755;
    return;
  }
  const row = tree.rowOf[node] ?? 0;
  const kind = index.kind[row] ?? 0;
  const isSymlink = kind === EntryKind.symlink;
  // A symlink's own permissions mean nothing to Linux, which reports 0777; archives carry anything.
  const permissions = isSymlink ? 0o777 : (index.mode[row] ?? 0) & 0o7777;
  to.mode[inode] = (TYPE_OF_KIND[kind] ?? 0) | permissions;
  to.uid[inode] = index.uid[row] ?? 0;
  to.gid[inode] = index.gid[row] ?? 0;
  to.mtimeSeconds[inode] = index.mtimeSeconds[row] ?? 0;
  to.mtimeNanoseconds[inode] = index.mtimeNanoseconds[row] ?? 0;
  to.source[inode] = layer;
  to.xattrOffset[inode] = index.xattrOffset[row] ?? NO_XATTRS;
  if (isSymlink) {
    to.sizeBytes[inode] = index.targetLength[row] ?? 0;
    to.content[inode] = Content.bytes;
    to.contentOffset[inode] = index.targetOffset[row] ?? 0;
  } else if (kind === EntryKind.file) {
    to.sizeBytes[inode] = index.sizeBytes[row] ?? 0;
    to.content[inode] = CONTENT_OF_DATA[index.dataKind[row] ?? 0] ?? UNKNOWN_CONTENT;
    to.contentOffset[inode] = index.dataOffset[row] ?? 0;
  } else if (kind === EntryKind.character || kind === EntryKind.block) {
    to.rdevMajor[inode] = index.rdevMajor[row] ?? 0;
    to.rdevMinor[inode] = index.rdevMinor[row] ?? 0;
  }
}

/** No Content: validation refuses it. */
const UNKNOWN_CONTENT = 0xff;
