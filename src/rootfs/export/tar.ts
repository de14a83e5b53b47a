/**
 * A tree as one archive: entries in the order of their names, depth first; the first name of a file has its data, the
 * others are hard links to it. The same tree gives the same bytes.
 */
import { Content } from "../../formats/erofs/tree.ts";
import { blobRuns, bytesOf, heapOf } from "../../formats/erofs/blob-runs.ts";
import { TYPE_MASK, TypeBits, XATTR_PREFIXES } from "../../formats/erofs/format.ts";
import { packedXattrs } from "../../formats/erofs/xattr.ts";
import { END_BYTES, encodeHeader, paddingOf, sparseFile } from "../../formats/tar/encode.ts";
import type { Header, TypeFlag } from "../../formats/tar/encode.ts";
import { BLOCK_SIZE } from "../layer-index.ts";
import type { ValidatedTree } from "../validate.ts";
import type { Blobs } from "./blobs.ts";

/** Headers and small files are gathered to pieces of this size. */
const PIECE_BYTES = 256 * 1024;

interface Named {
  /** Without a slash at either end; empty for the root. */
  readonly path: string;
  readonly inode: number;
}

function* depthFirst(tree: ValidatedTree): Generator<Named> {
  const pending: Named[] = [{ path: "", inode: 0 }];
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    yield next;
    const { path, inode } = next;
    const first = tree.firstChild[inode] ?? 0;
    for (let row = (tree.firstChild[inode + 1] ?? 0) - 1; row >= first; row--) {
      const name = tree.childName[row] ?? "";
      pending.push({ path: path === "" ? name : `${path}/${name}`, inode: tree.childInode[row] ?? 0 });
    }
  }
}

/** Sockets have no entry in an archive, and are left out. */
const FLAGS: Readonly<Record<number, TypeFlag>> = {
  [TypeBits.directory]: "5",
  [TypeBits.file]: "0",
  [TypeBits.symlink]: "2",
  [TypeBits.character]: "3",
  [TypeBits.block]: "4",
  [TypeBits.fifo]: "6",
};

export interface TarOptions {
  readonly signal?: AbortSignal | undefined;
  /** Sparse files have their holes written out, for readers that do not know how to skip them. */
  readonly holesAsZeros?: boolean | undefined;
}

/** Archive bytes in pieces, each valid until the next is asked for. */
export async function* tarPieces(
  tree: ValidatedTree,
  blobs: Blobs,
  { signal, holesAsZeros = false }: TarOptions = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  const firstNames = new Map<number, string>();
  let gathered: Uint8Array[] = [];
  let gatheredBytes = 0;
  for (const { path, inode } of depthFirst(tree)) {
    signal?.throwIfAborted();
    const type = FLAGS[(tree.mode[inode] ?? 0) & TYPE_MASK];
    if (type === undefined) continue;
    const entry = entryOf(tree, { path, inode }, type, { firstNames, holesAsZeros });
    gathered.push(...entry.bytes);
    gatheredBytes += entry.bytes.reduce((sum, { length }) => sum + length, 0);
    if (gatheredBytes < PIECE_BYTES && entry.runs.length === 0) continue;
    yield Buffer.concat(gathered);
    gathered = [];
    gatheredBytes = 0;
    for (const { offset, length } of entry.runs) {
      if (offset === undefined) yield* zeros(length);
      else yield* blobs.read(tree.source[inode] ?? 0, offset, length);
    }
    if (entry.runs.length === 0) continue;
    gathered.push(Buffer.alloc(entry.padding));
    gatheredBytes += entry.padding;
  }
  gathered.push(Buffer.alloc(END_BYTES));
  yield Buffer.concat(gathered);
}

const ZEROS = Buffer.alloc(PIECE_BYTES);

function* zeros(length: number): Generator<Uint8Array> {
  for (let left = length; left > 0; left -= PIECE_BYTES) yield ZEROS.subarray(0, Math.min(left, PIECE_BYTES));
}

/** Bytes of the blob of an inode's source; without an offset, zeros. */
interface Run {
  readonly offset: number | undefined;
  readonly length: number;
}

interface Entry {
  /** Header, and data that is not in a blob. */
  readonly bytes: readonly Uint8Array[];
  /** The data that is. */
  readonly runs: readonly Run[];
  /** Behind the runs. */
  readonly padding: number;
}

