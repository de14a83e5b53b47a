//! A container's writable layer against its image.
//!
//! ```text
//! upper   what overlayfs has written: files whole, whiteouts (character device 0:0), marks of opaque directories
//! lower   the image
//! ```
//!
//! <https://docs.kernel.org/filesystems/overlayfs.html>. Both are walked together, name by name. What the machine has
//! made to mount something on is passed over: it is empty, new, and something is mounted there.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::sys::stat::{FileStat, SFlag};

use super::archive::too_deep;
use super::names::{Budget, Names};
use super::pack;
use super::places::Places;
use super::{MAX_DEPTH, View, is_directory, kind_of, mtime_of, open_directory, status_at};
use crate::mounts;
use crate::protocol::message::{Disk, Failure};
use crate::syscall::{self, xattrs};

/// Where a container's layers are: a directory, and a disk by its serial number or name.
#[derive(Clone)]
pub struct Layers {
    pub upper: PathBuf,
    pub base: Disk,
}

/// A difference. `path` is absolute; `name` its last component, in `directory`.
pub enum Difference<'a> {
    /// A directory of the writable layer: told before what is in it. `opaque` when nothing of the image's is in it.
    Directory { path: &'a [u8], directory: BorrowedFd<'a>, status: &'a FileStat, new: bool, opaque: bool },
    /// Anything else of the writable layer.
    File { path: &'a [u8], directory: BorrowedFd<'a>, name: &'a [u8], new: bool },
    /// Something of the image's, which is not there any more; `covered` when a directory above says so.
    Gone { path: &'a [u8], covered: bool },
}

type Tell<'a> = &'a mut dyn FnMut(Difference<'_>) -> Result<(), Failure>;

struct Frame {
    upper: OwnedFd,
    lower: Option<OwnedFd>,
    status: FileStat,
    names: Names,
    length: usize,
    new: bool,
    /// Nothing of the lower one is to be seen in it.
    opaque: bool,
    /// As was said by it, or by one above.
    covered: bool,
    told: bool,
}

impl Layers {
    pub fn open(&self, view: &View) -> Result<Comparison, Failure> {
        let upper = syscall::confine::open_directory_to_read(&self.upper)
            .map_err(|e| Failure::failed(format!("the writable layer: {e}")))?;
        let device = mounts::find_disk(&self.base.device)?;
        let base = mounts::mount_image(self.base.kind, &device)
            .map_err(|e| Failure::failed(format!("the image: {e}")))?;
        let lower = open_directory(base.as_fd(), b".")
            .map_err(|e| Failure::failed(format!("the image: {}", e.desc())))?;
        Ok(Comparison { upper, lower, places: Places::parse(&view.place()?.mounts()?) })
    }
}

/// Two layers, to be compared.
pub struct Comparison {
    upper: OwnedFd,
    lower: OwnedFd,
    places: Places,
}

impl Comparison {
    /// Tells every difference, in order.
    pub fn run(self, tell: Tell) -> Result<(), Failure> {
        let Self { upper, lower, places } = self;
        let walk = Walk { places, budget: Budget::default(), path: Vec::new(), stack: Vec::new() };
        walk.run(upper, lower, tell)
    }
}

struct Walk {
    places: Places,
    budget: Budget,
    path: Vec<u8>,
    stack: Vec<Frame>,
}

impl Walk {
    fn run(mut self, upper: OwnedFd, lower: OwnedFd, tell: Tell) -> Result<(), Failure> {
        let status = pack::status(b"/", &upper)?;
        // The root itself is never told.
        let root = Frame {
            upper,
            lower: Some(lower),
            status,
            names: Names::default(),
            length: 0,
            new: false,
            opaque: false,
            covered: false,
            told: true,
        };
        self.stack.push(root);
        while let Some(frame) = self.stack.last_mut() {
            self.path.truncate(frame.length);
            let both =
                [Some(frame.upper.as_fd()), frame.lower.as_ref().filter(|_| frame.covered).map(AsFd::as_fd)];
            let directories: Vec<BorrowedFd> = both.into_iter().flatten().collect();
            let next = frame.names.next(&directories, &mut self.budget);
            match next.map_err(|e| pack::failed(&self.path)(e.into()))? {
                Some(name) => {
                    self.path.push(b'/');
                    self.path.extend_from_slice(&name);
                    self.entry(&name, tell)?;
                }
                None => {
                    frame.names.forget(&mut self.budget);
                    self.stack.pop();
                }
            }
        }
        Ok(())
    }

    fn entry(&mut self, name: &[u8], tell: Tell) -> Result<(), Failure> {
        let Some(frame) = self.stack.last() else { return Ok(()) };
        let failed = |error: Errno| pack::failed(&self.path)(error.into());
        let upper = status_at(frame.upper.as_fd(), name).map_err(failed)?;
        let lower = match &frame.lower {
            Some(lower) => status_at(lower.as_fd(), name).map_err(failed)?,
            None => None,
        };
        let covered = frame.covered;
        let gone = match (&upper, &lower) {
            (None, None) => return Ok(()),
            (Some(upper), lower) if is_whiteout(upper) && lower.is_none() => return Ok(()),
            (None, Some(_)) => true,
            (Some(upper), _) => is_whiteout(upper),
        };
        if let Some(upper) = upper.filter(|_| !gone) {
            if is_directory(&upper) {
                return self.directory(name, lower, tell);
            }
            if lower.is_none() && is_empty_file(&upper) && self.places.is_one(&self.path) {
                return Ok(());
            }
        }
        tell_directories(&mut self.stack, &self.path, tell)?;
        let (Some(frame), path) = (self.stack.last(), self.path.as_slice()) else { return Ok(()) };
        tell(match gone {
            true => Difference::Gone { path, covered },
            false => Difference::File { path, directory: frame.upper.as_fd(), name, new: lower.is_none() },
        })
    }

    fn directory(&mut self, name: &[u8], lower: Option<FileStat>, tell: Tell) -> Result<(), Failure> {
        let Some(frame) = self.stack.last() else { return Ok(()) };
        let failed = |error: Errno| pack::failed(&self.path)(error.into());
        let upper = match open_directory(frame.upper.as_fd(), name) {
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(()),
            other => other.map_err(failed)?,
        };
        let status = pack::status(&self.path, &upper)?;
        let inner = match (&frame.lower, &lower) {
            (Some(above), Some(status)) if is_directory(status) => {
                Some(open_directory(above.as_fd(), name).map_err(failed)?)
            }
            _ => None,
        };
        let opaque = inner.is_some() && is_opaque(&upper);
        let new = lower.is_none();
        let tell_now = match &lower {
            // Places to mount on may be all that there is of it.
            None => !(self.places.is_one(&self.path) || self.places.is_above_one(&self.path)),
            Some(lower) => opaque || differ(lower, &status, self.places.holds_one(&self.path)),
        };
        if self.stack.len() >= MAX_DEPTH {
            return Err(too_deep(&self.path));
        }
        let frame = Frame {
            covered: frame.covered || opaque,
            upper,
            lower: inner,
            status,
            names: Names::default(),
            length: self.path.len(),
            new,
            opaque,
            told: false,
        };
        self.stack.push(frame);
        if tell_now { tell_directories(&mut self.stack, &self.path, tell) } else { Ok(()) }
    }
}

/// Tells the directories that were not told yet: something in them is about to be.
fn tell_directories(stack: &mut [Frame], path: &[u8], tell: Tell) -> Result<(), Failure> {
    for frame in stack.iter_mut().filter(|frame| !frame.told) {
        frame.told = true;
        tell(Difference::Directory {
            path: &path[..frame.length],
            directory: frame.upper.as_fd(),
            status: &frame.status,
            new: frame.new,
            opaque: frame.opaque,
        })?;
    }
    Ok(())
}

fn is_whiteout(status: &FileStat) -> bool {
    kind_of(status) == SFlag::S_IFCHR && status.st_rdev == 0
}

fn is_empty_file(status: &FileStat) -> bool {
    kind_of(status) == SFlag::S_IFREG && status.st_size == 0
}

fn is_opaque(directory: &OwnedFd) -> bool {
    xattrs::get(directory.as_fd(), c"trusted.overlay.opaque", 1).is_some_and(|value| value == b"y")
}

/// The time of a directory in which the machine has made a place says nothing.
fn differ(lower: &FileStat, upper: &FileStat, made: bool) -> bool {
    let rights = |status: &FileStat| (status.st_mode, status.st_uid, status.st_gid);
    rights(lower) != rights(upper) || (!made && mtime_of(lower) != mtime_of(upper))
}

#[cfg(test)]
#[path = "upper_test.rs"]
mod tests;
