//! Anonymous volumes: directories on the writable disk, outside of the overlay, mounted into the container.
//!
//! One that is to be seeded gets a copy of what the image has in its place. Nothing of the container runs yet, so
//! nobody changes the tree while it is copied; what it holds comes from an image all the same, and is walked without
//! following a link, without recursion, and with one directory open at a time.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, UtimensatFlags, fchmod, fstatat, mkdirat, mknodat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, Whence, fchownat, linkat, lseek64, symlinkat};

use super::targets;
use crate::mounts::Layout;
use crate::protocol::message::{Code, Failure, Volume};
use crate::syscall;

/// More hard links than these become files of their own.
const MAX_LINKED_FILES: usize = 65_536;
const COPY_BYTES: usize = 131_072;
const OVERLAY_MARKS: &[u8] = b"trusted.overlay.";

/// Makes the volumes, and returns for each where it is, where the container is to see it, and whether it may only
/// read it; a volume within another comes after it.
pub fn make(
    root: BorrowedFd,
    layout: &Layout,
    volumes: &[Volume],
) -> Result<Vec<(PathBuf, String, bool)>, Failure> {
    let mut made = Vec::new();
    for (number, volume) in volumes.iter().enumerate() {
        let place = locate(root, &volume.path)?;
        let source = layout.volume(number);
        let failed = |error: &dyn std::fmt::Display| {
            Failure::failed(format!("make the volume {:?}: {error}", volume.path))
        };
        // One that the container has had before is as it was left.
        if !source.exists() {
            let unfinished = source.with_extension("new");
            // Of a machine that has ended in the middle of it.
            let _ = fs::remove_dir_all(&unfinished);
            fs::create_dir_all(&unfinished).map_err(|e| failed(&e))?;
            if volume.seed {
                let origin =
                    syscall::open_in_root(root, Path::new(&place), DIRECTORY).map_err(|e| failed(&e))?;
                let target = syscall::open_directory(&unfinished).map_err(|e| failed(&e))?;
                copy_tree(origin.as_fd(), target.as_fd()).map_err(|e| failed(&e))?;
            }
            fs::rename(&unfinished, &source).map_err(|e| failed(&e))?;
        }
        made.push((source, place, volume.readonly));
    }
    made.sort_by_key(|(_, place, _)| Path::new(place).components().count());
    Ok(made)
}

const DIRECTORY: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW);

fn locate(root: BorrowedFd, path: &str) -> Result<String, Failure> {
    let refused = |why: &str| Failure::new(Code::InvalidConfig, format!("the volume {path:?}: {why}"));
    let place = targets::make_directory(root, path).map_err(|e| refused(e.desc()))?;
    if place == Path::new("/") {
        return Err(refused("the root directory cannot be one"));
    }
    // config.json is to name it, and JSON has no other text.
    place.into_os_string().into_string().map_err(|_| refused("its name is not UTF-8"))
}

/// Copies what is in `from`, and its own attributes, to the empty directory `to`.
fn copy_tree(from: BorrowedFd, to: BorrowedFd) -> io::Result<()> {
    let mut copy = Copy { from, to, links: HashMap::new(), buffer: vec![0; COPY_BYTES] };
    let mut ahead = vec![PathBuf::new()];
    let mut done = Vec::new();
    while let Some(path) = ahead.pop() {
        copy.directory(&path, &mut ahead)?;
        done.push(path);
    }
    // Backwards, and last: what is put into a directory changes its time, and a mode may close it.
    for path in done.iter().rev() {
        copy.directory_attributes(path)?;
    }
    Ok(())
}

struct Copy<'a> {
    from: BorrowedFd<'a>,
    to: BorrowedFd<'a>,
    /// Files with several names: where the first copy is.
    links: HashMap<(u64, u64), PathBuf>,
    buffer: Vec<u8>,
}

