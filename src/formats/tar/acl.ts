/**
 * ACLs in text (`SCHILY.acl.access`: `user::rwx,user:daemon:r-x:1,mask::rwx,…`, entries apart by commas or
 * newlines, the numeric id as a fourth field) to the binary xattr that Linux keeps them in:
 * https://elixir.bootlin.com/linux/v6.12/source/include/uapi/linux/posix_acl_xattr.h
 */
const VERSION = 2;
const NO_ID = 0xffff_ffff;
const MAX_ENTRIES = 1024;
const Tag = {
  userObject: 0x01,
  user: 0x02,
  groupObject: 0x04,
  group: 0x08,
  mask: 0x10,
  other: 0x20,
} as const;

interface AclEntry {
  readonly tag: number;
  readonly permissions: number;
  readonly id: number;
}

/** The value of `system.posix_acl_*`; undefined when the text is malformed or names owners without ids. */
export function posixAclXattr(text: string): Uint8Array | undefined {
  const lines = text.split(/[,\n]/).filter((line) => line.trim() !== "");
  if (lines.length === 0 || lines.length > MAX_ENTRIES) return undefined;
  const entries: AclEntry[] = [];
  for (const line of lines) {
    const entry = parseEntry(line.trim());
    if (entry === undefined) return undefined;
    entries.push(entry);
  }
  // The kernel takes them only in this order.
  entries.sort((a, b) => a.tag - b.tag || a.id - b.id);
  const value = new DataView(new ArrayBuffer(4 + 8 * entries.length));
  value.setUint32(0, VERSION, true);
  for (const [i, entry] of entries.entries()) {
    value.setUint16(4 + 8 * i, entry.tag, true);
    value.setUint16(6 + 8 * i, entry.permissions, true);
    value.setUint32(8 + 8 * i, entry.id, true);
  }
  return new Uint8Array(value.buffer);
}

function parseEntry(line: string): AclEntry | undefined {
  const match =
    /^(u|user|g|group|m|mask|o|other):(?:([^:]*):)?([r-][w-][x-])(?::(\d{1,10}))?(?:\s+#.*)?$/.exec(line);
  if (match === null) return undefined;
  const [, kind = "", name = "", letters = "", numericId] = match;
  const permissions =
    (letters[0] === "r" ? 4 : 0) | (letters[1] === "w" ? 2 : 0) | (letters[2] === "x" ? 1 : 0);
  if (kind.startsWith("m")) return { tag: Tag.mask, permissions, id: NO_ID };
  if (kind.startsWith("o")) return { tag: Tag.other, permissions, id: NO_ID };
  const isUser = kind.startsWith("u");
  if (name === "") return { tag: isUser ? Tag.userObject : Tag.groupObject, permissions, id: NO_ID };
  const idText = numericId ?? (/^\d{1,10}$/.test(name) ? name : undefined);
  const id = idText === undefined ? NO_ID : Number(idText);
  if (id >= NO_ID) return undefined;
  return { tag: isUser ? Tag.user : Tag.group, permissions, id };
}
