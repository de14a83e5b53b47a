/**
 * An image as text, for people and for snapshots: the superblock field by field, then one line an entry in
 * stored order, depth first.
 *
 *     /bin/su  104755 0:0 links 1 size 5 mtime 1700000000.000000000 nid 48 inline 5
 *
 * A second name of an inode is shown with what it is a name of.
 */
import { BLOCK_SIZE, ErofsError, SUPER_BLOCK, TYPE_MASK, TypeBits } from "./format.ts";
import { isDirectory } from "./reader.ts";
import type { Erofs, ErofsInode } from "./reader.ts";

/** @throws ErofsError when the image is damaged, or a directory has two names */
export function dumpErofs(erofs: Erofs): string {
  const names = new Map<number, string>();
  const lines = [SUPER_BLOCK.dump(erofs.superBlock)];
  const pending: { path: string; nid: number }[] = [{ path: "/", nid: erofs.superBlock.root_nid }];
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const { path, nid } = next;
    const inode = erofs.inode(nid);
    const first = names.get(nid);
    if (first !== undefined) {
      if (isDirectory(inode)) throw new ErofsError("invalid-erofs", `directory ${nid} has two names`);
      lines.push(`${escape(path)}  is ${escape(first)}\n`);
      continue;
    }
    names.set(nid, path);
    lines.push(describe(erofs, path, inode));
    if (!isDirectory(inode)) continue;
    const children = [...erofs.entries(inode)].map((entry) => ({
      path: `${path === "/" ? "" : path}/${entry.name}`,
      nid: entry.nid,
    }));
    pending.push(...children.toReversed());
  }
  return lines.join("");
}

function describe(erofs: Erofs, path: string, inode: ErofsInode): string {
  const { mode, uid, gid, nlink, sizeBytes, mtimeSeconds, mtimeNanoseconds, nid, rdev } = inode;
  const time = `${mtimeSeconds}.${mtimeNanoseconds.toString().padStart(9, "0")}`;
  const stat = `${mode.toString(8).padStart(6, "0")} ${uid}:${gid} links ${nlink} size ${sizeBytes} mtime ${time}`;
  const type = mode & TYPE_MASK;
  const words = [escape(path), "", stat, `nid ${nid}`];
  if (type === TypeBits.character || type === TypeBits.block)
    words.push(`device ${rdev.major}:${rdev.minor}`);
  if (type === TypeBits.symlink) words.push(`-> ${escape(erofs.readlink(inode))}`);
  for (const extent of erofs.extents(inode))
    words.push(describeExtent(extent.imageOffset, extent.lengthBytes));
  const xattrs = erofs.xattrs(inode).map(([name, value]) => {
    return `    ${escape(name)} = ${Buffer.from(value).toString("hex")}\n`;
  });
  return `${words.join(" ")}\n${xattrs.join("")}`;
}

function describeExtent(imageOffset: number | undefined, lengthBytes: number): string {
  if (imageOffset === undefined) return `hole ${lengthBytes}`;
  if (imageOffset % BLOCK_SIZE !== 0) return `inline ${lengthBytes}`;
  return `block ${imageOffset / BLOCK_SIZE} ${lengthBytes}`;
}

function escape(latin1: string): string {
  return latin1.replaceAll(/[^\u0021-\u005b\u005d-\u007e]/g, (character) => {
    return `\\x${character.charCodeAt(0).toString(16).padStart(2, "0")}`;
  });
}
