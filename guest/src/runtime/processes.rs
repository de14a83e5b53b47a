//! `container.processes`: what runs in a container, from its cgroup and the kernel's own files about each.
//!
//! The cgroup and not the pid namespace, because a container may make further ones; and what has joined it by an exec is
//! in both.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::cgroup;
use super::user::{self, Databases};
use crate::files::View;
use crate::protocol::message::Failure;

const MAX_PROCESSES: usize = 4_096;
/// Cgroups that a container may have made in its own, as far as they are looked at.
const MAX_CGROUPS: usize = 4_096;
const MAX_ARGS_BYTES: u64 = 4_096;
const MAX_USER_BYTES: usize = 256;
const TICKS_A_SECOND: u64 = 100;
const PAGE_BYTES: u64 = 4_096;

pub fn processes(cgroup: &str, view: &View, to: File, answer: impl FnOnce()) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::failed(format!("the stream: {error}"));
    let databases = Databases::load(view.place()?.root.as_fd())?;
    let began = boot_seconds();
    answer();
    let numbers: BTreeMap<i32, i32> =
        members(cgroup).into_iter().filter_map(|pid| Some((pid, inner_number(&status(pid)?)?))).collect();
    let mut order: Vec<(i32, i32)> = numbers.iter().map(|(pid, inner)| (*inner, *pid)).collect();
    order.sort_unstable();
    let mut names = BTreeMap::new();
    let mut to = BufWriter::new(to);
    for (inner, pid) in order {
        let (Some(status), Ok(stat)) = (status(pid), fs::read(format!("/proc/{pid}/stat"))) else { continue };
        let (Some(mut record), Some(uid)) = (parse_stat(&stat, began), effective_uid(&status)) else {
            continue;
        };
        let parent = record["parent"].as_i64().and_then(|parent| numbers.get(&(parent as i32))).copied();
        record["pid"] = json!(inner);
        record["machinePid"] = json!(pid);
        record["parent"] = json!(parent.unwrap_or(0));
        record["uid"] = json!(uid);
        let name = names
            .entry(uid)
            .or_insert_with(|| user::name_of(uid, &databases).filter(|name| name.len() <= MAX_USER_BYTES));
        if let Some(name) = name {
            record["user"] = json!(name);
        }
        record["args"] = json!(args(pid));
        to.write_all(record.to_string().as_bytes()).and_then(|()| to.write_all(b"\0")).map_err(failed)?;
    }
    to.flush().map_err(failed)
}

/// Processes in the cgroup and below it.
fn members(cgroup: &str) -> BTreeSet<i32> {
    let mut found = BTreeSet::new();
    let mut ahead = VecDeque::from([cgroup::file(cgroup, "")]);
    let mut seen = 0;
    while let Some(directory) = ahead.pop_front()
        && seen < MAX_CGROUPS
        && found.len() < MAX_PROCESSES
    {
        seen += 1;
        let text = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
        let room = MAX_PROCESSES - found.len();
        // 0 is a process of another pid namespace than this one's, which has all.
        found.extend(
            text.lines().filter_map(|line| line.parse().ok()).filter(|pid: &i32| *pid > 0).take(room),
        );
        ahead.extend(below(&directory).take(MAX_CGROUPS));
    }
    found
}

fn below(directory: &PathBuf) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path())
}

fn status(pid: i32) -> Option<String> {
    fs::read(format!("/proc/{pid}/status")).ok().map(|text| String::from_utf8_lossy(&text).into_owned())
}

/// <https://man7.org/linux/man-pages/man5/proc_pid_status.5.html>: a number for each pid namespace from this one on.
fn inner_number(status: &str) -> Option<i32> {
    let numbers: Vec<i32> =
        field(status, "NSpid:")?.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    numbers.get(1).or(numbers.first()).copied().filter(|number| *number > 0)
}

/// Real, effective, saved, of the file system.
fn effective_uid(status: &str) -> Option<u32> {
    field(status, "Uid:")?.split_whitespace().nth(1)?.parse().ok()
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name))
}