function entryOf(
  tree: ValidatedTree,
  { path, inode }: Named,
  type: TypeFlag,
  context: { readonly firstNames: Map<number, string>; readonly holesAsZeros: boolean },
): Entry {
  const { firstNames } = context;
  const base = {
    mode: (tree.mode[inode] ?? 0) & 0o7777,
    uid: tree.uid[inode] ?? 0,
    gid: tree.gid[inode] ?? 0,
    mtimeSeconds: tree.mtimeSeconds[inode] ?? 0,
    mtimeNanoseconds: tree.mtimeNanoseconds[inode] ?? 0,
  };
  const bare = (header: Omit<Header, keyof typeof base | "storedBytes">): Entry => ({
    bytes: [encodeHeader({ ...base, storedBytes: 0, ...header })],
    runs: [],
    padding: 0,
  });
  const records = xattrRecords(tree, inode);
  if (type === "5") return bare({ type, name: path === "" ? "./" : `${path}/`, records });
  const first = firstNames.get(inode);
  if (first !== undefined) return bare({ type: "1", name: path, linkName: first });
  if ((tree.nlink[inode] ?? 0) > 1) firstNames.set(inode, path);
  if (type === "2") {
    return bare({
      type,
      name: path,
      linkName: Buffer.from(bytesOf(tree, inode)).toString("latin1"),
      records,
    });
  }
  if (type !== "0") {
    return bare({
      type,
      name: path,
      devMajor: tree.rdevMajor[inode],
      devMinor: tree.rdevMinor[inode],
      records,
    });
  }
  return fileEntry(tree, inode, { ...base, type, name: path, records }, context.holesAsZeros);
}

function fileEntry(
  tree: ValidatedTree,
  inode: number,
  header: Omit<Header, "storedBytes">,
  holesAsZeros: boolean,
): Entry {
  const sizeBytes = tree.sizeBytes[inode] ?? 0;
  const content = tree.content[inode];
  if (content === Content.none || content === Content.bytes) {
    const data = content === Content.none ? new Uint8Array(0) : bytesOf(tree, inode);
    const padding = Buffer.alloc(paddingOf(data.length));
    return {
      bytes: [encodeHeader({ ...header, storedBytes: data.length }), data, padding],
      runs: [],
      padding: 0,
    };
  }
  const parts = [...blobRuns(tree, inode)].map(({ logical, blobBlock, count }) => ({
    at: logical * BLOCK_SIZE,
    offset: blobBlock * BLOCK_SIZE,
    // What the last block has behind the file's end is not the file's.
    length: Math.min(count * BLOCK_SIZE, sizeBytes - logical * BLOCK_SIZE),
  }));
  const dataBytes = parts.reduce((sum, { length }) => sum + length, 0);
  const padding = paddingOf(dataBytes);
  if (dataBytes === sizeBytes || holesAsZeros) {
    const runs = withHoles(parts, sizeBytes);
    return {
      bytes: [encodeHeader({ ...header, storedBytes: sizeBytes })],
      runs,
      padding: paddingOf(sizeBytes),
    };
  }
  const places = parts.map(({ at, length }) => ({ offset: at, length }));
  const sparse = sparseFile(header.name, sizeBytes, places);
  const records = [...sparse.records, ...(header.records ?? [])];
  const storedBytes = sparse.map.length + dataBytes;
  const head = encodeHeader({ ...header, name: sparse.name, records, storedBytes });
  return { bytes: [head, sparse.map], runs: parts, padding };
}

function withHoles(parts: readonly (Run & { readonly at: number })[], sizeBytes: number): Run[] {
  const runs: Run[] = [];
  let end = 0;
  for (const { at, offset, length } of parts) {
    if (at > end) runs.push({ offset: undefined, length: at - end });
    runs.push({ offset, length });
    end = at + length;
  }
  if (sizeBytes > end) runs.push({ offset: undefined, length: sizeBytes - end });
  return runs;
}

/** A key ends at the first equals sign; libarchive's form has names without one. */
function xattrRecords(tree: ValidatedTree, inode: number): NonNullable<Header["records"]> {
  return Array.from(
    packedXattrs(heapOf(tree, inode), tree.xattrOffset[inode] ?? 0),
    ({ index, suffix, value }) => {
      const name = (XATTR_PREFIXES[index] ?? "") + Buffer.from(suffix).toString("latin1");
      if (!name.includes("=")) return [`SCHILY.xattr.${name}`, value] as const;
      const encoded = name.replaceAll(/[^\w.-]/g, (letter) => {
        return `%${letter.charCodeAt(0).toString(16).padStart(2, "0").toUpperCase()}`;
      });
      return [`LIBARCHIVE.xattr.${encoded}`, Buffer.from(Buffer.from(value).toString("base64"))] as const;
    },
  );
}
