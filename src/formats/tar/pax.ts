/**
 * PAX extended headers: `LENGTH KEY=VALUE\n` records, LENGTH in decimal and counting the whole record.
 * https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html#tag_20_94_13_03
 *
 * Values are bytes: xattrs hold anything, and names need not be UTF-8 whatever the specification says.
 */
import { posixAclXattr } from "./acl.ts";
import type { Xattr } from "./format.ts";

export interface PaxHeader {
  path?: Uint8Array;
  linkPath?: Uint8Array;
  sizeBytes?: number;
  uid?: number;
  gid?: number;
  mtime?: PaxTime;
  /** By name in latin1, so that a later record replaces an earlier one. */
  xattrs?: Map<string, Uint8Array>;
  droppedAcls?: number;
  sparse?: PaxSparse;
}

export interface PaxTime {
  readonly seconds: number;
  readonly nanoseconds: number;
}

/** GNU's three PAX forms of a sparse file. https://www.gnu.org/software/tar/manual/html_node/PAX-0.html */
export interface PaxSparse {
  major?: number;
  minor?: number;
  name?: Uint8Array;
  /** `GNU.sparse.size` (0.x) or `GNU.sparse.realsize` (1.0). */
  realSizeBytes?: number;
  segmentCount?: number;
  /** 0.0 and 0.1: offsets and lengths in turn, unchecked. */
  map?: number[];
}

/** Thrown by `parsePax`; the reader adds the entry and the offset. */
export class PaxSyntaxError extends Error {}

/**
 * The records of one header, on top of `base` (the global header in force). A record with an empty value
 * takes the key away.
 * @throws PaxSyntaxError
 */
export function parsePax(bytes: Uint8Array, base: PaxHeader = {}): PaxHeader {
  const header: PaxHeader = { ...base };
  if (base.xattrs) header.xattrs = new Map(base.xattrs);
  if (base.sparse) header.sparse = { ...base.sparse };
  for (let at = 0; at < bytes.length; ) {
    const end = at + recordLength(bytes, at);
    const keyStart = bytes.indexOf(0x20, at) + 1;
    const equals = bytes.indexOf(0x3d, keyStart);
    if (bytes[end - 1] !== 0x0a) throw new PaxSyntaxError("a record does not end in a newline");
    if (equals < 0 || equals >= end) throw new PaxSyntaxError("a record has no equals sign");
    const key = latin1Of(bytes.subarray(keyStart, equals));
    if (key === "" || key.includes("\0")) throw new PaxSyntaxError("a record has a malformed key");
    applyRecord(header, key, bytes.subarray(equals + 1, end - 1));
    at = end;
  }
  return header;
}

function recordLength(bytes: Uint8Array, at: number): number {
  let length = 0;
  for (let i = at; i < bytes.length && i < at + 9; i++) {
    const byte = bytes[i] as number;
    if (byte === 0x20) {
      // At least a one-letter key, the equals sign and the newline follow the space.
      if (length < i - at + 4 || at + length > bytes.length) break;
      return length;
    }
    if (byte < 0x30 || byte > 0x39) break;
    length = length * 10 + (byte - 0x30);
  }
  throw new PaxSyntaxError("a record has a malformed length");
}

function applyRecord(header: PaxHeader, key: string, value: Uint8Array): void {
  if (key.startsWith("GNU.sparse.")) return applySparse((header.sparse ??= {}), key, value);
  if (key.startsWith("SCHILY.xattr.")) return setXattr(header, key.slice(13), value);
  if (key.startsWith("LIBARCHIVE.xattr.")) return applyLibarchiveXattr(header, key.slice(17), value);
  switch (key) {
    case "path":
      return setOrDelete(header, "path", value, nameValue);
    case "linkpath":
      return setOrDelete(header, "linkPath", value, nameValue);
    case "size":
      return setOrDelete(header, "sizeBytes", value, numberValue);
    case "uid":
      return setOrDelete(header, "uid", value, numberValue);
    case "gid":
      return setOrDelete(header, "gid", value, numberValue);
    case "mtime":
      return setOrDelete(header, "mtime", value, timeValue);
    case "SCHILY.acl.access":
      return applyAcl(header, "system.posix_acl_access", value);
    case "SCHILY.acl.default":
      return applyAcl(header, "system.posix_acl_default", value);
    default:
    // Comments, atime, ctime, owner names, vendors' keys: nothing an image needs.
  }
}

