//! A container's root directory, for somebody who is not in the container.
//!
//! The agent holds on to the mount namespace from the container's creation to its deletion, so that what is mounted in
//! it stays when its last process has ended. A helper goes there for a moment and comes back with descriptors: paths
//! are resolved below them, by the kernel, with all that is mounted there.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::resolve;
use crate::protocol::message::Failure;
use crate::syscall::{self, process, tree};

/// Most that is read of the list of mounts, in bytes.
const MAX_MOUNTS_BYTES: u64 = 16 << 20;

/// The mount namespace.
pub struct View(OwnedFd);

/// What a helper brings back.
pub struct Place {
    pub root: OwnedFd,
    mounts: File,
}

impl View {
    /// That of a process that is held on to: its number is nobody else's. One that shares the machine's has none of its
    /// own, and its root is not that of its namespace.
    pub fn of(pid: i32) -> io::Result<Self> {
        let file = File::open(format!("/proc/{pid}/ns/mnt"))?;
        if file.metadata()?.ino() == fs::metadata("/proc/self/ns/mnt")?.ino() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(Self(file.into()))
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    pub fn duplicate(&self) -> io::Result<Self> {
        syscall::duplicate(&self.0).map(Self)
    }

    pub fn place(&self) -> Result<Place, Failure> {
        self.visit(|root, itself| {
            let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
            let mounts = nix::fcntl::openat(Some(itself.as_raw_fd()), "mountinfo", flags, Mode::empty());
            // SAFETY: the kernel has just made this descriptor, and nobody else owns it.
            let mounts = mounts.map(|fd| unsafe { std::os::fd::FromRawFd::from_raw_fd(fd) });
            Ok(Place { root, mounts: mounts.map_err(|e| Failure::failed(format!("its mounts: {e}")))? })
        })
    }

    /// What is at `path`, without what is mounted below it.
    pub fn bare(&self, path: &str, follow: bool) -> Result<OwnedFd, Failure> {
        self.visit(|root, _| {
            let place = resolve(root.as_fd(), path, follow)?;
            tree::copy_from(place.as_fd())
                .map_err(|e| Failure::failed(format!("{path}: what it is without what is mounted: {e}")))
        })
    }

    /// There and back. Nobody in the container can see this process meanwhile: it stays in its own pid namespace.
    fn visit<T>(&self, look: impl FnOnce(OwnedFd, BorrowedFd) -> Result<T, Failure>) -> Result<T, Failure> {
        let failed = |error: io::Error| Failure::failed(format!("the container's mounts: {error}"));
        let home = File::open("/proc/self/ns/mnt").map_err(failed)?;
        let itself = syscall::open_directory(Path::new("/proc/self")).map_err(failed)?;
        process::join_namespaces(self.fd(), libc::CLONE_NEWNS).map_err(failed)?;
        let seen = syscall::open_directory(Path::new("/"))
            .map_err(failed)
            .and_then(|root| look(root, itself.as_fd()));
        process::join_namespaces(home.as_fd(), libc::CLONE_NEWNS).map_err(failed)?;
        seen
    }
}

impl Place {
    /// The kernel's list of what is mounted where, as the container sees it.
    pub fn mounts(&mut self) -> Result<Vec<u8>, Failure> {
        let mut text = Vec::new();
        let failed = |error: io::Error| Failure::failed(format!("the container's mounts: {error}"));
        (&mut self.mounts).take(MAX_MOUNTS_BYTES).read_to_end(&mut text).map_err(failed)?;
        Ok(text)
    }
}
