"""Prints one JSON line for every entry below the directory in argv[1], or / without one: what a tree is,
bytes as hexadecimal, sorted by name. Runs on the host and inside the guest alike."""
import hashlib, json, os, stat, sys

root = os.fsencode(sys.argv[1]) if len(sys.argv) > 1 else b"/"
skipped = {os.path.join(root, name) for name in (b"proc", b"sys", b"dev")}
first_name = {}
KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink", stat.S_IFCHR: "character",
         stat.S_IFBLK: "block", stat.S_IFIFO: "fifo", stat.S_IFSOCK: "socket"}


def digest(path):
    sha = hashlib.sha256()
    # Not through open(): a file may have mode 0000, and reading must not wait on anything.
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        while block := os.read(fd, 1 << 20):
            sha.update(block)
    finally:
        os.close(fd)
    return sha.hexdigest()


def show(path):
    s = os.lstat(path)
    kind = KINDS[stat.S_IFMT(s.st_mode)]
    name = os.path.relpath(path, root)
    entry = {"name": name.hex(), "kind": kind, "mode": stat.S_IMODE(s.st_mode), "uid": s.st_uid, "gid": s.st_gid,
             "mtime": s.st_mtime_ns}
    if kind != "directory":
        entry["links"] = s.st_nlink
        entry["same"] = first_name.setdefault((s.st_dev, s.st_ino), name).hex()
    if kind == "file":
        entry["size"], entry["sha256"] = s.st_size, digest(path)
    if kind == "symlink":
        entry["target"] = os.readlink(path).hex()
    if kind in ("character", "block"):
        entry["device"] = [os.major(s.st_rdev), os.minor(s.st_rdev)]
    names = os.listxattr(path, follow_symlinks=False)
    entry["xattrs"] = {n: os.getxattr(path, n, follow_symlinks=False).hex() for n in sorted(names)}
    print(json.dumps(entry))
    if kind == "directory" and path not in skipped:
        for child in sorted(os.listdir(path)):
            show(os.path.join(path, child))


show(root)