impl Copy<'_> {
    fn directory(&mut self, path: &Path, ahead: &mut Vec<PathBuf>) -> io::Result<()> {
        let from = syscall::open_in_root(self.from, path, DIRECTORY)?;
        let to = syscall::open_in_root(self.to, path, DIRECTORY)?;
        for entry in fs::read_dir(own_path(&from))? {
            let name = entry?.file_name();
            if self.entry(&from, &to, &name, path)? {
                ahead.push(path.join(name));
            }
        }
        Ok(())
    }

    /// Whether it is a directory, whose content is still to be copied.
    fn entry(&mut self, from: &OwnedFd, to: &OwnedFd, name: &OsStr, path: &Path) -> io::Result<bool> {
        let status = fstatat(Some(from.as_raw_fd()), name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        let kind = SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT;
        if kind == SFlag::S_IFDIR {
            mkdirat(Some(to.as_raw_fd()), name, Mode::S_IRWXU)?;
            return Ok(true);
        }
        if status.st_nlink > 1 && self.link(&status, to, name, path)? {
            return Ok(false);
        }
        match kind {
            SFlag::S_IFREG => self.file(from, to, name, &status)?,
            SFlag::S_IFLNK => {
                let target = readlinkat(Some(from.as_raw_fd()), name)?;
                symlinkat(target.as_os_str(), Some(to.as_raw_fd()), name)?;
                own(to, name, &status)?;
            }
            _ => {
                mknodat(Some(to.as_raw_fd()), name, kind, Mode::S_IRUSR, status.st_rdev)?;
                own(to, name, &status)?;
                fs::set_permissions(own_path(to).join(name), permissions(&status))?;
            }
        }
        set_times(to, name, &status)?;
        Ok(false)
    }

    /// Whether the file was there already, under another name.
    fn link(&mut self, status: &FileStat, to: &OwnedFd, name: &OsStr, path: &Path) -> io::Result<bool> {
        let key = (status.st_dev, status.st_ino);
        let Some(first) = self.links.get(&key) else {
            if self.links.len() < MAX_LINKED_FILES {
                self.links.insert(key, path.join(name));
            }
            return Ok(false);
        };
        let parent = first.parent().unwrap_or(Path::new(""));
        let parent = syscall::open_in_root(self.to, parent, DIRECTORY)?;
        let old = first.file_name().unwrap_or_default();
        linkat(Some(parent.as_raw_fd()), old, Some(to.as_raw_fd()), name, AtFlags::empty())?;
        Ok(true)
    }

    fn file(&mut self, from: &OwnedFd, to: &OwnedFd, name: &OsStr, status: &FileStat) -> io::Result<()> {
        let open = |directory: &OwnedFd, flags: OFlag| {
            let flags = flags | OFlag::O_NOFOLLOW;
            syscall::open_in_root(directory.as_fd(), Path::new(name), flags).map(File::from)
        };
        let source = open(from, OFlag::O_RDONLY)?;
        let target = open(to, OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL)?;
        self.content(&source, &target, status.st_size as u64)?;
        // The owner before the attributes: a change of owner takes capabilities away, and bits of the mode.
        std::os::unix::fs::fchown(&target, Some(status.st_uid), Some(status.st_gid))?;
        target.set_permissions(permissions(status))?;
        syscall::xattrs::copy(source.as_fd(), target.as_fd(), |name| name.starts_with(OVERLAY_MARKS))
    }

    /// What is a hole stays one.
    fn content(&mut self, source: &File, target: &File, size: u64) -> io::Result<()> {
        target.set_len(size)?;
        let mut at = 0;
        while at < size {
            let data = match lseek64(source.as_raw_fd(), at as i64, Whence::SeekData) {
                Ok(data) => data as u64,
                Err(Errno::ENXIO) => return Ok(()),
                Err(_) => at,
            };
            let end =
                lseek64(source.as_raw_fd(), data as i64, Whence::SeekHole).map_or(size, |end| end as u64);
            at = data;
            while at < end.min(size) {
                let most = self.buffer.len().min((end.min(size) - at) as usize);
                let length = source.read_at(&mut self.buffer[..most], at)?;
                if length == 0 {
                    return Ok(());
                }
                target.write_all_at(&self.buffer[..length], at)?;
                at += length as u64;
            }
        }
        Ok(())
    }

    fn directory_attributes(&self, path: &Path) -> io::Result<()> {
        let from = File::from(syscall::open_in_root(self.from, path, DIRECTORY)?);
        let to = File::from(syscall::open_in_root(self.to, path, DIRECTORY)?);
        let status = nix::sys::stat::fstat(from.as_raw_fd())?;
        std::os::unix::fs::fchown(&to, Some(status.st_uid), Some(status.st_gid))?;
        fchmod(to.as_raw_fd(), Mode::from_bits_truncate(status.st_mode & 0o7777))?;
        syscall::xattrs::copy(from.as_fd(), to.as_fd(), |name| name.starts_with(OVERLAY_MARKS))?;
        to.set_modified(from.metadata()?.modified()?)
    }
}

/// What is opened, as a path for this process.
fn own_path(file: &OwnedFd) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

fn permissions(status: &FileStat) -> fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(status.st_mode & 0o7777)
}

fn own(directory: &OwnedFd, name: &OsStr, status: &FileStat) -> nix::Result<()> {
    let (uid, gid) = (Uid::from_raw(status.st_uid), Gid::from_raw(status.st_gid));
    fchownat(Some(directory.as_raw_fd()), name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)
}

fn set_times(directory: &OwnedFd, name: &OsStr, status: &FileStat) -> nix::Result<()> {
    let access = TimeSpec::new(status.st_atime, status.st_atime_nsec);
    let change = TimeSpec::new(status.st_mtime, status.st_mtime_nsec);
    utimensat(Some(directory.as_raw_fd()), name, &access, &change, UtimensatFlags::NoFollowSymlink)
}
