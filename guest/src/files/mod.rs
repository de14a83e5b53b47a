//! What a container has in its file system: told, and carried in and out. All of it runs in a helper.
//!
//! ```text
//! view     the container's root, from outside of its namespaces
//! stat     what is there                                archive   what is there ─► tar
//! list     what is in a directory
//! extract  tar ─► the container                         upper     the writable layer against the image
//! ```
//!
//! The container may run, and change anything at any time. So a name is only ever looked up below a directory that is
//! open, with no link followed but where the host's path has one; and nothing is opened before it is known to be a file
//! or a directory, because opening a device may do anything, and opening a FIFO waits.

mod archive;
mod changes;
mod extract;
mod layer;
mod list;
mod make;
mod names;
mod pack;
mod places;
mod stat;
mod upper;
mod view;

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{FileStat, SFlag, fstat};

use crate::archive::Time;
use crate::protocol::message::{Code, Failure};
use crate::syscall;

pub use archive::archive;
pub use changes::changes;
pub use extract::{Order, extract};
pub use layer::layer;
pub use list::list;
pub use stat::stat;
pub use upper::Layers;
pub use view::View;

/// Directories within each other, of each of which two descriptors may be open.
const MAX_DEPTH: usize = 2_000;
const MAX_DESCRIPTORS: u64 = 8_192;

/// Longest path that the host may name, in bytes.
const MAX_PATH_BYTES: usize = 4_096;

/// Extended attributes that a container's files have for others than this kernel.
fn is_portable_xattr(name: &[u8]) -> bool {
    [&b"user."[..], b"security.", b"system.posix_acl_"].iter().any(|prefix| name.starts_with(prefix))
}

/// For this process: as many directories open as it may have within each other.
pub fn begin() -> Result<(), Failure> {
    syscall::process::set_dumpable(false)
        .and_then(|()| syscall::limit_descriptors(MAX_DESCRIPTORS))
        .map_err(|e| Failure::failed(format!("the helper's limits: {e}")))
}

/// One component, in a directory that is open, whatever it is: looked at only.
fn look(directory: BorrowedFd, name: &[u8]) -> nix::Result<OwnedFd> {
    open_name(directory, name, OFlag::O_PATH)
}

/// `name` is one component, or several that lead through directories only.
fn open_name(directory: BorrowedFd, name: &[u8], flags: OFlag) -> nix::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
    let fd = openat2(directory.as_raw_fd(), name, how)?;
    // SAFETY: the kernel has just made this descriptor, and nobody else owns it.
    Ok(unsafe { std::os::fd::FromRawFd::from_raw_fd(fd) })
}

fn open_directory(directory: BorrowedFd, name: &[u8]) -> nix::Result<OwnedFd> {
    open_name(directory, name, OFlag::O_RDONLY | OFlag::O_DIRECTORY)
}

/// What `look` has found to be a plain file, to be read.
fn open_to_read(file: BorrowedFd) -> io::Result<File> {
    File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

fn kind_of(status: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT
}

fn is_directory(status: &FileStat) -> bool {
    kind_of(status) == SFlag::S_IFDIR
}

fn mtime_of(status: &FileStat) -> Time {
    Time { seconds: status.st_mtime, nanoseconds: status.st_mtime_nsec as u32 }
}

fn status_of(file: &OwnedFd) -> nix::Result<FileStat> {
    fstat(file.as_raw_fd())
}

/// None when there is nothing.
fn status_at(directory: BorrowedFd, name: &[u8]) -> nix::Result<Option<FileStat>> {
    match nix::sys::stat::fstatat(Some(directory.as_raw_fd()), name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(status) => Ok(Some(status)),
        Err(Errno::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What the host's path leads to in the container.
fn resolve(root: BorrowedFd, path: &str, follow: bool) -> Result<OwnedFd, Failure> {
    check_path(path)?;
    let mut flags = OFlag::O_PATH;
    if path.ends_with('/') {
        flags |= OFlag::O_DIRECTORY;
    } else if !follow {
        flags |= OFlag::O_NOFOLLOW;
    }
    syscall::open_in_root(root, Path::new(path), flags).map_err(|error| explain(path, error))
}

fn check_path(path: &str) -> Result<(), Failure> {
    if !path.starts_with('/') || path.contains('\0') || path.len() > MAX_PATH_BYTES {
        let what = "path: it begins with /, has no NUL, and at most 4,096 bytes";
        return Err(Failure::new(Code::InvalidRequest, what));
    }
    Ok(())
}

fn explain(path: &str, error: Errno) -> Failure {
    match error {
        Errno::ENOENT => {
            Failure::new(Code::PathNotFound, format!("{path}: there is nothing in the container"))
        }
        Errno::ENOTDIR => {
            Failure::new(Code::NotADirectory, format!("{path}: not a directory in the container"))
        }
        Errno::ELOOP => Failure::failed(format!("{path}: links without end, or to what is no path")),
        Errno::ENAMETOOLONG => Failure::failed(format!("{path}: too long a name")),
        other => Failure::failed(format!("{path}: {}", other.desc())),
    }
}

/// For messages: names are bytes.
fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}
