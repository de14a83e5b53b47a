/**
 * An image's root file system as one file for other tools: EROFS as machines have it, or made from the same tree as
 * ext4, squashfs or tar. A file appears under its name when it is complete. Layers stay as they are, shared.
 */
import { randomBytes } from "node:crypto";
import { createReadStream } from "node:fs";
import { link, open, rename, rm, stat } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import type { Writable } from "node:stream";
import { flatten } from "../rootfs/attach.ts";
import { Blobs } from "../rootfs/export/blobs.ts";
import { planExt4, writeExt4 } from "../rootfs/export/ext4.ts";
import { counted, findSquashfsTool, writeSquashfs } from "../rootfs/export/squashfs.ts";
import { tarPieces } from "../rootfs/export/tar.ts";
import { uuidOf } from "../rootfs/metadata.ts";
import type { Layer } from "../rootfs/metadata.ts";
import { validate } from "../rootfs/validate.ts";
import type { ValidatedTree } from "../rootfs/validate.ts";
import { explainDiskError } from "../store/error.ts";
import { layerPaths } from "../store/layout.ts";
import type { Store } from "../store/layout.ts";
import { systemCode } from "../util/error.ts";
import { intoStream, outputPlace } from "../util/output-place.ts";
import { silent } from "../util/progress.ts";
import type { OnProgress } from "../util/progress.ts";
import { ImageError } from "./error.ts";
import type { Image } from "./images.ts";
import { mergeImage } from "./make-rootfs.ts";
import { openRootfs } from "./rootfs.ts";
import type { OpenRootfs, RootfsOptions } from "./rootfs.ts";

export const ROOTFS_FORMATS = ["erofs", "ext4", "squashfs", "tar"] as const;
/**
 * What a root file system is written as.
 * @useDeclaredType
 */
export type RootfsFormat = (typeof ROOTFS_FORMATS)[number];

const PIECE_BYTES = 1024 * 1024;

/** What is written. */
export interface RootfsFileOptions {
  /** Default `erofs`. */
  readonly format?: RootfsFormat | undefined;
  /** Of an ext4 disk; without it there is room for a quarter more than the image, and 64 MiB. */
  readonly sizeBytes?: number | undefined;
  /** Replace a file that is there. A FIFO or a character device is written into, whatever this says. */
  readonly force?: boolean | undefined;
}

export interface ExportOptions extends RootfsOptions, RootfsFileOptions {}

export interface ExportedRootfs {
  readonly path: string;
  readonly format: RootfsFormat;
  readonly sizeBytes: number;
}

interface Tree {
  readonly tree: ValidatedTree;
  readonly layers: readonly Layer[];
  readonly blobs: Blobs;
}

/** @throws ImageError `file-exists` without `force`; FlameBoxError `invalid-output`; Ext4Error; RootfsError; as openRootfs */
export async function exportRootfs(
  store: Store,
  image: Image,
  outPath: string,
  options: ExportOptions = {},
): Promise<ExportedRootfs> {
  const { format = "erofs", force = false, signal } = options;
  const place = await outputPlace(outPath);
  const { path } = place;
  if (place.stream !== undefined) {
    return await intoStream(place, signal, async (out) => {
      const { sizeBytes } = await exportInto(store, image, out, format, options);
      return { path: resolve(outPath), format, sizeBytes };
    });
  }
  if (!force && place.isThere) throw exists(path);
  const temporary = join(
    dirname(path),
    `.${basename(path).slice(0, 200)}.${randomBytes(6).toString("hex")}.tmp`,
  );
  try {
    const sizeBytes = await writeNew(store, image, temporary, format, options);
    await settle(temporary, path, force);
    return { path: resolve(outPath), format, sizeBytes };
  } catch (error) {
    await rm(temporary, { force: true });
    throw explainDiskError(error, dirname(path), "write to another directory");
  }
}

/** Into a FIFO or a device, in one go: what is written here and there is made in the workspace first. */
async function exportInto(
  store: Store,
  image: Image,
  out: Writable,
  format: RootfsFormat,
  options: ExportOptions,
): Promise<{ readonly sizeBytes: number }> {
  if (format === "tar") return await exportToStream(store, image, out, options);
  const temporary = join(store.workspace, `export-${randomBytes(6).toString("hex")}`);
  try {
    const sizeBytes = await writeNew(store, image, temporary, format, options);
    const pieces = createReadStream(temporary, { highWaterMark: PIECE_BYTES }) as AsyncIterable<Uint8Array>;
    for await (const piece of pieces) await write(out, piece);
    return { sizeBytes };
  } finally {
    await rm(temporary, { force: true });
  }
}

