/**
 * Extended attributes in the form of the layer index, which is EROFS's: a namespace index and the rest of
 * the name.
 */
import { printable } from "../formats/tar/error.ts";
import type { Xattr } from "../formats/tar/format.ts";
import { ConversionError } from "./conversion-error.ts";

/** EROFS's name indexes; a namespace without one cannot be stored. */
const NAMESPACES = [
  { prefix: "user.", index: 1, wantsSuffix: true },
  { prefix: "system.posix_acl_access", index: 2, wantsSuffix: false },
  { prefix: "system.posix_acl_default", index: 3, wantsSuffix: false },
  { prefix: "trusted.", index: 4, wantsSuffix: true },
  { prefix: "security.", index: 6, wantsSuffix: true },
] as const;

/** A layer that sets these could forge whiteouts and redirects in the overlay of the guest. */
const OVERLAY_PREFIX = "trusted.overlay.";
/** XATTR_NAME_MAX, namespace included. */
const MAX_NAME_BYTES = 255;
const MAX_VALUE_BYTES = 65_535;
/** What EROFS's 16-bit count of 4-byte units can hold, its header and paddings allowed for. */
const MAX_TOTAL_BYTES = 4 * 65_534 - 64;

export interface EncodedXattrs {
  /** As LayerIndex.xattrOffset describes it; undefined = none. */
  readonly bytes: Uint8Array | undefined;
  readonly dropped: number;
}

interface Encodable {
  readonly index: number;
  readonly suffix: Uint8Array;
  readonly value: Uint8Array;
}

/** @throws ConversionError `layer-bad-xattr` for names and values that Linux does not allow */
export function encodeXattrs(xattrs: readonly Xattr[], entryName: Uint8Array): EncodedXattrs {
  if (xattrs.length === 0) return { bytes: undefined, dropped: 0 };
  const kept: Encodable[] = [];
  let length = 2;
  for (const { name, value } of xattrs) {
    const encodable = classify(name, value);
    if (encodable === undefined) continue;
    const { suffix } = encodable;
    if (name.length > MAX_NAME_BYTES || value.length > MAX_VALUE_BYTES) throw tooLarge(name, entryName);
    kept.push(encodable);
    // Counted with EROFS's padding to four bytes.
    length += (4 + suffix.length + value.length + 3) & ~3;
    if (length > MAX_TOTAL_BYTES) throw tooLarge(name, entryName);
  }
  const dropped = xattrs.length - kept.length;
  return { bytes: kept.length === 0 ? undefined : packed(kept), dropped };
}

function classify(name: Uint8Array, value: Uint8Array): Encodable | undefined {
  const text = Buffer.from(name.buffer, name.byteOffset, name.length).toString("latin1");
  if (text.startsWith(OVERLAY_PREFIX)) return undefined;
  for (const { prefix, index, wantsSuffix } of NAMESPACES) {
    const matches = wantsSuffix ? text.startsWith(prefix) && text.length > prefix.length : text === prefix;
    if (matches) return { index, suffix: name.subarray(prefix.length), value };
  }
  return undefined;
}

function packed(list: Encodable[]): Uint8Array {
  list.sort((a, b) => a.index - b.index || Buffer.compare(a.suffix, b.suffix));
  const bytes = Buffer.alloc(list.reduce((sum, x) => sum + 4 + x.suffix.length + x.value.length, 2));
  bytes.writeUInt16LE(list.length, 0);
  let at = 2;
  for (const { index, suffix, value } of list) {
    bytes.writeUInt8(index, at);
    bytes.writeUInt8(suffix.length, at + 1);
    bytes.writeUInt16LE(value.length, at + 2);
    bytes.set(suffix, at + 4);
    bytes.set(value, at + 4 + suffix.length);
    at += 4 + suffix.length + value.length;
  }
  return bytes;
}

function tooLarge(name: Uint8Array, entryName: Uint8Array): ConversionError {
  const what = `extended attribute ${printable(name)} of ${printable(entryName)}`;
  return new ConversionError("layer-bad-xattr", `the layer's ${what} is larger than Linux allows`);
}
