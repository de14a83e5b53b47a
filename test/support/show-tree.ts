/** A merged tree as short lines, for tables: what is unusual is said, the usual is not. */
import { Content } from "../../src/formats/erofs/tree.ts";
import type { InodeTree } from "../../src/formats/erofs/tree.ts";

const KINDS: Readonly<Record<number, string>> = {
  0o01: "fifo",
  0o02: "character",
  0o04: "directory",
  0o06: "block",
  0o10: "file",
  0o12: "symlink",
};
const USUAL: Readonly<Record<string, number>> = { directory: 0o755, file: 0o644, symlink: 0o777 };

function textOf(tree: InodeTree, inode: number): string {
  if (tree.content[inode] !== Content.bytes) return "";
  const at = tree.contentOffset[inode] ?? 0;
  const heap = tree.sources[tree.source[inode] ?? 0]?.heap ?? new Uint8Array(0);
  return Buffer.from(heap.subarray(at, at + (tree.sizeBytes[inode] ?? 0))).toString("latin1");
}

function line(tree: InodeTree, inode: number, path: string): string {
  const mode = tree.mode[inode] ?? 0;
  const kind = KINDS[mode >>> 12] ?? `type ${mode >>> 12}`;
  const device = `${kind} ${tree.rdevMajor[inode]}:${tree.rdevMinor[inode]}`;
  const shown: Record<string, string> = {
    directory: `${path}/`,
    file: `${path}=${textOf(tree, inode)}`,
    symlink: `${path}->${textOf(tree, inode)}`,
    character: `${path}=${device}`,
    block: `${path}=${device}`,
    fifo: `${path}=fifo`,
  };
  const permissions = mode & 0o7777;
  const owner = `${tree.uid[inode]}:${tree.gid[inode]}`;
  const links = kind === "directory" ? 1 : (tree.nlink[inode] ?? 0);
  return [
    shown[kind] ?? kind,
    permissions === USUAL[kind] ? "" : ` ${permissions.toString(8)}`,
    owner === "0:0" ? "" : ` ${owner}`,
    links === 1 ? "" : ` x${links}`,
  ].join("");
}

/** All entries by path; the root only where it is unusual. */
export function showTree(tree: InodeTree): string[] {
  const root = line(tree, 0, "");
  const lines = root === "/" ? [] : [root];
  const visit = (inode: number, prefix: string): void => {
    for (let row = tree.firstChild[inode] ?? 0; row < (tree.firstChild[inode + 1] ?? 0); row++) {
      const path = prefix + (tree.childName[row] ?? "");
      const child = tree.childInode[row] ?? 0;
      lines.push(line(tree, child, path));
      if ((tree.mode[child] ?? 0) >>> 12 === 4) visit(child, `${path}/`);
    }
  };
  visit(0, "");
  return lines;
}