/// When the machine began, by its clock as it is now.
fn boot_seconds() -> u64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    field(&text, "btime ").and_then(|seconds| seconds.trim().parse().ok()).unwrap_or(0)
}

/// <https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html>. The name is in parentheses and may have some itself.
fn parse_stat(stat: &[u8], began: u64) -> Option<Value> {
    let start = stat.iter().position(|&byte| byte == b'(')?;
    let end = stat.iter().rposition(|&byte| byte == b')')?;
    let name = String::from_utf8_lossy(stat.get(start + 1..end)?).into_owned();
    let rest = std::str::from_utf8(&stat[end + 1..]).ok()?;
    // The first of these is the third field.
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |field: usize| fields.get(field - 3).and_then(|text| text.parse::<u64>().ok());
    let state =
        fields.first().filter(|state| state.len() == 1 && state.bytes().all(|b| b.is_ascii_alphabetic()))?;
    let ticks = number(22)?;
    Some(json!({
        "name": name,
        "state": state,
        "parent": number(4)?,
        "started": {
            "seconds": began + ticks / TICKS_A_SECOND,
            "nanoseconds": ticks % TICKS_A_SECOND * (1_000_000_000 / TICKS_A_SECOND),
        },
        "cpuMicroseconds": (number(14)? + number(15)?) * (1_000_000 / TICKS_A_SECOND),
        "rssBytes": number(24)? * PAGE_BYTES,
    }))
}

fn args(pid: i32) -> Vec<String> {
    let mut text = Vec::new();
    if let Ok(file) = File::open(format!("/proc/{pid}/cmdline")) {
        let _ = file.take(MAX_ARGS_BYTES).read_to_end(&mut text);
    }
    split_args(&text)
}

fn split_args(text: &[u8]) -> Vec<String> {
    if text.is_empty() {
        return Vec::new();
    }
    let text = text.strip_suffix(b"\0").unwrap_or(text);
    text.split(|&byte| byte == 0).map(|arg| String::from_utf8_lossy(arg).into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &[u8] = b"61 (a) b (c)) S 1 61 61 0 -1 4194560 100 0 0 0 7 3 0 0 20 0 1 0 250 1000000 25 18446744073709551615 1 1";

    #[test]
    fn a_name_may_look_like_the_end_of_one() {
        let record = parse_stat(STAT, 1_000).unwrap();
        assert_eq!(
            record,
            json!({
                "name": "a) b (c)", "state": "S", "parent": 1, "cpuMicroseconds": 100_000, "rssBytes": 102_400,
                "started": {"seconds": 1_002, "nanoseconds": 500_000_000},
            })
        );
    }

    #[test]
    fn what_is_cut_off_is_nobody() {
        for length in 0..STAT.len() - 32 {
            let parsed = parse_stat(&STAT[..length], 0);
            assert!(parsed.is_none() || length > 80, "{length}: {parsed:?}");
        }
        for text in [&b")("[..], b"1 (x) ", b"1 (x) SS 1 1", b"\xff (\xff) S \xff"] {
            assert_eq!(parse_stat(text, 0), None);
        }
    }

    #[test]
    fn numbers_and_arguments() {
        assert_eq!(inner_number("Name:\tx\nNSpid:\t61\t7\t2\n"), Some(7));
        assert_eq!(inner_number("NSpid:\t61\n"), Some(61));
        assert_eq!(inner_number("NSpid:\t\n"), None);
        assert_eq!(effective_uid("Uid:\t1\t2\t3\t4\n"), Some(2));
        assert_eq!(effective_uid("Uid:\n"), None);
        assert_eq!(split_args(b"a\0\0b c\0"), ["a", "", "b c"]);
        assert_eq!(split_args(b"cut off\0her"), ["cut off", "her"]);
        assert_eq!(split_args(b"\xff\0"), ["\u{fffd}"]);
        assert!(split_args(b"").is_empty());
        assert_eq!(split_args(b"\0"), [""]);
    }
}
