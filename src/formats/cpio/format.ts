/**
 * The cpio "newc" archive, which is what a kernel unpacks as its initramfs.
 * https://docs.kernel.org/driver-api/early-userspace/buffer-format.html
 *
 *     ┌ header: "070701", 13 numbers of 8 hexadecimal digits ┬ name, NUL, pad to 4 ┬ data, pad to 4 ┐ …
 *     └ … last a member named TRAILER!!!
 *
 * A symbolic link's data is its target. There is no checksum; the 070702 variant with one is not written.
 */
import { FlameBoxError } from "../../util/error.ts";

export const MAGIC = "070701";
export const HEADER_BYTES = 110;
export const TRAILER = "TRAILER!!!";
/** The kernel ignores a member whose name or link target is longer (PATH_MAX, with the NUL). */
export const MAX_NAME_BYTES = 4096;
/** File sizes are 8 hexadecimal digits. */
export const MAX_DATA_BYTES = 0xffff_ffff;

/** The numbers of a header, in order. */
export const FIELDS = [
  "ino",
  "mode",
  "uid",
  "gid",
  "nlink",
  "mtime",
  "filesize",
  "devmajor",
  "devminor",
  "rdevmajor",
  "rdevminor",
  "namesize",
  "check",
] as const;
export type Header = Record<(typeof FIELDS)[number], number>;

export type CpioKind = "directory" | "file" | "symlink" | "character";

/** File type bits of `mode`. */
export const TYPE_BITS: Readonly<Record<CpioKind, number>> = {
  directory: 0o040000,
  file: 0o100000,
  symlink: 0o120000,
  character: 0o020000,
};

export interface CpioEntry {
  /** Relative, without a leading `/`, `.` or `..`: `dev/console`. */
  readonly path: string;
  readonly kind: CpioKind;
  /** Permission bits, 0..0o7777. */
  readonly mode: number;
  /** Files only; absent means empty. */
  readonly data?: Uint8Array | undefined;
  /** Symlinks only. */
  readonly target?: string | undefined;
  /** Character devices only. */
  readonly rdev?: { readonly major: number; readonly minor: number } | undefined;
}

/** Codes: `invalid-cpio-entry` (writer), `invalid-cpio` (reader). */
export class CpioError extends FlameBoxError {
  override readonly name = "CpioError";
}

export function align4(position: number): number {
  return Math.ceil(position / 4) * 4;
}
