/**
 * ACLs: an xattr holds them in the kernel's exchange format, ext4 in a shorter one of its own, where only entries of a
 * named user or group have an id. Both begin with a version.
 * https://elixir.bootlin.com/linux/v6.12/source/fs/ext4/acl.c
 */
const XATTR_VERSION = 2;
const XATTR_ENTRY_BYTES = 8;
const STORED_VERSION = 1;
const SHORT_ENTRY_BYTES = 4;
const LONG_ENTRY_BYTES = 8;
const HEADER_BYTES = 4;
const NAMED: readonly number[] = [0x02, 0x08];
const TAGS: readonly number[] = [0x01, 0x02, 0x04, 0x08, 0x10, 0x20];

/** The stored form of an ACL's xattr, or undefined when it is none. */
export function storedAcl(xattr: Uint8Array): Uint8Array | undefined {
  const entries = (xattr.length - HEADER_BYTES) / XATTR_ENTRY_BYTES;
  if (!Number.isInteger(entries) || entries < 1) return undefined;
  const from = new DataView(xattr.buffer, xattr.byteOffset, xattr.length);
  if (from.getUint32(0, true) !== XATTR_VERSION) return undefined;
  const out = new DataView(new ArrayBuffer(HEADER_BYTES + entries * LONG_ENTRY_BYTES));
  out.setUint32(0, STORED_VERSION, true);
  let at = HEADER_BYTES;
  for (let entry = HEADER_BYTES; entry < xattr.length; entry += XATTR_ENTRY_BYTES) {
    const tag = from.getUint16(entry, true);
    const permissions = from.getUint16(entry + 2, true);
    if (!TAGS.includes(tag) || permissions > 7) return undefined;
    out.setUint16(at, tag, true);
    out.setUint16(at + 2, permissions, true);
    at += SHORT_ENTRY_BYTES;
    if (!NAMED.includes(tag)) continue;
    out.setUint32(at, from.getUint32(entry + 4, true), true);
    at += LONG_ENTRY_BYTES - SHORT_ENTRY_BYTES;
  }
  return new Uint8Array(out.buffer, 0, at);
}
