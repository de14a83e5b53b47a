/**
 * The words that the tables of hostile images are written in. A row is an image that wants to do harm, the verdict
 * on it, and its benign twin: nearly the same image, which must work. So a reader that refuses too much fails, too.
 */
import { createHash } from "node:crypto";
import { gzipSync } from "node:zlib";
import { existsSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { archive, entry, header } from "../../support/tar-builder.ts";
import type { HeaderFields } from "../../support/tar-builder.ts";

/** Everything that a row does happens in here, where no disk makes it wait; `canary` is what an archive must never reach. */
export const place = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "flamebox-hostile-"));
export const canary = join(place, "canary");

/** `as umoci`: the tree that `umoci unpack` makes. Lines: the tree itself (tree.ts), where umoci takes no such image. */
export type Want = "as umoci" | { readonly code: string } | readonly string[];

export interface LayerRow {
  readonly name: string;
  /** Tar archives, lowest first. */
  readonly layers: readonly Uint8Array[];
  readonly want: Want;
  readonly twin: readonly Uint8Array[];
  /** Where umoci takes not even the twin. */
  readonly twinWant?: Want;
  /** Extended attributes of the tree, as tree.ts has them, and of the twin's: umoci's tree is compared without. */
  readonly xattrs?: readonly string[];
  readonly twinXattrs?: readonly string[];
  /** Where half a million of something is allowed. */
  readonly caps?: { readonly memoryBytes: number; readonly diskBytes: number };
}

/** A layer as a registry would deliver it. */
export interface Blob {
  readonly mediaType: string;
  readonly bytes: Uint8Array;
  /** Of the archive inside, or what the config is to claim. */
  readonly diffId: string;
}

export const LAYER = "application/vnd.oci.image.layer.v1.tar";

export function sha256(bytes: Uint8Array | string): string {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

export function gzipped(tar: Uint8Array): Blob {
  return { mediaType: `${LAYER}+gzip`, bytes: gzipSync(tar, { level: 1 }), diffId: sha256(tar) };
}

export const file = (name: string, data: string | Uint8Array = "x", fields: HeaderFields = {}): Buffer =>
  entry({ name, ...fields }, data);
export const dir = (name: string, fields: HeaderFields = {}): Buffer =>
  entry({ name: `${name}/`, type: "5", mode: 0o755, ...fields });
export const symlink = (name: string, linkName: string, fields: HeaderFields = {}): Buffer =>
  header({ name, linkName, type: "2", mode: 0o777, ...fields });
export const hardlink = (name: string, linkName: string, fields: HeaderFields = {}): Buffer =>
  header({ name, linkName, type: "1", ...fields });
export const fifo = (name: string): Buffer => header({ name, type: "6" });
export const device = (type: "3" | "4", name: string, devMajor: number, devMinor: number): Buffer =>
  header({ name, type, devMajor, devMinor });
/** `path` has its `.wh.` already. */
export const mark = (path: string): Buffer => header({ name: path });
/** The next entry's name, as GNU tar writes long ones. */
export const longName = (name: string | Uint8Array, type: "L" | "K" = "L"): Buffer =>
  entry(
    { name: "././@LongLink", type, magic: "ustar  \0" },
    Buffer.concat([Buffer.from(name as string, "latin1"), Buffer.alloc(1)]),
  );
export const tar = archive;

/** An image to start from: something in it for links, whiteouts and replacements to work on. */
export const base = tar(
  dir("d"),
  file("d/f", "lower"),
  dir("d/sub"),
  file("d/sub/g", "deeper"),
  file("f", "file"),
  symlink("to-d", "d"),
  symlink("to-nowhere", "no/where"),
  symlink("to-f", "f"),
  symlink("abs-d", "/d"),
);

/** The line of a file, as tree.ts has it. */
export const fileLine = (path: string, data: string | Uint8Array, more = "644 0:0 @0"): string =>
  `${path} file ${data.length} ${sha256(data).slice(7, 15)} ${more}`;

/** The lines of `base`, with some more and without those of `gone`. */
export function baseTree(more: readonly string[] = [], ...gone: readonly string[]): string[] {
  const lines = [
    "abs-d symlink /d @0",
    "d dir 755 0:0",
    fileLine("d/f", "lower"),
    "d/sub dir 755 0:0",
    fileLine("d/sub/g", "deeper"),
    fileLine("f", "file"),
    "to-d symlink d @0",
    "to-f symlink f @0",
    "to-nowhere symlink no/where @0",
  ];
  return [...lines.filter((line) => !gone.includes(line.split(" ", 1)[0] ?? "")), ...more].sort();
}
