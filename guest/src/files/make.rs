//! Where a member of an archive belongs, and room made for it: names, directories above, and what was there before.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{FileStat, Mode, SFlag, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::{kind_of, look, open_directory, shown, status_of};
use crate::archive::Kind;
use crate::protocol::message::Failure;

/// Why a member cannot be extracted.
pub enum Refusal {
    Text(&'static str),
    System(io::Error),
}

impl From<Errno> for Refusal {
    fn from(error: Errno) -> Self {
        Self::System(error.into())
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl Refusal {
    pub fn of(self, path: &[u8]) -> Failure {
        let path = shown(&path[..path.len().min(1_024)]);
        match self {
            Self::Text(text) => Failure::failed(format!("{path}: {text}")),
            Self::System(error) => match error.raw_os_error() {
                Some(libc::ELOOP) => Failure::failed(format!("{path}: it would lie behind a symbolic link")),
                Some(libc::ENOTDIR) => {
                    Failure::failed(format!("{path}: it would lie in what is no directory"))
                }
                _ => Failure::failed(format!("{path}: {error}")),
            },
        }
    }
}

/// A member's name without what does not count: slashes in front and behind, and dots.
pub fn clean(path: &[u8]) -> Result<Vec<u8>, &'static str> {
    let mut parts = Vec::new();
    for part in path.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err("a name with .. in it, which leads elsewhere"),
            _ if part.contains(&0) => return Err("a name with a NUL in it"),
            _ => parts.push(part),
        }
    }
    Ok(parts.join(&b'/'))
}

/// A clean name: the directory, and the last component.
pub fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

pub fn make_directories(target: BorrowedFd, path: &[u8]) -> Result<OwnedFd, Refusal> {
    if path.is_empty() {
        return Ok(open_directory(target, b".")?);
    }
    match open_directory(target, path) {
        Err(Errno::ENOENT | Errno::ENAMETOOLONG) => {}
        other => return Ok(other?),
    }
    let mut directory = open_directory(target, b".")?;
    for part in path.split(|&byte| byte == b'/') {
        directory = match open_directory(directory.as_fd(), part) {
            Err(Errno::ENOENT) => {
                match mkdirat(Some(directory.as_raw_fd()), part, Mode::from_bits_truncate(0o755)) {
                    Ok(()) | Err(Errno::EEXIST) => open_directory(directory.as_fd(), part)?,
                    Err(error) => return Err(error.into()),
                }
            }
            other => other?,
        };
    }
    Ok(directory)
}

/// Removes what is not a directory. False when it has to stay, because something is mounted there, and its content is to
/// be replaced instead.
pub fn remove(parent: BorrowedFd, name: &[u8], there: &FileStat, wanted: Kind) -> Result<bool, Refusal> {
    // The kernel refuses to remove what is mounted on only to whoever sees the mount; for others it unmounts it.
    if is_mounted_on(parent, name)? {
        return match wanted {
            Kind::File if kind_of(there) == SFlag::S_IFREG => Ok(false),
            _ => Err(Refusal::Text("something is mounted there")),
        };
    }
    let path = Path::new(OsStr::from_bytes(name));
    match unlinkat(Some(parent.as_raw_fd()), path, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

pub fn is_mounted_on(parent: BorrowedFd, name: &[u8]) -> nix::Result<bool> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_XDEV);
    match openat2(parent.as_raw_fd(), name, how) {
        // SAFETY: the kernel has just made this descriptor, and nobody else owns it.
        Ok(fd) => drop::<OwnedFd>(unsafe { std::os::fd::FromRawFd::from_raw_fd(fd) }),
        Err(Errno::EXDEV) => return Ok(true),
        Err(Errno::ENOENT) => {}
        Err(error) => return Err(error),
    }
    Ok(false)
}

pub fn create(parent: BorrowedFd, name: &[u8]) -> Result<File, Refusal> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let how = OpenHow::new()
        .flags(flags)
        .mode(Mode::S_IRUSR | Mode::S_IWUSR)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
    let fd = openat2(parent.as_raw_fd(), name, how)?;
    // SAFETY: the kernel has just made this descriptor, and nobody else owns it.
    Ok(unsafe { std::os::fd::FromRawFd::from_raw_fd(fd) })
}

pub fn open_mounted(parent: BorrowedFd, name: &[u8]) -> Result<File, Refusal> {
    let place = look(parent, name)?;
    if kind_of(&status_of(&place)?) != SFlag::S_IFREG {
        return Err(Refusal::Text("something is mounted there"));
    }
    Ok(File::options().write(true).truncate(true).open(own_path(&place))?)
}

/// What is open, as a path for this process.
pub fn own_path(file: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}
