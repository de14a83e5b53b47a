//! Places inside the container's root where something is to be mounted, or a process to begin: the files that
//! the host generates, the working directory.
//!
//! The path comes from the host, what it leads through from the image. Symbolic links are read one at a time,
//! as the container would see them, and where one leads to nothing (many images have /etc/resolv.conf as a link
//! into /run) is where the missing thing belongs. Each step is opened inside the root, so that whatever a link
//! says, nothing outside is touched; nobody runs in the root yet who could change it meanwhile.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstat, mkdirat};

use crate::syscall;

/// As many links as the kernel follows in one path.
const MAX_LINKS: u32 = 40;

/// Makes what is missing of the directory `path`, and returns where it really is: a path without links.
pub fn make_directory(root: BorrowedFd, path: &str) -> nix::Result<PathBuf> {
    let path = resolve(root, path)?;
    make_directories(root, &path)?;
    Ok(path)
}

/// ENOTDIR when something else than a directory is where `path` leads; nothing at all is no error.
pub fn expect_directory(root: BorrowedFd, path: &str) -> nix::Result<()> {
    let place = resolve(root, path)?;
    match syscall::open_in_root(root, &place, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW) {
        Ok(_) | Err(Errno::ENOENT) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Where the directory `path` really is, or would be: a path without links. Anything else there is ENOTDIR.
pub fn locate_directory(root: BorrowedFd, path: &str) -> nix::Result<String> {
    expect_directory(root, path)?;
    resolve(root, path)?.into_os_string().into_string().map_err(|_| Errno::EILSEQ)
}

/// Where the file `path` really is, or would be if it were made: a path without links, so that whoever makes
/// it does not stumble over one that leads to nothing. A directory there is EISDIR.
pub fn locate_file(root: BorrowedFd, path: &str) -> nix::Result<String> {
    let place = resolve(root, path)?;
    match syscall::open_in_root(root, &place, OFlag::O_PATH | OFlag::O_NOFOLLOW) {
        Ok(file) if is(&file, SFlag::S_IFDIR)? => return Err(Errno::EISDIR),
        Ok(_) | Err(Errno::ENOENT) => {}
        Err(error) => return Err(error),
    }
    // config.json is to name it, and JSON has no other text.
    place.into_os_string().into_string().map_err(|_| Errno::EILSEQ)
}

/// As `locate_file`, with the file and the directories above it made where they are missing.
pub fn make_file(root: BorrowedFd, path: &str) -> nix::Result<String> {
    let place = locate_file(root, path)?;
    let place_path = Path::new(&place);
    if let Err(Errno::ENOENT) = syscall::open_in_root(root, place_path, OFlag::O_PATH | OFlag::O_NOFOLLOW) {
        if let Some(parent) = place_path.parent() {
            make_directories(root, parent)?;
        }
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_NOFOLLOW;
        drop(syscall::create_in_root(root, place_path, flags, 0o644)?);
    }
    Ok(place)
}

/// `path` without symbolic links and dots, as the container would walk it. What is missing stays as it is.
fn resolve(root: BorrowedFd, path: &str) -> nix::Result<PathBuf> {
    if !path.starts_with('/') {
        return Err(Errno::EINVAL);
    }
    let mut reached = PathBuf::from("/");
    let mut ahead = steps(Path::new(path));
    let mut links = 0;
    while let Some(step) = ahead.pop_front() {
        if step == ".." {
            reached.pop();
            continue;
        }
        reached.push(step);
        let entry = match syscall::open_in_root(root, &reached, OFlag::O_PATH | OFlag::O_NOFOLLOW) {
            Ok(entry) => entry,
            Err(Errno::ENOENT) => continue,
            Err(error) => return Err(error),
        };
        if !is(&entry, SFlag::S_IFLNK)? {
            continue;
        }
        links += 1;
        if links > MAX_LINKS {
            return Err(Errno::ELOOP);
        }
        let target = PathBuf::from(readlinkat(Some(entry.as_raw_fd()), "")?);
        reached.pop();
        if target.is_absolute() {
            reached = PathBuf::from("/");
        }
        let mut further = steps(&target);
        further.append(&mut ahead);
        ahead = further;
    }
    Ok(reached)
}

fn steps(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter(|component| matches!(component, Component::Normal(_) | Component::ParentDir))
        .map(|component| component.as_os_str().to_owned())
        .collect()
}

fn is(entry: &OwnedFd, kind: SFlag) -> nix::Result<bool> {
    Ok(SFlag::from_bits_truncate(fstat(entry.as_raw_fd())?.st_mode) & SFlag::S_IFMT == kind)
}

/// `path` has no links left in it.
fn make_directories(root: BorrowedFd, path: &Path) -> nix::Result<()> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
    let mut reached = PathBuf::from("/");
    let mut directory = syscall::open_in_root(root, &reached, flags)?;
    for step in steps(path) {
        reached.push(&step);
        directory = match syscall::open_in_root(root, &reached, flags) {
            Err(Errno::ENOENT) => {
                mkdirat(Some(directory.as_raw_fd()), step.as_os_str(), Mode::from_bits_truncate(0o755))?;
                syscall::open_in_root(root, &reached, flags)?
            }
            other => other?,
        };
    }
    Ok(())
}

#[cfg(test)]
#[path = "targets_test.rs"]
mod tests;
