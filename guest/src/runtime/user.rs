//! Users and groups, looked up in the container's own /etc/passwd and /etc/group.
//!
//! Both files come from an image and are hostile: they are read through `open_in_root`, up to a bound, as
//! bytes, and a line that is not one of passwd(5) or group(5) is passed over as every C library does.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;

use crate::protocol::message::{Code, Failure, User};
use crate::syscall;

/// Largest passwd or group file, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// -1 means "leave it" to setuid(2) and its kin.
const NO_ID: u32 = u32::MAX;

#[derive(Debug, PartialEq, Eq)]
pub struct Account {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    /// From passwd; not necessarily UTF-8 there, but an environment in JSON is.
    pub home: Option<String>,
}

/// The two files' bytes; an absent file is empty.
pub struct Databases {
    pub passwd: Vec<u8>,
    pub group: Vec<u8>,
}

impl Databases {
    pub fn load(root: BorrowedFd) -> Result<Self, Failure> {
        Ok(Self { passwd: load(root, "/etc/passwd")?, group: load(root, "/etc/group")? })
    }
}

fn load(root: BorrowedFd, path: &str) -> Result<Vec<u8>, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::failed(format!("{path} of the image: {error}"));
    // Looked at before it is opened: opening a FIFO may block, and opening a device may do anything.
    let place = match syscall::open_in_root(root, Path::new(path), OFlag::O_PATH) {
        Ok(fd) => File::from(fd),
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(Vec::new()),
        Err(error) => return Err(failed(&error)),
    };
    if !place.metadata().map_err(|e| failed(&e))?.is_file() {
        return Ok(Vec::new());
    }
    let file = File::open(format!("/proc/self/fd/{}", place.as_raw_fd())).map_err(|e| failed(&e))?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|e| failed(&e))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(failed(&"larger than 1 MiB"));
    }
    Ok(bytes)
}

struct PasswdEntry<'a> {
    name: &'a [u8],
    uid: u32,
    gid: u32,
    home: &'a [u8],
}

struct GroupEntry<'a> {
    name: &'a [u8],
    gid: u32,
    members: &'a [u8],
}

fn fields(line: &[u8]) -> Vec<&[u8]> {
    line.split(|&byte| byte == b':').take(8).collect()
}

fn number(text: &[u8]) -> Option<u32> {
    if text.is_empty() || text.len() > 10 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok().filter(|&id| id != NO_ID)
}

fn passwd_entries(bytes: &[u8]) -> impl Iterator<Item = PasswdEntry<'_>> {
    bytes.split(|&byte| byte == b'\n').filter_map(|line| match fields(line)[..] {
        [name, _, uid, gid, _, home, ..] if !name.is_empty() => {
            Some(PasswdEntry { name, uid: number(uid)?, gid: number(gid)?, home })
        }
        _ => None,
    })
}

fn group_entries(bytes: &[u8]) -> impl Iterator<Item = GroupEntry<'_>> {
    bytes.split(|&byte| byte == b'\n').filter_map(|line| match fields(line)[..] {
        [name, _, gid, members, ..] if !name.is_empty() => {
            Some(GroupEntry { name, gid: number(gid)?, members })
        }
        _ => None,
    })
}

/// `name`, `uid`, `name:group`, `uid:gid` or mixed, and further groups, as PROTOCOL.md says.
pub fn resolve(wanted: &User, databases: &Databases) -> Result<Account, Failure> {
    let (user, group) = match wanted.user.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (wanted.user.as_str(), None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let id = number(user.as_bytes());
    let entry = passwd_entries(&databases.passwd).find(|entry| match id {
        Some(uid) => entry.uid == uid,
        None => entry.name == user.as_bytes(),
    });
    let uid = match (&entry, id) {
        (Some(entry), _) => entry.uid,
        (None, Some(uid)) => uid,
        (None, None) => return Err(missing(format!("user {user:?} is not in the image's /etc/passwd"))),
    };
    let mut groups = Vec::new();
    let gid = match (group, &entry) {
        (Some(group), _) => group_id(group, databases)?,
        (None, Some(entry)) => {
            let is_member = |group: &GroupEntry| {
                group.members.split(|&byte| byte == b',').any(|member| member == entry.name)
            };
            groups.extend(group_entries(&databases.group).filter(is_member).map(|group| group.gid));
            entry.gid
        }
        (None, None) => 0,
    };
    for group in &wanted.groups {
        groups.push(group_id(group, databases)?);
    }
    // A set-group-id program replaces the primary group; one that is among the supplementary groups as well
    // cannot be shed that way, and with it a file mode that denies the group.
    groups.push(gid);
    groups.sort_unstable();
    groups.dedup();
    Ok(Account { uid, gid, groups, home: entry.and_then(|entry| home_directory(&entry)) })
}

/// The home directory of a user who is known by number.
pub fn home_of(uid: u32, databases: &Databases) -> Option<String> {
    let entry = passwd_entries(&databases.passwd).find(|entry| entry.uid == uid)?;
    home_directory(&entry)
}

/// The name of a user who is known by number.
pub fn name_of(uid: u32, databases: &Databases) -> Option<String> {
    let entry = passwd_entries(&databases.passwd).find(|entry| entry.uid == uid)?;
    String::from_utf8(entry.name.to_vec()).ok()
}

/// One that an environment can hold: text, without the NUL that would end it early.
fn home_directory(entry: &PasswdEntry) -> Option<String> {
    let home = String::from_utf8(entry.home.to_vec()).ok()?;
    (home.starts_with('/') && !home.contains('\0')).then_some(home)
}

fn group_id(group: &str, databases: &Databases) -> Result<u32, Failure> {
    number(group.as_bytes())
        .or_else(|| {
            let mut entries = group_entries(&databases.group);
            entries.find(|entry| entry.name == group.as_bytes()).map(|entry| entry.gid)
        })
        .ok_or_else(|| missing(format!("group {group:?} is not in the image's /etc/group")))
}

fn missing(message: String) -> Failure {
    Failure::new(Code::UserNotFound, message)
}

#[cfg(test)]
#[path = "user_test.rs"]
mod tests;
