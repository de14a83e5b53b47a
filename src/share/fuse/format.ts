/**
 * FUSE's messages as tables: include/uapi/linux/fuse.h, protocol 7.31.
 *
 *     request   header 40 │ arguments │ names, each with its NUL, or data
 *     reply     header 16 │ results, or data                               nothing but the header for an error
 */
import { hex32le, i64le, struct, u16le, u32le, u64bigLe, u64le } from "../../formats/struct.ts";

export const Opcode = {
  lookup: 1,
  forget: 2,
  getattr: 3,
  setattr: 4,
  readlink: 5,
  symlink: 6,
  mknod: 8,
  mkdir: 9,
  unlink: 10,
  rmdir: 11,
  rename: 12,
  link: 13,
  open: 14,
  read: 15,
  write: 16,
  statfs: 17,
  release: 18,
  fsync: 20,
  setxattr: 21,
  getxattr: 22,
  listxattr: 23,
  removexattr: 24,
  flush: 25,
  init: 26,
  opendir: 27,
  readdir: 28,
  releasedir: 29,
  fsyncdir: 30,
  access: 34,
  create: 35,
  interrupt: 36,
  destroy: 38,
  batchForget: 42,
  fallocate: 43,
  readdirplus: 44,
  rename2: 45,
  lseek: 46,
  copyFileRange: 47,
} as const;

export const MAJOR = 7;
/** What this side speaks; the kernel goes down to it. */
export const MINOR = 31;
export const MIN_MINOR = 31;

export const ROOT_ID = 1;
export const MAX_DATA_BYTES = 1 << 20;
/** The largest request carries 1 MiB of data; names and arguments are far below the rest. */
export const MAX_MESSAGE_BYTES = MAX_DATA_BYTES + (64 << 10);
export const MAX_NAME_BYTES = 255;
/** A symbolic link's target, PATH_MAX without the NUL. */
export const MAX_TARGET_BYTES = 4095;

export const InitFlag = {
  asyncRead: 1 << 0,
  atomicTruncate: 1 << 3,
  bigWrites: 1 << 5,
  autoInvalidateData: 1 << 12,
  readdirplus: 1 << 13,
  readdirplusAuto: 1 << 14,
  asyncDirectIo: 1 << 15,
  parallelDirectoryOps: 1 << 18,
  maxPages: 1 << 22,
} as const;

export const SetAttribute = {
  mode: 1 << 0,
  uid: 1 << 1,
  gid: 1 << 2,
  size: 1 << 3,
  atime: 1 << 4,
  mtime: 1 << 5,
  handle: 1 << 6,
  atimeNow: 1 << 7,
  mtimeNow: 1 << 8,
} as const;

export const GETATTR_HANDLE = 1;
export const OPEN_KEEP_CACHE = 1 << 1;
/** The data comes from the guest's page cache; whatever handle is named stands for the file only. */
export const WRITE_FROM_CACHE = 1 << 0;
export const FSYNC_DATA_ONLY = 1 << 0;
/** As libfuse has it for entries whose inode nobody has asked for. */
export const UNKNOWN_INODE = 0xffff_ffffn;

export const IN_HEADER = struct("fuse_in_header", 40, {
  len: u32le(0),
  opcode: u32le(4),
  unique: u64bigLe(8),
  nodeid: u64le(16),
  uid: u32le(24),
  gid: u32le(28),
  pid: u32le(32),
  totalExtlen: u16le(36),
});

export const OUT_HEADER_BYTES = 16;

export const ATTR = struct("fuse_attr", 88, {
  ino: u64bigLe(0),
  size: u64le(8),
  blocks: u64le(16),
  atime: i64le(24),
  mtime: i64le(32),
  ctime: i64le(40),
  atimensec: u32le(48),
  mtimensec: u32le(52),
  ctimensec: u32le(56),
  mode: hex32le(60),
  nlink: u32le(64),
  uid: u32le(68),
  gid: u32le(72),
  rdev: u32le(76),
  blksize: u32le(80),
  flags: u32le(84),
});

/** An ATTR follows at its end. */
export const ENTRY_OUT = struct("fuse_entry_out", 40, {
  nodeid: u64le(0),
  generation: u64le(8),
  entryValid: u64le(16),
  attrValid: u64le(24),
  entryValidNsec: u32le(32),
  attrValidNsec: u32le(36),
});
export const ENTRY_BYTES = ENTRY_OUT.sizeBytes + ATTR.sizeBytes;

