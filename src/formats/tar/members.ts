/**
 * Where the members of an archive are: its headers are read, its data is skipped. For archives of a few large
 * members that are wanted in another order than they are in (image archives); layers go through `reader.ts`.
 *
 *     read(0) ─► header ─► [long name, PAX] ─► header ─► member: name, kind, data at, size ─► read(behind it) …
 */
import { encodeHeader } from "./encode.ts";
import { TarError } from "./error.ts";
import { checksum, fullName, nameField, numberField, variantOf } from "./fields.ts";
import { BLOCK_BYTES, Field, MAX_NAME_BYTES, TYPE_OFFSET } from "./format.ts";
import { parsePax, PaxSyntaxError, type PaxHeader } from "./pax.ts";

export interface TarMember {
  /** As in the archive. */
  readonly name: Uint8Array;
  readonly kind: "file" | "symlink" | "hardlink" | "other";
  /** What a link points at, as in the archive. */
  readonly linkName: Uint8Array;
  /** Of the data, in the archive. */
  readonly offset: number;
  readonly sizeBytes: number;
}

/** Fewer bytes than were asked for only at the end. */
export type ReadAt = (offset: number, length: number) => Promise<Uint8Array>;

const MAX_MEMBERS = 100_000;
/** Far more than names need; an image archive's members have no attributes. */
const MAX_EXTENSION_BYTES = 64 * 1024;

interface Extensions {
  name?: Uint8Array;
  linkName?: Uint8Array;
  pax?: PaxHeader;
}

/** @throws TarError */
export async function listMembers(read: ReadAt, signal?: AbortSignal): Promise<TarMember[]> {
  const members: TarMember[] = [];
  let extensions: Extensions = {};
  for (let at = 0; ; ) {
    signal?.throwIfAborted();
    const block = await read(at, BLOCK_BYTES);
    // The end blocks may be missing, as some tools have it.
    if (block.length === 0) break;
    if (block.length < BLOCK_BYTES) throw new TarError("tar-truncated", "it ends within a header", at);
    const sum = checksum(block, 0);
    if (sum === "zero-block") break;
    if (sum === "bad")
      throw new TarError("tar-bad-checksum", "a header's checksum is wrong, or this is no tar archive", at);
    const type = String.fromCharCode(block[TYPE_OFFSET] as number);
    const claimedBytes = numberOf(block, at);
    const data = at + BLOCK_BYTES;
    if ("xXgLK".includes(type)) {
      extensions = await extended(type, read, data, claimedBytes, extensions);
      at = data + padded(claimedBytes);
      continue;
    }
    const member = memberOf(block, type, data, claimedBytes, extensions);
    members.push(member);
    if (members.length > MAX_MEMBERS)
      throw new TarError("tar-bad-number", `it has more than ${MAX_MEMBERS} members`, at);
    extensions = {};
    at = data + padded(member.sizeBytes);
  }
  return members;
}

function padded(sizeBytes: number): number {
  return Math.ceil(sizeBytes / BLOCK_BYTES) * BLOCK_BYTES;
}

function numberOf(block: Uint8Array, at: number): number {
  const value = numberField(block, 0, Field.size);
  if (value !== undefined && value >= 0 && value <= Number.MAX_SAFE_INTEGER / 2) return value;
  throw new TarError("tar-bad-number", "a header's size is malformed, negative or out of range", at);
}

async function extended(
  type: string,
  read: ReadAt,
  at: number,
  sizeBytes: number,
  before: Extensions,
): Promise<Extensions> {
  // Global headers are for nobody: Go, and so every image tool, ignores them.
  if (type === "g") return before;
  if (sizeBytes > MAX_EXTENSION_BYTES)
    throw new TarError("tar-extension-too-large", `an extended header has ${sizeBytes} bytes`, at);
  const bytes = await read(at, sizeBytes);
  if (bytes.length < sizeBytes) throw new TarError("tar-truncated", "it ends within an extended header", at);
  if (type === "L") return { ...before, name: upToNul(bytes) };
  if (type === "K") return { ...before, linkName: upToNul(bytes) };
  try {
    return { ...before, pax: parsePax(bytes) };
  } catch (error) {
    if (!(error instanceof PaxSyntaxError)) throw error;
    throw new TarError("tar-bad-pax", `an extended header is malformed: ${error.message}`, at);
  }
}

function upToNul(bytes: Uint8Array): Uint8Array {
  const nul = bytes.indexOf(0);
  return nul < 0 ? bytes : bytes.subarray(0, nul);
}

function memberOf(
  block: Uint8Array,
  type: string,
  offset: number,
  claimedBytes: number,
  { name: longName, linkName: longLinkName, pax }: Extensions,
): TarMember {
  const name = longName ?? pax?.path ?? fullName(block, 0, variantOf(block, 0));
  const linkName = longLinkName ?? pax?.linkPath ?? nameField(block, 0, Field.linkName);
  if (name.length > MAX_NAME_BYTES || linkName.length > MAX_NAME_BYTES)
    throw new TarError("tar-name-too-long", `a name is longer than ${MAX_NAME_BYTES} bytes`, offset);
  if (type === "S" || pax?.sparse !== undefined)
    throw new TarError("tar-bad-sparse", "a member of an image archive is sparse", offset, name);
  const kind = KINDS[type] ?? "other";
  // Links, directories and the like have no data whatever their size field says, as in Go's archive/tar.
  const sizeBytes = "123456".includes(type) ? 0 : (pax?.sizeBytes ?? claimedBytes);
  return { name, kind, linkName, offset, sizeBytes };
}

const KINDS: Readonly<Record<string, TarMember["kind"]>> = {
  "\0": "file",
  "0": "file",
  "7": "file",
  "1": "hardlink",
  "2": "symlink",
};

/**
 * The header of a plain file, read-only to none: what an image archive is made of. A name of more than 100 bytes, as a
 * blob with a SHA-512 digest has, is in an extended header, since ustar's prefix only cuts at slashes.
 */
export function memberHeader(name: string, sizeBytes: number): Uint8Array {
  if (name.length > Field.name[1]) {
    const noOne = { uid: 0, gid: 0, mtimeSeconds: 0, mtimeNanoseconds: 0 };
    return encodeHeader({ type: "0", name, mode: 0o644, storedBytes: sizeBytes, ...noOne });
  }
  const block = Buffer.alloc(BLOCK_BYTES);
  const octal = (value: number, [offset, length]: Field) =>
    block.write(value.toString(8).padStart(length - 1, "0"), offset, "latin1");
  block.write(name, Field.name[0], Field.name[1], "latin1");
  octal(0o644, Field.mode);
  octal(0, Field.uid);
  octal(0, Field.gid);
  if (sizeBytes < 8 ** 11) octal(sizeBytes, Field.size);
  else {
    // Base-256, which GNU tar and Go write and read from 8 GiB on.
    block.writeBigUInt64BE(BigInt(sizeBytes), Field.size[0] + 4);
    block[Field.size[0]] = 0x80;
  }
  octal(0, Field.mtime);
  block[TYPE_OFFSET] = 0x30;
  block.write("ustar\u000000", 257, "latin1");
  block.fill(0x20, Field.checksum[0], Field.checksum[0] + Field.checksum[1]);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, Field.checksum[0], "latin1");
  return block;
}

/** What follows a member's data; and twice a block of zeros follows the last one. */
export function memberPadding(sizeBytes: number): Uint8Array {
  return new Uint8Array(padded(sizeBytes) - sizeBytes);
}

export const ARCHIVE_END = new Uint8Array(2 * BLOCK_BYTES);
