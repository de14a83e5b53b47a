/**
 * Extended attributes: the packed list of a tree's heap (see `InodeTree.xattrOffset`) and the body behind an
 * inode. Both keep name prefixes as an index.
 */
import {
  ErofsError,
  MAX_XATTR_BODY_BYTES,
  XATTR_ENTRY,
  XATTR_HEADER,
  XATTR_PREFIXES,
  alignUp,
} from "./format.ts";
import { NO_XATTRS } from "./tree.ts";

const COUNT_BYTES = 2;
/** A list entry's head: name index, suffix length, value length. */
const HEAD_BYTES = 4;

/** Size of the body that a validated list makes; 0 for no xattrs (a body without entries is an error). */
export function xattrBodyBytes(heap: Uint8Array, offset: number): number {
  if (offset === NO_XATTRS) return 0;
  const count = (heap[offset] ?? 0) | ((heap[offset + 1] ?? 0) << 8);
  let at = offset + COUNT_BYTES;
  let body = XATTR_HEADER.sizeBytes;
  for (let item = 0; item < count; item++) {
    const payload = (heap[at + 1] ?? 0) + ((heap[at + 2] ?? 0) | ((heap[at + 3] ?? 0) << 8));
    body += alignUp(XATTR_ENTRY.sizeBytes + payload, 4);
    at += HEAD_BYTES + payload;
  }
  return count === 0 ? 0 : body;
}

/** Writes the body of a validated list into zeroed memory. */
export function writeXattrBody(heap: Uint8Array, offset: number, out: Uint8Array, position: number): void {
  const count = (heap[offset] ?? 0) | ((heap[offset + 1] ?? 0) << 8);
  let from = offset + COUNT_BYTES;
  let to = position + XATTR_HEADER.sizeBytes;
  for (let item = 0; item < count; item++) {
    const suffixLength = heap[from + 1] ?? 0;
    const valueLength = (heap[from + 2] ?? 0) | ((heap[from + 3] ?? 0) << 8);
    const payload = suffixLength + valueLength;
    out[to + XATTR_ENTRY.at.e_name_len] = suffixLength;
    out[to + XATTR_ENTRY.at.e_name_index] = heap[from] ?? 0;
    out[to + XATTR_ENTRY.at.e_value_size] = valueLength & 0xff;
    out[to + XATTR_ENTRY.at.e_value_size + 1] = valueLength >>> 8;
    out.set(heap.subarray(from + HEAD_BYTES, from + HEAD_BYTES + payload), to + XATTR_ENTRY.sizeBytes);
    from += HEAD_BYTES + payload;
    to += alignUp(XATTR_ENTRY.sizeBytes + payload, 4);
  }
}

/** What is wrong with the list at `offset`, or undefined. Reads nothing outside `heap`. */
export function xattrProblem(heap: Uint8Array, offset: number): string | undefined {
  if (offset === NO_XATTRS) return undefined;
  if (offset + COUNT_BYTES > heap.length) return "its xattrs are outside the heap";
  const count = (heap[offset] ?? 0) | ((heap[offset + 1] ?? 0) << 8);
  let at = offset + COUNT_BYTES;
  let body = XATTR_HEADER.sizeBytes;
  let previous = "";
  for (let item = 0; item < count; item++) {
    const index = heap[at] ?? 0;
    const suffixLength = heap[at + 1] ?? 0;
    const payload = suffixLength + ((heap[at + 2] ?? 0) | ((heap[at + 3] ?? 0) << 8));
    const end = at + HEAD_BYTES + payload;
    if (end > heap.length) return "its xattrs are outside the heap";
    const prefix = XATTR_PREFIXES[index];
    if (prefix === undefined) return `xattr name index ${index} is unknown`;
    if (prefix.endsWith(".") !== suffixLength > 0)
      return `an xattr has ${suffixLength} bytes after "${prefix}"`;
    const suffix = heap.subarray(at + HEAD_BYTES, at + HEAD_BYTES + suffixLength);
    if (suffix.includes(0)) return "an xattr's name has a NUL";
    const name = String.fromCharCode(index) + Buffer.from(suffix).toString("latin1");
    if (name <= previous) return "its xattrs are not in order, or one is twice there";
    previous = name;
    body += alignUp(XATTR_ENTRY.sizeBytes + payload, 4);
    at = end;
  }
  return body > MAX_XATTR_BODY_BYTES ? `${body} bytes of xattrs, at most ${MAX_XATTR_BODY_BYTES}` : undefined;
}

export interface PackedXattr {
  /** What stands for the beginning of its name: see XATTR_PREFIXES. */
  readonly index: number;
  readonly suffix: Uint8Array;
  readonly value: Uint8Array;
}

/** The entries of a validated list. */
export function* packedXattrs(heap: Uint8Array, offset: number): Generator<PackedXattr> {
  if (offset === NO_XATTRS) return;
  const view = new DataView(heap.buffer, heap.byteOffset, heap.length);
  const count = view.getUint16(offset, true);
  let at = offset + COUNT_BYTES;
  for (let item = 0; item < count; item++) {
    const valueStart = at + HEAD_BYTES + view.getUint8(at + 1);
    const end = valueStart + view.getUint16(at + 2, true);
    const suffix = heap.subarray(at + HEAD_BYTES, valueStart);
    yield { index: view.getUint8(at), suffix, value: heap.subarray(valueStart, end) };
    at = end;
  }
}

/** Full name as latin1 (one character a byte) and value, in stored order. */
export type Xattrs = readonly (readonly [name: string, value: Uint8Array])[];

/**
 * Parses the body behind an inode. Shared xattrs are not supported: our writer makes none.
 * @throws ErofsError `invalid-erofs`, `unsupported-erofs`
 */
export function readXattrBody(body: Uint8Array): Xattrs {
  if (body.length === 0) return [];
  const header = XATTR_HEADER.decode(body, 0);
  if (header.h_shared_count > 0) throw new ErofsError("unsupported-erofs", "shared xattrs are not supported");
  const found: [string, Uint8Array][] = [];
  let at = XATTR_HEADER.sizeBytes;
  while (at < body.length) {
    const entry = XATTR_ENTRY.decode(body, at);
    const nameStart = at + XATTR_ENTRY.sizeBytes;
    const valueStart = nameStart + entry.e_name_len;
    const end = valueStart + entry.e_value_size;
    const prefix = XATTR_PREFIXES[entry.e_name_index];
    if (end > body.length || prefix === undefined) {
      throw new ErofsError(
        "invalid-erofs",
        `xattr entry at byte ${at} of a ${body.length}-byte body is damaged`,
      );
    }
    const suffix = Buffer.from(body.subarray(nameStart, valueStart)).toString("latin1");
    found.push([prefix + suffix, body.slice(valueStart, end)]);
    at = alignUp(end, 4);
  }
  return found;
}
