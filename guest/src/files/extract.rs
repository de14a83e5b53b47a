//! `container.extract`: a tar archive into a directory of the container.
//!
//! Neither the archive nor the container is to be trusted, and the container may run. Three things keep every byte where
//! it belongs:
//! - The directory is resolved once, in the container's root, and held open.
//! - Whatever a member's name has above its last component is walked below that directory, by the kernel, through
//!   directories only: a link in the way is an error, whether the archive has made it or the container, just now.
//! - The last component is made, never opened: what is there is removed before, and a file that cannot be, because
//!   something is mounted on it, is opened with no link followed once it is known to be a plain file.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{
    FileStat, Mode, SFlag, UtimensatFlags, fchmod, futimens, makedev, mkdirat, mknodat, utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchown, fchownat, linkat, symlinkat};
use serde_json::{Value, json};

use super::make::{Refusal, clean, create, make_directories, open_mounted, own_path, remove, split};
use super::{
    View, check_path, explain, is_directory, is_portable_xattr, kind_of, look, open_directory, shown,
    status_at,
};
use crate::archive::reader::Reader;
use crate::archive::{Kind, Member, Time};
use crate::protocol::message::{Failure, Owner};
use crate::syscall::{self, xattrs};

/// Directories whose times are set at the end, because what is put into one changes it; of further ones, the first are
/// left with what they have then.
const MAX_DIRECTORIES: usize = 16_384;
const MAX_DIRECTORY_BYTES: usize = 4 << 20;
const COPY_BYTES: usize = 131_072;

pub struct Order<'a> {
    pub path: &'a str,
    pub owner: Option<Owner>,
    /// Whether the container may make devices.
    pub devices: bool,
}

pub fn extract(order: &Order, view: &View, mut from: File) -> Result<Value, Failure> {
    check_path(order.path)?;
    let place = view.place()?;
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
    let target = syscall::open_in_root(place.root.as_fd(), Path::new(order.path), flags)
        .map_err(|error| explain(order.path, error))?;
    let _ = nix::sys::stat::umask(Mode::empty());
    let mut extraction = Extraction::new(order, target);
    let outcome = extraction.run(Reader::new(&mut from));
    extraction.set_times();
    outcome?;
    // The host has still to be done with its stream: what fills the last record is no error.
    io::copy(&mut from, &mut io::sink()).map_err(|e| Failure::failed(format!("the archive's end: {e}")))?;
    Ok(json!({"entries": extraction.entries, "bytes": extraction.bytes}))
}

struct Extraction<'a> {
    order: &'a Order<'a>,
    target: OwnedFd,
    /// The directory of the member before, which most often is this one's, too.
    parent: Option<(Vec<u8>, OwnedFd)>,
    times: Vec<(Vec<u8>, Time)>,
    time_bytes: usize,
    entries: u64,
    bytes: u64,
    buffer: Vec<u8>,
}

impl<'a> Extraction<'a> {
    fn new(order: &'a Order<'a>, target: OwnedFd) -> Self {
        Self {
            order,
            target,
            parent: None,
            times: Vec::new(),
            time_bytes: 0,
            entries: 0,
            bytes: 0,
            buffer: vec![0; COPY_BYTES],
        }
    }

    fn run<R: Read>(&mut self, mut archive: Reader<R>) -> Result<(), Failure> {
        let mut last = b"the archive's beginning".to_vec();
        loop {
            let member = archive.next_member();
            let member = member.map_err(|e| Failure::failed(format!("behind {}: {e}", shown(&last))))?;
            let Some(member) = member else { return Ok(()) };
            self.member(&member, &mut archive).map_err(|refusal| refusal.of(&member.path))?;
            self.entries += 1;
            last = member.path;
        }
    }

    fn member(&mut self, member: &Member, content: &mut impl Read) -> Result<(), Refusal> {
        let path = clean(&member.path).map_err(Refusal::Text)?;
        if path.is_empty() {
            // The directory itself: it is the container's, and there already.
            return match member.kind {
                Kind::Directory => Ok(()),
                _ => Err(Refusal::Text("it has no name")),
            };
        }
        let (above, name) = split(&path);
        self.enter(above)?;
        let Some((_, parent)) = self.parent.take() else { return Err(Refusal::Text("it has no place")) };
        let made = self.make(member, &path, parent.as_fd(), name, content);
        self.parent = Some((above.to_vec(), parent));
        made
    }

    /// Opens the directory that the member is to be in, and makes what is missing of it.
    fn enter(&mut self, above: &[u8]) -> Result<(), Refusal> {
        if self.parent.as_ref().is_some_and(|(path, _)| path == above) {
            return Ok(());
        }
        self.parent = Some((above.to_vec(), make_directories(self.target.as_fd(), above)?));
        Ok(())
    }

    fn make(
        &mut self,
        member: &Member,
        path: &[u8],
        parent: BorrowedFd,
        name: &[u8],
        content: &mut impl Read,
    ) -> Result<(), Refusal> {
        let there = status_at(parent, name)?;
        if member.kind == Kind::Directory {
            return self.directory(member, path, parent, name, there);
        }
        if there.is_some_and(|status| is_directory(&status)) {
            return Err(Refusal::Text("a directory is there, which is not replaced by something else"));
        }
        let is_device = matches!(member.kind, Kind::Character | Kind::Block);
        if is_device && !self.order.devices {
            return Err(Refusal::Text("a device, and the container has not the capability to make any"));
        }
        let in_place = match there {
            Some(status) => !remove(parent, name, &status, member.kind)?,
            None => false,
        };
        match member.kind {
            Kind::File => self.file(member, parent, name, in_place, content),
            Kind::HardLink => self.hard_link(member, parent, name),
            Kind::Symlink => {
                symlinkat(member.link.as_slice(), Some(parent.as_raw_fd()), name)?;
                self.finish_unopened(member, parent, name, SFlag::S_IFLNK)
            }
            Kind::Fifo => self.node(member, parent, name, SFlag::S_IFIFO),
            Kind::Character => self.node(member, parent, name, SFlag::S_IFCHR),
            Kind::Block => self.node(member, parent, name, SFlag::S_IFBLK),
            Kind::Directory => Ok(()),
        }
    }

