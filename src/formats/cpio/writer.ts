/**
 * Writes a newc archive: the same entries give the same bytes, on every host and day. Inode numbers count
 * from 1, everything belongs to root, times are 0, and the order is the caller's.
 *
 * The kernel makes no missing parents and says nothing when it drops a member, so that a mistake would show
 * as a guest without a file. Therefore an entry whose directory did not come before it is refused here.
 */
import { FIELDS, HEADER_BYTES, MAGIC, MAX_DATA_BYTES, MAX_NAME_BYTES } from "./format.ts";
import { CpioError, TRAILER, TYPE_BITS, align4 } from "./format.ts";
import type { CpioEntry, Header } from "./format.ts";

/** The padding that GNU cpio gives a whole archive. */
const ARCHIVE_ALIGNMENT = 512;
const NOTHING = new Uint8Array(0);

interface Member {
  readonly name: Uint8Array;
  readonly data: Uint8Array;
  readonly mode: number;
  readonly nlink: number;
  readonly rdevmajor: number;
  readonly rdevminor: number;
}

/**
 * The whole archive, uncompressed, padded to 512 bytes.
 * @throws CpioError `invalid-cpio-entry`
 */
export function writeCpio(entries: readonly CpioEntry[]): Uint8Array {
  const directories = new Set<string>([""]);
  const seen = new Set<string>();
  const members = entries.map((entry) => {
    checkPath(entry.path, seen, directories);
    if (entry.kind === "directory") directories.add(entry.path);
    return member(entry);
  });
  members.push({ name: encode(TRAILER), data: NOTHING, mode: 0, nlink: 1, rdevmajor: 0, rdevminor: 0 });

  const end = members.reduce((sum, { name, data }) => sum + memberBytes(name, data), 0);
  const out = new Uint8Array(Math.ceil(end / ARCHIVE_ALIGNMENT) * ARCHIVE_ALIGNMENT);
  let position = 0;
  for (const [index, each] of members.entries()) {
    const ino = index === members.length - 1 ? 0 : index + 1;
    out.set(encode(headerOf(each, ino)), position);
    out.set(each.name, position + HEADER_BYTES);
    out.set(each.data, position + align4(HEADER_BYTES + each.name.length + 1));
    position += memberBytes(each.name, each.data);
  }
  return out;
}

function memberBytes(name: Uint8Array, data: Uint8Array): number {
  return align4(HEADER_BYTES + name.length + 1) + align4(data.length);
}

function headerOf(from: Member, ino: number): string {
  const { mode, nlink, rdevmajor, rdevminor } = from;
  const fixed = { uid: 0, gid: 0, mtime: 0, devmajor: 0, devminor: 0, check: 0 };
  const sizes = { filesize: from.data.length, namesize: from.name.length + 1 };
  const header: Header = { ...fixed, ...sizes, ino, mode, nlink, rdevmajor, rdevminor };
  return MAGIC + FIELDS.map((field) => header[field].toString(16).padStart(8, "0")).join("");
}

function checkPath(path: string, seen: Set<string>, directories: Set<string>): void {
  const parts = path.split("/");
  if (parts.some((part) => part === "" || part === "." || part === "..") || path.includes("\0")) {
    throw invalid(path, "not a plain relative path");
  }
  if (encode(path).length >= MAX_NAME_BYTES) throw invalid(path, `longer than ${MAX_NAME_BYTES - 1} bytes`);
  if (path === TRAILER) throw invalid(path, "would end the archive");
  if (seen.has(path)) throw invalid(path, "given twice");
  if (!directories.has(parts.slice(0, -1).join("/"))) {
    throw invalid(path, "its directory has to come before it");
  }
  seen.add(path);
}

function member(entry: CpioEntry): Member {
  const { path, kind, mode, data, target, rdev } = entry;
  if (!Number.isInteger(mode) || mode < 0 || mode > 0o7777)
    throw invalid(path, `mode ${mode} is not 0..0o7777`);
  if ((data !== undefined && kind !== "file") || (target !== undefined) !== (kind === "symlink")) {
    throw invalid(path, `data is for files, a target for symlinks; this is a ${kind}`);
  }
  if ((rdev !== undefined) !== (kind === "character"))
    throw invalid(path, "rdev goes with character devices");
  const { major, minor } = rdev ?? { major: 0, minor: 0 };
  if (![major, minor].every((part) => Number.isInteger(part) && part >= 0 && part <= 0xffff_ffff)) {
    throw invalid(path, `no such device number: ${major}:${minor}`);
  }
  const content = target === undefined ? (data ?? NOTHING) : encode(target);
  if (kind === "symlink" && (content.length === 0 || content.length >= MAX_NAME_BYTES)) {
    throw invalid(path, `a target has 1..${MAX_NAME_BYTES - 1} bytes, not ${content.length}`);
  }
  if (content.length > MAX_DATA_BYTES) throw invalid(path, `${content.length} bytes are too many for cpio`);
  return {
    name: encode(path),
    data: content,
    mode: TYPE_BITS[kind] | mode,
    nlink: kind === "directory" ? 2 : 1,
    rdevmajor: major,
    rdevminor: minor,
  };
}

function encode(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

function invalid(path: string, why: string): CpioError {
  return new CpioError(
    "invalid-cpio-entry",
    `cannot put ${JSON.stringify(path)} into a cpio archive: ${why}`,
  );
}
