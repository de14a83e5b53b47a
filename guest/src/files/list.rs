//! `container.list`: what is in a directory, and nothing of what is below that.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use serde_json::{Value, json};

use super::names::{Budget, Names};
use super::stat::{answer_of, describe, target_of};
use super::{View, is_directory, kind_of, look, open_directory, resolve, shown, status_of};
use crate::protocol::message::{Code, Failure, ListQuery};

/// `answer` is told what the directory is before the list begins.
pub fn list(query: &ListQuery, view: &View, to: File, answer: impl FnOnce(Value)) -> Result<(), Failure> {
    let path = query.path.as_str();
    let failed = |error: Errno| Failure::failed(format!("{path}: {}", error.desc()));
    let file = resolve(view.place()?.root.as_fd(), path, query.follow)?;
    if !is_directory(&status_of(&file).map_err(failed)?) {
        let message = format!("{path}: not a directory in the container");
        return Err(Failure::new(Code::NotADirectory, message));
    }
    let directory = open_directory(file.as_fd(), b".").map_err(failed)?;
    answer(describe(path, &file)?);
    entries(path, directory.as_fd(), BufWriter::new(to))
}

fn entries(path: &str, directory: BorrowedFd, mut to: impl Write) -> Result<(), Failure> {
    let closed = |error: io::Error| Failure::failed(format!("the stream: {error}"));
    let mut budget = Budget::default();
    let mut names = Names::default();
    loop {
        let next = names.next(&[directory], &mut budget);
        let Some(name) = next.map_err(|error| Failure::failed(format!("{path}: {}", error.desc())))? else {
            break;
        };
        let record = entry(directory, &name)
            .map_err(|error| Failure::failed(format!("{path}: {}: {}", shown(&name), error.desc())))?;
        if let Some(record) = record {
            to.write_all(record.to_string().as_bytes()).and_then(|()| to.write_all(b"\0")).map_err(closed)?;
        }
    }
    to.flush().map_err(closed)
}

/// None when there is nothing any more.
fn entry(directory: BorrowedFd, name: &[u8]) -> nix::Result<Option<Value>> {
    let file: OwnedFd = match look(directory, name) {
        Ok(file) => file,
        Err(Errno::ENOENT) => return Ok(None),
        Err(error) => return Err(error),
    };
    let status = status_of(&file)?;
    let mut record = answer_of(&shown(name), &status);
    // Those of /proc may lead nowhere, or not for us; that is no reason to tell nothing of the others.
    if kind_of(&status) == nix::sys::stat::SFlag::S_IFLNK
        && let Ok(target) = target_of(&file)
    {
        record["linkTarget"] = json!(target);
    }
    Ok(Some(record))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn names_come_in_order_with_what_they_are_and_nothing_of_what_is_below() {
        let place = std::env::temp_dir().join(format!("flamebox-list-{}", std::process::id()));
        fs::create_dir_all(place.join("dir/below")).unwrap();
        fs::write(place.join("file"), b"four").unwrap();
        symlink("/nowhere", place.join("link")).unwrap();
        let bytes = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"x\xff");
        fs::write(place.join(bytes), b"").unwrap();
        let opened = File::open(&place).unwrap();
        let mut told = Vec::new();
        entries("/place", opened.as_fd(), &mut told).unwrap();
        fs::remove_dir_all(&place).unwrap();
        let told = String::from_utf8(told).unwrap();
        assert!(told.ends_with('\0'));
        let records: Vec<Value> =
            told.split_terminator('\0').map(|record| serde_json::from_str(record).unwrap()).collect();
        let brief = |record: &Value| {
            format!("{} {} {}", record["name"].as_str().unwrap(), record["kind"], record["linkTarget"])
        };
        assert_eq!(
            records.iter().map(brief).collect::<Vec<_>>(),
            [
                "dir \"directory\" null",
                "file \"file\" null",
                "link \"symlink\" \"/nowhere\"",
                "x\u{fffd} \"file\" null"
            ]
        );
        assert_eq!(records[1]["sizeBytes"], 4);
    }

    #[test]
    fn what_vanished_is_left_out() {
        let opened = File::open(std::env::temp_dir()).unwrap();
        assert_eq!(entry(opened.as_fd(), b"flamebox-no-such-name"), Ok(None));
    }
}
