//! A container that is made before anybody knows what for.
//!
//! ```text
//! container.prepare   helper ─► libcontainer, on an empty root ─► blank: process 1 of a container, waiting
//! container.create    agent  ── the order, the image's mount ──► blank: the root, the user ─► "filled"
//! container.start     agent  ── "go" ──────────────────────────► blank: exec
//! ```
//!
//! Most of what a container is made of does not depend on its image: namespaces, cgroup, the kernel's file systems,
//! devices, filters. In a machine that is saved when a blank waits in it, and restored for each container, all of that
//! was done once. What is left to do is done by the blank itself: see `filling`.
//!
//! A blank takes only orders that differ from what it was prepared for in what it can still change
//! (`is_for`); for any other the container is made in the ordinary way, and says what is wrong, if anything is.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use libcontainer::oci_spec::runtime::LinuxResources;
use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
use serde_json::Value;

use super::{Report, Stdio, bound_warnings, helper, resources, send_report};
use crate::mounts::Layout;
use crate::protocol::message::{self, Code, Failure, Override};

/// Not an id that a container can have.
pub const ID: &str = ".blank";

/// Files that the host generates have their places made beforehand; so many.
pub const FILES: usize = 4;

/// Longest order, in bytes: it is one message.
pub(super) const MAX_ORDER_BYTES: usize = 131_072;

/// Of config.json, what a blank can still be given. Everything else has to be what it was prepared for.
const LATE: &[&str] = &["/hostname", "/annotations", "/linux/cgroupsPath"];
/// Limits of the cgroup, which can be written again.
const LATE_OF_RESOURCES: &[&str] = &["memory", "cpu", "pids", "blockIO"];
const LATE_OF_PROCESS: &[&str] = &["args", "env", "cwd", "user", "noNewPrivileges"];
const KNOWN_OF_USER: &[&str] = &["uid", "gid", "umask", "additionalGids"];

/// Places in the root that a blank has until it gets the image's.
pub(super) const BASE: &str = "/.base";
pub(super) const SCRATCH: &str = "/.scratch";
pub(super) const ROOT: &str = "/.root";
pub const PLACES: [&str; 3] = [BASE, SCRATCH, ROOT];

/// Where the agent finds the writable layer of a container that was the blank.
pub fn upper(id: &str) -> PathBuf {
    Layout::of(ID).part_of(id, "upper")
}

/// Whether a blank that was prepared for one config.json can become the other.
pub fn is_for(prepared: &Value, wanted: &Value) -> bool {
    let is_text = |path: &str| wanted.pointer(path).is_some_and(Value::is_string);
    let annotations = wanted["annotations"].as_object();
    let are_texts = annotations.is_none_or(|list| list.values().all(Value::is_string));
    let named = is_text("/hostname") && is_text("/linux/cgroupsPath");
    if !named || !are_texts || !is_process(&wanted["process"]) {
        return false;
    }
    are_alike(prepared, wanted, "", &|path| match path.rsplit_once('/') {
        Some(("/process", name)) => LATE_OF_PROCESS.contains(&name),
        Some(("/linux/resources", name)) => LATE_OF_RESOURCES.contains(&name),
        _ => LATE.contains(&path),
    })
}

/// Has the form of a process whose late members can be carried out, and no others.
fn is_process(process: &Value) -> bool {
    let texts = |name: &str| process[name].as_array().is_some_and(|list| list.iter().all(Value::is_string));
    let args = texts("args") && process["args"].as_array().is_some_and(|args| !args.is_empty());
    let env = process["env"].is_null() || texts("env");
    let cwd = process["cwd"].as_str().is_some_and(|cwd| cwd.starts_with('/'));
    let user = process["user"]
        .as_object()
        .is_some_and(|user| user.keys().all(|key| KNOWN_OF_USER.contains(&key.as_str())));
    let promise = process["noNewPrivileges"].is_null() || process["noNewPrivileges"].is_boolean();
    args && env && cwd && user && promise
}