function setOrDelete<T, K extends keyof T>(
  header: T,
  key: K,
  value: Uint8Array,
  convert: (value: Uint8Array) => NonNullable<T[K]>,
): void {
  if (value.length === 0) delete header[key];
  else header[key] = convert(value);
}

function nameValue(value: Uint8Array): Uint8Array {
  if (value.includes(0)) throw new PaxSyntaxError("a name holds a NUL byte");
  return value;
}

function numberValue(value: Uint8Array): number {
  const text = latin1Of(value.subarray(0, 20));
  const number = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(number)) throw new PaxSyntaxError("a number is malformed or out of range");
  return number;
}

/** `[-]SECONDS[.FRACTION]`; digits behind the ninth are cut off. */
function timeValue(value: Uint8Array): PaxTime {
  const match = /^(-?)(\d{1,16})(?:\.(\d*))?$/.exec(latin1Of(value.subarray(0, 64)));
  if (match === null) throw new PaxSyntaxError("a time is malformed or out of range");
  const seconds = Number(match[2]);
  const nanoseconds = Number((match[3] ?? "").slice(0, 9).padEnd(9, "0"));
  if (seconds >= Number.MAX_SAFE_INTEGER) throw new PaxSyntaxError("a time is out of range");
  if (match[1] !== "-") return { seconds, nanoseconds };
  // The fraction belongs to the negative number: -1.5 is half a second after -2.
  return nanoseconds === 0
    ? { seconds: 0 - seconds, nanoseconds }
    : { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds };
}

function setXattr(header: PaxHeader, name: string, value: Uint8Array): void {
  if (name === "") throw new PaxSyntaxError("an extended attribute has no name");
  header.xattrs ??= new Map();
  if (value.length === 0) header.xattrs.delete(name);
  else header.xattrs.set(name, value);
}

/** libarchive: the name is URL-encoded, the value base64 (often without its padding). */
function applyLibarchiveXattr(header: PaxHeader, encodedName: string, value: Uint8Array): void {
  const name = encodedName.replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
  const text = latin1Of(value);
  if (name.includes("\0")) throw new PaxSyntaxError("an extended attribute's name holds a NUL byte");
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(text)) throw new PaxSyntaxError("an extended attribute is not base64");
  setXattr(header, name, Buffer.from(text, "base64"));
}

function applyAcl(header: PaxHeader, name: string, value: Uint8Array): void {
  const acl = posixAclXattr(latin1Of(value));
  if (acl !== undefined) return setXattr(header, name, acl);
  header.droppedAcls = (header.droppedAcls ?? 0) + 1;
}

function applySparse(sparse: PaxSparse, key: string, value: Uint8Array): void {
  switch (key.slice(11)) {
    case "major":
      return setOrDelete(sparse, "major", value, numberValue);
    case "minor":
      return setOrDelete(sparse, "minor", value, numberValue);
    case "name":
      return setOrDelete(sparse, "name", value, nameValue);
    case "size":
    case "realsize":
      return setOrDelete(sparse, "realSizeBytes", value, numberValue);
    case "numblocks":
      return setOrDelete(sparse, "segmentCount", value, numberValue);
    case "offset":
    case "numbytes": {
      // 0.0 repeats these two keys, once a segment, in this order.
      const map = (sparse.map ??= []);
      if ((map.length % 2 === 0) !== (key === "GNU.sparse.offset")) {
        throw new PaxSyntaxError("sparse offsets and lengths do not alternate");
      }
      map.push(numberValue(value));
      return;
    }
    case "map":
      return setOrDelete(sparse, "map", value, mapValue);
    default:
  }
}

function mapValue(value: Uint8Array): number[] {
  const map: number[] = [];
  for (let at = 0; at <= value.length; ) {
    const comma = value.indexOf(0x2c, at);
    const end = comma < 0 ? value.length : comma;
    map.push(numberValue(value.subarray(at, end)));
    at = end + 1;
  }
  return map;
}

/** The xattrs of a header in a list, names as bytes. */
export function xattrsOf(header: PaxHeader | undefined): readonly Xattr[] {
  if (header?.xattrs === undefined) return [];
  return Array.from(header.xattrs, ([name, value]) => ({ name: Buffer.from(name, "latin1"), value }));
}

function latin1Of(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1");
}
