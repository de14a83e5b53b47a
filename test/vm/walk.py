"""Prints one JSON line for every entry below the directory in argv[1], or / without one: what a tree is,
bytes as hexadecimal, sorted by name. Runs on the host and inside the guest alike, where every instruction may be
emulated: lines are put together by hand, and content is told by zlib's checksums, which are no loops of Python's."""
import json, os, stat, sys, zlib

root = os.fsencode(sys.argv[1]) if len(sys.argv) > 1 else b"/"
skipped = {os.path.join(root, name) for name in (b"proc", b"sys", b"dev")}
first_name = {}
KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink", stat.S_IFCHR: "character",
         stat.S_IFBLK: "block", stat.S_IFIFO: "fifo", stat.S_IFSOCK: "socket"}


def checksum(path):
    crc, adler = 0, 1
    # Not through open(): a file may have mode 0000, and reading must not wait on anything.
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        while block := os.read(fd, 1 << 20):
            crc, adler = zlib.crc32(block, crc), zlib.adler32(block, adler)
    finally:
        os.close(fd)
    return f"{crc:08x}{adler:08x}"


def show(path, name):
    s = os.lstat(path)
    kind = KINDS[stat.S_IFMT(s.st_mode)]
    fields = [f'"name":"{name.hex()}","kind":"{kind}","mode":{stat.S_IMODE(s.st_mode)}',
              f'"uid":{s.st_uid},"gid":{s.st_gid},"mtime":{s.st_mtime_ns}']
    if kind != "directory":
        same = first_name.setdefault((s.st_dev, s.st_ino), name) if s.st_nlink > 1 else name
        fields.append(f'"links":{s.st_nlink},"same":"{same.hex()}"')
    if kind == "file":
        fields.append(f'"size":{s.st_size},"checksum":"{checksum(path)}"')
    if kind == "symlink":
        fields.append(f'"target":"{os.readlink(path).hex()}"')
    if kind in ("character", "block"):
        fields.append(f'"device":[{os.major(s.st_rdev)},{os.minor(s.st_rdev)}]')
    names = os.listxattr(path, follow_symlinks=False)
    xattrs = {n: os.getxattr(path, n, follow_symlinks=False).hex() for n in sorted(names)}
    fields.append(f'"xattrs":{json.dumps(xattrs) if xattrs else "{}"}')
    print("{" + ",".join(fields) + "}")
    if kind == "directory" and path not in skipped:
        for child in sorted(os.listdir(path)):
            show(os.path.join(path, child), child if name == b"." else name + b"/" + child)


show(root, b".")
