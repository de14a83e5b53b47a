//! `container.archive`: a file, or a tree, as a tar archive.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::stat::FileStat;
use nix::sys::statfs::fstatfs;

use super::names::{Budget, Names};
use super::pack::{self, Packer};
use super::stat::{describe, name_of};
use super::{MAX_DEPTH, View, is_directory, open_directory, resolve, status_at, status_of};
use crate::protocol::message::{ArchiveQuery, Failure};

/// linux/magic.h: proc, sysfs, both cgroups, securityfs, debugfs, tracefs, bpf, devpts.
const KERNEL_SYSTEMS: [i64; 9] = [
    0x9fa0,
    0x6265_6572,
    0x0027_e0eb,
    0x6367_7270,
    0x7363_6673,
    0x6462_6720,
    0x7472_6163,
    0xcafe_4a11,
    0x1cd1,
];

struct Frame {
    directory: OwnedFd,
    names: Names,
    /// How much of the path is this directory's.
    length: usize,
}

/// `answer` is told what is there before the archive begins.
pub fn archive(
    query: &ArchiveQuery,
    view: &View,
    to: File,
    answer: impl FnOnce(serde_json::Value),
) -> Result<(), Failure> {
    let path = query.path.as_str();
    let file = match query.one_file_system {
        true => view.bare(path, query.follow)?,
        false => resolve(view.place()?.root.as_fd(), path, query.follow)?,
    };
    let failed = |error: Errno| Failure::failed(format!("{path}: {}", error.desc()));
    let directory = match is_directory(&status_of(&file).map_err(failed)?) {
        true => Some(open_directory(file.as_fd(), b".").map_err(failed)?),
        false => None,
    };
    answer(describe(path, &file)?);
    let name = name_of(path).into_bytes();
    let mut packer = Packer::new(to);
    match directory {
        Some(directory) => tree(&mut packer, name, directory)?,
        None => packer.file(&name, file.as_fd())?,
    }
    packer.finish()
}

fn tree(packer: &mut Packer, name: Vec<u8>, directory: OwnedFd) -> Result<(), Failure> {
    let status = pack::status(&name, &directory)?;
    packer.directory(&name, directory.as_fd(), &status)?;
    // What is below the root is called as it is from there.
    let mut path = if name == b"." { Vec::new() } else { [&name[..], b"/"].concat() };
    let mut budget = Budget::default();
    let mut stack = vec![Frame { directory, names: Names::default(), length: path.len() }];
    while let Some(frame) = stack.last_mut() {
        path.truncate(frame.length);
        let next = frame.names.next(&[frame.directory.as_fd()], &mut budget);
        let Some(name) = next.map_err(|e| pack::failed(&path)(e.into()))? else {
            frame.names.forget(&mut budget);
            stack.pop();
            continue;
        };
        path.extend_from_slice(&name);
        if let Some(inner) =
            enter(frame.directory.as_fd(), &name).map_err(|e| pack::failed(&path)(e.into()))?
        {
            let status = pack::status(&path, &inner)?;
            packer.directory(&path, inner.as_fd(), &status)?;
            if is_of_the_kernel(frame.directory.as_fd(), &inner, &status) {
                continue;
            }
            if stack.len() >= MAX_DEPTH {
                return Err(too_deep(&path));
            }
            path.push(b'/');
            stack.push(Frame { directory: inner, names: Names::default(), length: path.len() });
        } else {
            packer.entry(&path, frame.directory.as_fd(), &name)?;
        }
    }
    Ok(())
}

/// Whether another file system begins here whose files are no content of anybody's: reading them may do anything.
fn is_of_the_kernel(above: BorrowedFd, directory: &OwnedFd, status: &FileStat) -> bool {
    let same = nix::sys::stat::fstat(above.as_raw_fd()).is_ok_and(|above| above.st_dev == status.st_dev);
    !same && fstatfs(directory).is_ok_and(|system| KERNEL_SYSTEMS.contains(&system.filesystem_type().0))
}

/// None when it is no directory, or nothing any more.
fn enter(directory: BorrowedFd, name: &[u8]) -> nix::Result<Option<OwnedFd>> {
    if !status_at(directory, name)?.is_some_and(|status| is_directory(&status)) {
        return Ok(None);
    }
    match open_directory(directory, name) {
        Ok(inner) => Ok(Some(inner)),
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => Ok(None),
        Err(error) => Err(error),
    }
}

pub fn too_deep(path: &[u8]) -> Failure {
    let start = super::shown(&path[..path.len().min(200)]);
    Failure::failed(format!("{start}…: directories within each other, more than {MAX_DEPTH}"))
}
