/**
 * Trees as lines, one an entry, in the order of their bytes: of a rootfs of ours, read through its metadata and blobs,
 * and of a directory on the host that another tool has unpacked. The two have the same lines for the same tree.
 *
 *     d/f file 644 0:0 5 1f40fc92 @0        s symlink ../x @0        c character 1:3 600 0:0 @0
 */
import { createHash } from "node:crypto";
import { lstatSync, readFileSync, readdirSync, readlinkSync } from "node:fs";
import type { Stats } from "node:fs";
import { isDirectory } from "../../../src/formats/erofs/reader.ts";
import type { Erofs, ErofsInode } from "../../../src/formats/erofs/reader.ts";

const KINDS: Readonly<Record<number, string>> = {
  0o01: "fifo",
  0o02: "character",
  0o04: "dir",
  0o06: "block",
  0o10: "file",
  0o12: "symlink",
};

interface Node {
  readonly mode: number;
  readonly owner: string;
  readonly size: number;
  readonly seconds: number;
  readonly links: number;
  readonly rdev: string;
  readonly content: () => Uint8Array;
  readonly target: () => string;
}

function lineOf(path: string, node: Node): string {
  const kind = KINDS[node.mode >>> 12] ?? "?";
  const permissions = (node.mode & 0o7777).toString(8);
  const links = kind !== "dir" && node.links > 1 ? ` x${node.links}` : "";
  const time = `@${node.seconds}`;
  // Names and targets as bytes, one line each whatever is in them.
  const shown = JSON.stringify(path).slice(1, -1);
  if (kind === "dir") return `${shown} dir ${permissions} ${node.owner}`;
  if (kind === "symlink")
    return `${shown} symlink ${JSON.stringify(node.target()).slice(1, -1)} ${time}${links}`;
  const tail = `${permissions} ${node.owner} ${time}${links}`;
  if (kind === "character" || kind === "block") return `${shown} ${kind} ${node.rdev} ${tail}`;
  if (kind === "fifo") return `${shown} fifo ${tail}`;
  const sum = node.size > 2 ** 26 ? "large" : createHash("sha256").update(node.content()).digest("hex");
  return `${shown} file ${node.size} ${sum.slice(0, 8)} ${tail}`;
}

export function treeOfRootfs(erofs: Erofs): string[] {
  const lines: string[] = [];
  const nodeOf = (inode: ErofsInode): Node => ({
    mode: inode.mode,
    owner: `${inode.uid}:${inode.gid}`,
    size: inode.sizeBytes,
    seconds: inode.mtimeSeconds,
    links: inode.nlink,
    rdev: `${inode.rdev.major}:${inode.rdev.minor}`,
    content: () => erofs.read(inode, 2 ** 26),
    target: () => erofs.readlink(inode),
  });
  const visit = (inode: ErofsInode, prefix: string): void => {
    for (const { name, nid } of erofs.entries(inode)) {
      if (name === "." || name === "..") continue;
      const child = erofs.inode(nid);
      lines.push(lineOf(prefix + name, nodeOf(child)));
      if (isDirectory(child)) visit(child, `${prefix}${name}/`);
    }
  };
  visit(erofs.root, "");
  return lines.sort();
}

/** `d/f user.x=value`, one a line; values as JSON has bytes. Only what has attributes. */
export function xattrsOfRootfs(erofs: Erofs): string[] {
  const lines: string[] = [];
  const visit = (inode: ErofsInode, path: string): void => {
    for (const [name, value] of erofs.xattrs(inode))
      lines.push(`${path} ${name}=${JSON.stringify(Buffer.from(value).toString("latin1")).slice(1, -1)}`);
    if (!isDirectory(inode)) return;
    for (const { name, nid } of erofs.entries(inode)) {
      if (name !== "." && name !== "..") visit(erofs.inode(nid), path === "/" ? name : `${path}/${name}`);
    }
  };
  visit(erofs.root, "/");
  return lines.sort();
}

/** Linux's packing of a device number, as `stat` gives it. */
function rdevOf(rdev: number): string {
  return `${(rdev >>> 8) & 0xfff}:${(rdev & 0xff) | ((rdev >>> 12) & 0xf_ff00)}`;
}

export function treeOfDirectory(root: string): string[] {
  const lines: string[] = [];
  const nodeOf = (path: Buffer, stat: Stats): Node => ({
    mode: stat.mode,
    owner: `${stat.uid}:${stat.gid}`,
    size: stat.size,
    seconds: Math.floor(stat.mtimeMs / 1000),
    links: stat.nlink,
    rdev: rdevOf(stat.rdev),
    content: () => readFileSync(path),
    target: () => readlinkSync(path, "buffer").toString("latin1"),
  });
  const visit = (dir: Buffer, prefix: string): void => {
    for (const name of readdirSync(dir, "buffer")) {
      const path = Buffer.concat([dir, Buffer.from("/"), name]);
      const stat = lstatSync(path);
      lines.push(lineOf(prefix + name.toString("latin1"), nodeOf(path, stat)));
      if (stat.isDirectory()) visit(path, `${prefix}${name.toString("latin1")}/`);
    }
  };
  visit(Buffer.from(root), "");
  return lines.sort();
}
