/** Reads back what the writer makes, and other newc archives of plain files. Everything is checked first. */
import {
  CpioError,
  FIELDS,
  HEADER_BYTES,
  MAGIC,
  MAX_NAME_BYTES,
  TRAILER,
  TYPE_BITS,
  align4,
} from "./format.ts";
import type { CpioEntry, CpioKind, Header } from "./format.ts";

const TYPE_MASK = 0o170000;

/**
 * The members before the trailer. `data` shares memory with `archive`.
 * @throws CpioError `invalid-cpio`
 */
export function readCpio(archive: Uint8Array): CpioEntry[] {
  const entries: CpioEntry[] = [];
  let position = 0;
  for (;;) {
    const header = readHeader(archive, position);
    if (header.namesize < 1 || header.namesize > MAX_NAME_BYTES) {
      throw invalid(position, `name of ${header.namesize} bytes`);
    }
    const nameStart = position + HEADER_BYTES;
    const dataStart = position + align4(HEADER_BYTES + header.namesize);
    const next = dataStart + align4(header.filesize);
    if (next > archive.length) throw invalid(position, "the archive ends inside a member");
    const path = text(archive.subarray(nameStart, nameStart + header.namesize - 1), position);
    if (archive[nameStart + header.namesize - 1] !== 0 || path.includes("\0")) {
      throw invalid(position, "a name has one NUL, at its end");
    }
    if (path === TRAILER) return entries;
    entries.push(entryOf(path, header, archive.subarray(dataStart, dataStart + header.filesize), position));
    position = next;
  }
}

function readHeader(archive: Uint8Array, position: number): Header {
  if (position + HEADER_BYTES > archive.length)
    throw invalid(position, "no room for a header, and no trailer");
  const digits = Buffer.from(archive.subarray(position, position + HEADER_BYTES)).toString("latin1");
  if (!digits.startsWith(MAGIC)) throw invalid(position, "no newc magic");
  const header: Partial<Header> = {};
  for (const [index, field] of FIELDS.entries()) {
    const start = MAGIC.length + 8 * index;
    const number = digits.slice(start, start + 8);
    if (!/^[0-9A-Fa-f]{8}$/.test(number)) throw invalid(position, `${field} is not hexadecimal`);
    header[field] = Number.parseInt(number, 16);
  }
  return header as Header;
}

function entryOf(path: string, header: Header, data: Uint8Array, position: number): CpioEntry {
  const kind = (Object.keys(TYPE_BITS) as CpioKind[]).find(
    (each) => TYPE_BITS[each] === (header.mode & TYPE_MASK),
  );
  const mode = header.mode & 0o7777;
  switch (kind) {
    case "file":
      return { path, kind, mode, data };
    case "symlink":
      return { path, kind, mode, target: text(data, position) };
    case "character":
      return { path, kind, mode, rdev: { major: header.rdevmajor, minor: header.rdevminor } };
    case "directory":
      return { path, kind, mode };
    case undefined:
      break;
  }
  const known = Object.keys(TYPE_BITS).join(", ");
  throw invalid(position, `mode 0o${header.mode.toString(8)} is none of ${known}`);
}

function text(bytes: Uint8Array, position: number): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw new CpioError("invalid-cpio", `cpio member at byte ${position}: a name is not UTF-8`, { cause });
  }
}

function invalid(position: number, why: string): CpioError {
  return new CpioError("invalid-cpio", `cpio member at byte ${position}: ${why}`);
}