    fn directory(
        &mut self,
        member: &Member,
        path: &[u8],
        parent: BorrowedFd,
        name: &[u8],
        there: Option<FileStat>,
    ) -> Result<(), Refusal> {
        match there {
            None => mkdirat(Some(parent.as_raw_fd()), name, Mode::S_IRWXU)?,
            Some(status) if is_directory(&status) => {}
            Some(_) => return Err(Refusal::Text("something is there that is not replaced by a directory")),
        }
        let directory = open_directory(parent, name)?;
        self.own(member, &File::from(syscall::duplicate(&directory)?))?;
        if self.times.len() < MAX_DIRECTORIES && self.time_bytes + path.len() <= MAX_DIRECTORY_BYTES {
            self.time_bytes += path.len();
            self.times.push((path.to_vec(), member.mtime));
        } else {
            set_times(&directory, member.mtime)?;
        }
        Ok(())
    }

    fn file(
        &mut self,
        member: &Member,
        parent: BorrowedFd,
        name: &[u8],
        in_place: bool,
        content: &mut impl Read,
    ) -> Result<(), Refusal> {
        let mut file = match in_place {
            true => open_mounted(parent, name)?,
            false => create(parent, name)?,
        };
        loop {
            match content.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(length) => {
                    file.write_all(&self.buffer[..length])?;
                    self.bytes += length as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.own(member, &file)?;
        Ok(set_times(&OwnedFd::from(file), member.mtime)?)
    }

    /// Owner, rights and attributes, in this order: a change of owner takes capabilities away, and bits of the mode.
    fn own(&self, member: &Member, file: &File) -> Result<(), Refusal> {
        let (uid, gid) = self.owner_of(member);
        fchown(file.as_raw_fd(), Some(uid), Some(gid))?;
        fchmod(file.as_raw_fd(), Mode::from_bits_truncate(member.mode))?;
        for (name, value) in member.xattrs.iter().filter(|(name, _)| is_portable_xattr(name)) {
            match xattrs::set(file.as_fd(), name, value) {
                // The file system has none of this kind.
                Err(error) if error.raw_os_error() == Some(libc::ENOTSUP) => {}
                other => other?,
            }
        }
        Ok(())
    }

    fn owner_of(&self, member: &Member) -> (Uid, Gid) {
        let (uid, gid) = self.order.owner.map_or((member.uid, member.gid), |owner| (owner.uid, owner.gid));
        (Uid::from_raw(uid), Gid::from_raw(gid))
    }

    fn hard_link(&self, member: &Member, parent: BorrowedFd, name: &[u8]) -> Result<(), Refusal> {
        let first = clean(&member.link).map_err(|_| Refusal::Text("a hard link to what lies elsewhere"))?;
        let (above, first) = split(&first);
        let directory = open_directory(self.target.as_fd(), if above.is_empty() { b"." } else { above })?;
        let (from, to) = (Some(directory.as_raw_fd()), Some(parent.as_raw_fd()));
        linkat(from, first, to, name, AtFlags::empty()).map_err(|error| match error {
            Errno::ENOENT => Refusal::Text("a hard link to what is not there"),
            other => other.into(),
        })
    }

    fn node(&self, member: &Member, parent: BorrowedFd, name: &[u8], kind: SFlag) -> Result<(), Refusal> {
        let (major, minor) = member.device;
        let device = makedev(major.into(), minor.into());
        mknodat(Some(parent.as_raw_fd()), name, kind, Mode::S_IRUSR, device)?;
        self.finish_unopened(member, parent, name, kind)
    }

    /// What is not opened to be read or written: looked at once, and from then on meant, whatever its name is given to
    /// meanwhile.
    fn finish_unopened(
        &self,
        member: &Member,
        parent: BorrowedFd,
        name: &[u8],
        kind: SFlag,
    ) -> Result<(), Refusal> {
        let made = look(parent, name)?;
        let status = super::status_of(&made)?;
        if kind_of(&status) != kind || status.st_nlink != 1 {
            return Err(Refusal::Text("something else has taken its place"));
        }
        let (uid, gid) = self.owner_of(member);
        fchownat(Some(made.as_raw_fd()), "", Some(uid), Some(gid), AtFlags::AT_EMPTY_PATH)?;
        let path = own_path(&made);
        if kind != SFlag::S_IFLNK {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(member.mode))?;
        }
        let time = time_spec(member.mtime);
        // The last link that is followed is this process' own.
        Ok(utimensat(None, path.as_str(), &time, &time, UtimensatFlags::FollowSymlink)?)
    }

    /// The inner ones first. One that has gone meanwhile needs none.
    fn set_times(&mut self) {
        for (path, time) in self.times.iter().rev() {
            let _ =
                open_directory(self.target.as_fd(), path).and_then(|directory| set_times(&directory, *time));
        }
    }
}

fn time_spec(time: Time) -> TimeSpec {
    TimeSpec::new(time.seconds, time.nanoseconds.into())
}

fn set_times(file: &OwnedFd, time: Time) -> nix::Result<()> {
    let time = time_spec(time);
    futimens(file.as_raw_fd(), &time, &time)
}

#[cfg(test)]
#[path = "extract_test.rs"]
mod tests;