/** An ATTR follows at its end. */
export const ATTR_OUT = struct("fuse_attr_out", 16, { attrValid: u64le(0), attrValidNsec: u32le(8) });

export const INIT_IN = struct("fuse_init_in", 16, {
  major: u32le(0),
  minor: u32le(4),
  maxReadahead: u32le(8),
  flags: hex32le(12),
});
export const INIT_OUT = struct("fuse_init_out", 64, {
  major: u32le(0),
  minor: u32le(4),
  maxReadahead: u32le(8),
  flags: hex32le(12),
  maxBackground: u16le(16),
  congestionThreshold: u16le(18),
  maxWrite: u32le(20),
  timeGran: u32le(24),
  maxPages: u16le(28),
});

export const FORGET_IN = struct("fuse_forget_in", 8, { nlookup: u64le(0) });
export const BATCH_FORGET_IN = struct("fuse_batch_forget_in", 8, { count: u32le(0) });
export const FORGET_ONE = struct("fuse_forget_one", 16, { nodeid: u64le(0), nlookup: u64le(8) });
export const GETATTR_IN = struct("fuse_getattr_in", 16, { flags: u32le(0), fh: u64le(8) });
export const SETATTR_IN = struct("fuse_setattr_in", 88, {
  valid: hex32le(0),
  fh: u64le(8),
  size: u64le(16),
  lockOwner: u64le(24),
  atime: i64le(32),
  mtime: i64le(40),
  ctime: i64le(48),
  atimensec: u32le(56),
  mtimensec: u32le(60),
  ctimensec: u32le(64),
  mode: hex32le(68),
  uid: u32le(76),
  gid: u32le(80),
});
export const MKNOD_IN = struct("fuse_mknod_in", 16, { mode: hex32le(0), rdev: u32le(4), umask: u32le(8) });
export const MKDIR_IN = struct("fuse_mkdir_in", 8, { mode: hex32le(0), umask: u32le(4) });
export const RENAME_IN = struct("fuse_rename_in", 8, { newdir: u64le(0) });
export const RENAME2_IN = struct("fuse_rename2_in", 16, { newdir: u64le(0), flags: u32le(8) });
export const LINK_IN = struct("fuse_link_in", 8, { oldnodeid: u64le(0) });
export const OPEN_IN = struct("fuse_open_in", 8, { flags: hex32le(0), openFlags: u32le(4) });
export const OPEN_OUT = struct("fuse_open_out", 16, { fh: u64le(0), openFlags: u32le(8) });
export const CREATE_IN = struct("fuse_create_in", 16, {
  flags: hex32le(0),
  mode: hex32le(4),
  umask: u32le(8),
  openFlags: u32le(12),
});
export const READ_IN = struct("fuse_read_in", 40, {
  fh: u64le(0),
  offset: u64le(8),
  size: u32le(16),
  readFlags: u32le(20),
  lockOwner: u64le(24),
  flags: hex32le(32),
});
export const WRITE_IN = struct("fuse_write_in", 40, {
  fh: u64le(0),
  offset: u64le(8),
  size: u32le(16),
  writeFlags: u32le(20),
  lockOwner: u64le(24),
  flags: hex32le(32),
});
export const WRITE_OUT = struct("fuse_write_out", 8, { size: u32le(0) });
export const RELEASE_IN = struct("fuse_release_in", 24, { fh: u64le(0), flags: hex32le(8) });
export const FSYNC_IN = struct("fuse_fsync_in", 16, { fh: u64le(0), fsyncFlags: u32le(8) });
export const STATFS_OUT = struct("fuse_statfs_out", 80, {
  blocks: u64le(0),
  bfree: u64le(8),
  bavail: u64le(16),
  files: u64le(24),
  ffree: u64le(32),
  bsize: u32le(40),
  namelen: u32le(44),
  frsize: u32le(48),
});
/** The name follows, filled up to a multiple of 8 bytes. In READDIRPLUS an ENTRY_OUT with its ATTR comes before. */
export const DIRENT = struct("fuse_dirent", 24, {
  ino: u64bigLe(0),
  off: u64le(8),
  namelen: u32le(16),
  type: u32le(20),
});