/** @returns the size of the file, which is new, complete and synced */
async function writeNew(
  store: Store,
  image: Image,
  path: string,
  format: RootfsFormat,
  options: ExportOptions,
): Promise<number> {
  const squashfs = format === "squashfs" ? await findSquashfsTool() : undefined;
  await using rootfs = await openRootfs(store, image, options);
  if (format === "erofs") await flatten(rootfs.disk, path, options);
  else {
    await using from = await openTree(store, image, rootfs, options.signal);
    const report = reporter(options.onProgress, path);
    try {
      await writeTree(from, path, { ...options, squashfs, report });
      report.end("done");
    } catch (error) {
      report.end("failed");
      throw error;
    }
  }
  return (await stat(path)).size;
}

/** A new file, synced. */
async function writeTree(
  from: Tree,
  path: string,
  options: ExportOptions & {
    readonly squashfs: Awaited<ReturnType<typeof findSquashfsTool>> | undefined;
    readonly report: Report;
  },
): Promise<void> {
  const { tree, blobs, layers } = from;
  const { format, sizeBytes, signal, report, squashfs } = options;
  if (squashfs !== undefined) {
    await writeSquashfs(squashfs, from, path, { signal, report });
    return await synced(path, "r+", async () => {});
  }
  if (format === "ext4") {
    const planned = planExt4(tree, { uuid: uuidOf(layers, "ext4 1"), sizeBytes });
    return await synced(path, "wx", async (out) => {
      await writeExt4(planned, blobs, out, { signal, report });
    });
  }
  await synced(path, "wx", async (out) => {
    for await (const piece of counted(tarPieces(tree, blobs, { signal }), report)) await out.writeFile(piece);
  });
}

/** Writes the root file system as tar to a stream, which is left open. @throws as openRootfs; what the stream says */
export async function exportToStream(
  store: Store,
  image: Image,
  out: Writable,
  options: RootfsOptions = {},
): Promise<{ readonly sizeBytes: number }> {
  const { signal } = options;
  await using rootfs = await openRootfs(store, image, options);
  await using from = await openTree(store, image, rootfs, signal);
  const report = reporter(options.onProgress, "-");
  let sizeBytes = 0;
  try {
    for await (const piece of counted(tarPieces(from.tree, from.blobs, { signal }), report)) {
      // A stream may keep what it is given for longer than its callback says; a piece is valid for this turn only.
      await write(out, Uint8Array.from(piece));
      sizeBytes += piece.length;
    }
  } catch (error) {
    report.end("failed");
    throw error;
  }
  report.end("done");
  return { sizeBytes };
}

/** Resolves when the stream takes more. */
async function write(out: Writable, piece: Uint8Array): Promise<void> {
  if (out.errored) throw out.errored;
  await new Promise<void>((resolve, reject) => {
    out.write(piece, (error) => (error ? reject(error) : resolve()));
  });
}

/** The merged tree and its blobs, as long as the rootfs is open. */
async function openTree(
  store: Store,
  image: Image,
  // Its lease keeps the layers, which it has found sound.
  _open: OpenRootfs,
  signal: AbortSignal | undefined,
): Promise<Tree & AsyncDisposable> {
  const merger = await mergeImage(store, image, signal);
  const tree = validate(merger.tree());
  const paths = image.diffIds.map((diffId) => layerPaths(store.layout, diffId).blobPath);
  const blobs = await Blobs.open(tree, paths);
  return { tree, layers: merger.layers, blobs, [Symbol.asyncDispose]: () => blobs[Symbol.asyncDispose]() };
}

async function synced(
  path: string,
  flags: string,
  job: (out: FileHandle) => Promise<unknown>,
): Promise<void> {
  await using out = await open(path, flags, 0o666);
  await job(out);
  await out.sync();
}

interface Report {
  (current: number, total?: number): void;
  end(state: "done" | "failed"): void;
}

/** Tells nothing that is not worth an event. */
function reporter(onProgress: OnProgress = silent, name: string): Report {
  const common = { id: `export:${name}`, label: "root file system", unit: "bytes" } as const;
  let last: { readonly current: number; readonly total?: number } | undefined;
  const report = (current: number, total?: number): void => {
    if (last !== undefined && current - last.current < 1 << 20) return;
    last = { current, ...(total === undefined ? {} : { total }) };
    onProgress({ ...common, state: "running", ...last });
  };
  const end = (state: "done" | "failed"): void => {
    if (last !== undefined) onProgress({ ...common, state, ...last });
    last = undefined;
  };
  return Object.assign(report, { end });
}

function exists(path: string): ImageError {
  return new ImageError("file-exists", `${path} exists already`, {
    hint: "choose another name, or force it",
  });
}

/** Gives the finished file its name. link() refuses what has appeared meanwhile. */
async function settle(temporary: string, path: string, force: boolean): Promise<void> {
  if (force) return await rename(temporary, path);
  try {
    await link(temporary, path);
  } catch (error) {
    if (systemCode(error) === "EEXIST") throw exists(path);
    // File systems without hard links.
    if (systemCode(error) !== "EPERM" && systemCode(error) !== "EOPNOTSUPP") throw error;
    return await rename(temporary, path);
  }
  await rm(temporary, { force: true });
}
