//! `container.stat`: what is at a path.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Component, Path};

use nix::fcntl::readlinkat;
use nix::sys::stat::{FileStat, SFlag};
use serde_json::{Value, json};

use super::{View, kind_of, mtime_of, resolve, shown, status_of};
use crate::protocol::message::{Failure, FileQuery};

pub fn stat(query: &FileQuery, view: &View) -> Result<Value, Failure> {
    let place = view.place()?;
    let file = resolve(place.root.as_fd(), &query.path, query.follow)?;
    describe(&query.path, &file)
}

/// As the protocol has it.
pub fn describe(path: &str, file: &OwnedFd) -> Result<Value, Failure> {
    let failed = |error: nix::Error| Failure::failed(format!("{path}: {}", error.desc()));
    let status = status_of(file).map_err(failed)?;
    let mut answer = answer_of(&name_of(path), &status);
    if kind_of(&status) == SFlag::S_IFLNK {
        answer["linkTarget"] = json!(target_of(file).map_err(failed)?);
    }
    Ok(answer)
}

pub fn target_of(link: &OwnedFd) -> nix::Result<String> {
    Ok(readlinkat(Some(link.as_raw_fd()), "")?.to_string_lossy().into_owned())
}

/// All but where a link leads.
pub fn answer_of(name: &str, status: &FileStat) -> Value {
    let mtime = mtime_of(status);
    json!({
        "name": name,
        "kind": match kind_of(status) {
            SFlag::S_IFDIR => "directory",
            SFlag::S_IFLNK => "symlink",
            SFlag::S_IFIFO => "fifo",
            SFlag::S_IFSOCK => "socket",
            SFlag::S_IFCHR => "character-device",
            SFlag::S_IFBLK => "block-device",
            _ => "file",
        },
        "mode": status.st_mode & 0o7777,
        // A file system of the container's own may say anything; a double has no more than this of it.
        "sizeBytes": status.st_size.clamp(0, (1 << 53) - 1),
        "mtime": {"seconds": mtime.seconds.clamp(-(1 << 53) + 1, (1 << 53) - 1), "nanoseconds": mtime.nanoseconds.min(999_999_999)},
        "uid": status.st_uid,
        "gid": status.st_gid,
    })
}

/// The last component; "." for the root, and for what only goes up.
pub fn name_of(path: &str) -> String {
    match Path::new(path).components().next_back() {
        Some(Component::Normal(name)) => shown(name.as_encoded_bytes()),
        _ => ".".to_owned(),
    }
}
