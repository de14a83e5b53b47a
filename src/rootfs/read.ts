/**
 * Reads a root file system on the host, through its metadata and blobs, without a guest: for diagnostics,
 * for tests, and to look something up before a machine is started.
 */
import { closeSync, openSync, readSync } from "node:fs";
import { openErofs } from "../formats/erofs/reader.ts";
import type { Erofs, ErofsSource } from "../formats/erofs/reader.ts";
import { ErofsError, TYPE_MASK, TypeBits } from "../formats/erofs/format.ts";
import type { RootfsDisk } from "./attach.ts";
import { RootfsError, printable } from "./rootfs-error.ts";

export interface OpenRootfs extends Disposable {
  readonly erofs: Erofs;
}

/**
 * Opens all segments. Reads are small and synchronous.
 * @throws ErofsError when the metadata is damaged; system errors
 */
export function openRootfs(disk: RootfsDisk): OpenRootfs {
  const files: number[] = [];
  const close = (): void => {
    for (const file of files.splice(0)) closeSync(file);
  };
  try {
    for (const { path } of disk.segments) files.push(openSync(path, "r"));
    return { erofs: openErofs(sourceOf(disk, files)), [Symbol.dispose]: close };
  } catch (error) {
    close();
    throw error;
  }
}

function sourceOf(disk: RootfsDisk, files: readonly number[]): ErofsSource {
  return {
    sizeBytes: disk.sizeBytes,
    read(offset, out) {
      let start = 0;
      let filled = 0;
      for (const [index, { path, sizeBytes }] of disk.segments.entries()) {
        const file = files[index];
        if (file === undefined) break;
        while (filled < out.length && offset + filled < start + sizeBytes) {
          const at = offset + filled - start;
          const length = Math.min(out.length - filled, sizeBytes - at);
          const got = readSync(file, out, filled, length, at);
          if (got === 0) throw new RootfsError("invalid-disk", `${path} is shorter than ${sizeBytes} bytes`);
          filled += got;
        }
        start += sizeBytes;
      }
      if (filled < out.length) throw new RootfsError("invalid-disk", "the root file system is not open");
    },
  };
}

/**
 * The bytes of one regular file, by its path in the image; symlinks are followed inside the image.
 * @throws RootfsError `not-in-rootfs` when there is no such file, or it is none or larger than `maxBytes`
 */
export function readRootfsFile(
  disk: RootfsDisk,
  path: string,
  options: { readonly maxBytes: number },
): Uint8Array {
  using rootfs = openRootfs(disk);
  const name = Buffer.from(path, "utf8").toString("latin1");
  try {
    const inode = rootfs.erofs.lookup(name);
    if ((inode.mode & TYPE_MASK) !== TypeBits.file) {
      throw new RootfsError("not-in-rootfs", `${printable(name)} in the image is not a regular file`);
    }
    return rootfs.erofs.read(inode, options.maxBytes);
  } catch (cause) {
    if (!(cause instanceof ErofsError)) throw cause;
    if (cause.code !== "erofs-not-found" && cause.code !== "erofs-too-much-data") throw cause;
    throw new RootfsError("not-in-rootfs", `cannot read ${printable(name)} in the image: ${cause.message}`, {
      cause,
    });
  }
}