/// Equal, but for members at paths that `differ`. Objects are compared one level deep before paths are made.
fn are_alike(one: &Value, other: &Value, path: &str, differ: &dyn Fn(&str) -> bool) -> bool {
    // Only these have members that may differ: nothing below any other is worth a look at its path.
    if !matches!(path, "" | "/process" | "/linux" | "/linux/resources") {
        return one == other;
    }
    let (Value::Object(one), Value::Object(other)) = (one, other) else { return one == other };
    let missing = |key: &String| {
        let path = format!("{path}/{key}");
        differ(&path)
    };
    one.iter().all(|(key, value)| {
        let path = format!("{path}/{key}");
        differ(&path) || other.get(key).is_some_and(|given| are_alike(value, given, &path, differ))
    }) && other.keys().all(|key| one.contains_key(key) || missing(key))
}

/// Gives a blank's cgroup the limits of another config.json, where they differ, and returns what cannot be had.
pub fn limit(cgroup: &str, prepared: &Value, wanted: &Value) -> Result<Vec<String>, Failure> {
    const RESOURCES: &str = "/linux/resources";
    let mut warnings = Vec::new();
    let given = wanted.pointer(RESOURCES).filter(|given| Some(*given) != prepared.pointer(RESOURCES));
    let Some(given) = given else { return Ok(warnings) };
    let given: LinuxResources = serde_json::from_value(given.clone())
        .map_err(|e| Failure::new(Code::InvalidConfig, format!("linux.resources: {e}")))?;
    resources::check(&given)?;
    resources::limit(&resources::locate(cgroup)?, &given, &mut warnings)?;
    Ok(bound_warnings(warnings))
}

/// The agent's part of an order: false when it is too long to be given to a blank.
pub fn give(socket: BorrowedFd, order: &[u8], base: BorrowedFd) -> io::Result<bool> {
    if order.len() > MAX_ORDER_BYTES {
        return Ok(false);
    }
    let fds = [base.as_raw_fd()];
    sendmsg::<UnixAddr>(
        socket.as_raw_fd(),
        &[IoSlice::new(order)],
        &[ControlMessage::ScmRights(&fds)],
        MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT,
        None,
    )?;
    Ok(true)
}

/// Lets a filled blank execute.
pub fn go(socket: BorrowedFd, process: &Override) -> io::Result<()> {
    let text = serde_json::to_vec(process)?;
    if text.len() > MAX_ORDER_BYTES {
        return Err(io::Error::from(io::ErrorKind::ArgumentListTooLong));
    }
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    sendmsg::<UnixAddr>(socket.as_raw_fd(), &[IoSlice::new(&text)], &[], flags, None)?;
    Ok(())
}

/// The container's ends of a blank's streams are there before it is known which of them are wanted.
pub fn all_streams() -> message::StreamIds {
    message::StreamIds { stdin: Some(0), stdout: Some(0), stderr: Some(0) }
}

/// Where the kernel's file systems of a config.json are mounted, those below another left out.
pub fn kernel_mounts(config: &Value) -> Vec<String> {
    let places: Vec<&str> = config["mounts"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|mount| mount["destination"].as_str())
        .collect();
    let is_below = |place: &str| {
        places.iter().any(|other| place.strip_prefix(other).is_some_and(|rest| rest.starts_with('/')))
    };
    places.iter().filter(|place| !is_below(place)).map(|&place| place.to_owned()).collect()
}

/// Makes a blank. Everything that is not the image's is done here and once.
pub(super) fn prepare(order: &message::Prepare, stdio: Stdio, socket: OwnedFd, report: &OwnedFd) {
    match helper::make_blank(order, stdio, socket) {
        Ok(made) => send_report(report, &made, None),
        Err(failure) => send_report(report, &Report::Failed(failure), None),
    }
}

#[cfg(test)]
#[path = "blank_test.rs"]
mod tests;
