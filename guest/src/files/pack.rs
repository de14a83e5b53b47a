//! Files into an archive, one at a time.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::fcntl::readlinkat;
use nix::sys::stat::{FileStat, SFlag, major, minor};

use super::{is_portable_xattr, kind_of, look, mtime_of, open_to_read, shown, status_of};
use crate::archive::writer::Writer;
use crate::archive::{Kind, Member};
use crate::protocol::message::Failure;
use crate::syscall::xattrs;

/// What is remembered of files with several names; further ones become files of their own.
const MAX_LINKED_FILES: usize = 65_536;
const MAX_LINKED_BYTES: usize = 8 << 20;

const BUFFER_BYTES: usize = 65_536;

pub struct Packer {
    writer: Writer<BufWriter<File>>,
    /// Files with several names: what the first one in the archive is.
    links: HashMap<(u64, u64), Vec<u8>>,
    link_bytes: usize,
}

/// Of a file, for messages.
pub fn failed(path: &[u8]) -> impl Fn(io::Error) -> Failure {
    let path = shown(path);
    move |error| Failure::failed(format!("{path}: {error}"))
}

impl Packer {
    pub fn new(to: File) -> Self {
        let writer = Writer::new(BufWriter::with_capacity(BUFFER_BYTES, to));
        Self { writer, links: HashMap::new(), link_bytes: 0 }
    }

    pub fn directory(
        &mut self,
        path: &[u8],
        directory: BorrowedFd,
        status: &FileStat,
    ) -> Result<(), Failure> {
        let mut member = member_of(path, status, Kind::Directory);
        if !member.path.ends_with(b"/") {
            member.path.push(b'/');
        }
        member.xattrs = portable_xattrs(directory).map_err(failed(path))?;
        self.writer.add(&member).map_err(failed(path))
    }

    /// A member that is nothing but its name.
    pub fn mark(&mut self, path: Vec<u8>) -> Result<(), Failure> {
        let member = Member {
            kind: Kind::File,
            mode: 0,
            uid: 0,
            gid: 0,
            mtime: Default::default(),
            size: 0,
            link: Vec::new(),
            device: (0, 0),
            xattrs: Vec::new(),
            path,
        };
        self.writer.add(&member).map_err(failed(&member.path))
    }

    /// Anything but a directory, as it is now. What has gone meanwhile, and sockets, are left out.
    pub fn entry(&mut self, path: &[u8], directory: BorrowedFd, name: &[u8]) -> Result<(), Failure> {
        match look(directory, name) {
            Ok(file) => self.file(path, file.as_fd()),
            Err(Errno::ENOENT) => Ok(()),
            Err(error) => Err(failed(path)(error.into())),
        }
    }

    /// The same of what was looked at.
    pub fn file(&mut self, path: &[u8], file: BorrowedFd) -> Result<(), Failure> {
        let failed = failed(path);
        let status = nix::sys::stat::fstat(file.as_raw_fd()).map_err(|e| failed(e.into()))?;
        let kind = match kind_of(&status) {
            SFlag::S_IFREG => Kind::File,
            SFlag::S_IFLNK => Kind::Symlink,
            SFlag::S_IFCHR => Kind::Character,
            SFlag::S_IFBLK => Kind::Block,
            SFlag::S_IFIFO => Kind::Fifo,
            _ => return Ok(()),
        };
        let mut member = member_of(path, &status, kind);
        if status.st_nlink > 1 {
            if let Some(first) = self.links.get(&(status.st_dev, status.st_ino)) {
                member.kind = Kind::HardLink;
                member.link.clone_from(first);
                member.size = 0;
                return self.writer.add(&member).map_err(failed);
            }
            if self.links.len() < MAX_LINKED_FILES && self.link_bytes + path.len() <= MAX_LINKED_BYTES {
                self.link_bytes += path.len();
                self.links.insert((status.st_dev, status.st_ino), path.to_vec());
            }
        }
        match kind {
            Kind::File => {
                let content = open_to_read(file).map_err(&failed)?;
                member.xattrs = portable_xattrs(content.as_fd()).map_err(&failed)?;
                self.writer.add_file(&member, content).map_err(failed)
            }
            Kind::Symlink => {
                let target = readlinkat(Some(file.as_raw_fd()), "").map_err(|e| failed(e.into()))?;
                member.link = target.into_encoded_bytes();
                self.writer.add(&member).map_err(failed)
            }
            _ => self.writer.add(&member).map_err(failed),
        }
    }

    pub fn finish(self) -> Result<(), Failure> {
        self.writer.finish().map_err(|e| Failure::failed(format!("the end of the archive: {e}")))
    }
}

fn member_of(path: &[u8], status: &FileStat, kind: Kind) -> Member {
    let is_device = matches!(kind, Kind::Character | Kind::Block);
    Member {
        path: path.to_vec(),
        kind,
        mode: status.st_mode & 0o7777,
        uid: status.st_uid,
        gid: status.st_gid,
        mtime: mtime_of(status),
        size: if kind == Kind::File { u64::try_from(status.st_size).unwrap_or(0) } else { 0 },
        link: Vec::new(),
        device: if is_device { (major(status.st_rdev) as u32, minor(status.st_rdev) as u32) } else { (0, 0) },
        xattrs: Vec::new(),
    }
}

fn portable_xattrs(file: BorrowedFd) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut found = Vec::new();
    let taken = xattrs::for_each(file, is_portable_xattr, |name, value| {
        found.push((name.to_bytes().to_vec(), value.to_vec()));
        Ok(())
    });
    match taken {
        // Their order is the file system's, and an archive's is to depend on nothing.
        Ok(()) => found.sort(),
        Err(error) if error.raw_os_error() == Some(libc::ENOTSUP) => {}
        Err(error) => return Err(error),
    }
    Ok(found)
}

/// The status of a directory that is open.
pub fn status(path: &[u8], directory: &std::os::fd::OwnedFd) -> Result<FileStat, Failure> {
    status_of(directory).map_err(|e| failed(path)(e.into()))
}
