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
//! was done once. What is left to do is done by the blank itself, inside its own namespaces and its own cgroup: it
//! puts the image below what it has, makes that its root, and becomes whom the order names.
//!
//! A blank takes only orders that differ from what it was prepared for in what it can still change
//! (`is_for`); for any other the container is made in the ordinary way, and says what is wrong, if anything is.

use std::fs::{self, File, Permissions};
use std::io::{self, IoSlice, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use libcontainer::oci_spec::runtime::{LinuxResources, Process};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, sendmsg};
use nix::unistd::{Gid, Uid, chdir, dup2, fchown, pivot_root, sethostname};
use serde_json::Value;

use super::executor::Exec;
use super::user::{self, Databases};
use super::{Report, Stdio, bound_warnings, helper, join, own, resources, send_report, spec, targets};
use crate::mounts;
use crate::protocol::message::{self, Code, Create, Failure, GeneratedFile, Override};
use crate::syscall::{self, tree};

/// Not an id that a container can have.
pub const ID: &str = ".blank";

/// Files that the host generates have their places made beforehand; so many.
pub const FILES: usize = 4;

/// Longest order, in bytes: it is one message.
const MAX_ORDER_BYTES: usize = 131_072;

/// Of config.json, what a blank can still be given. Everything else has to be what it was prepared for.
const LATE: &[&str] = &["/hostname", "/annotations", "/linux/cgroupsPath"];
/// Limits of the cgroup, which can be written again.
const LATE_OF_RESOURCES: &[&str] = &["memory", "cpu", "pids", "blockIO"];
const LATE_OF_PROCESS: &[&str] = &["args", "env", "cwd", "user", "noNewPrivileges"];
const KNOWN_OF_USER: &[&str] = &["uid", "gid", "umask", "additionalGids"];

/// Places in the root that a blank has until it gets the image's.
const BASE: &str = "/.base";
const SCRATCH: &str = "/.scratch";
const ROOT: &str = "/.root";
pub const PLACES: [&str; 3] = [BASE, SCRATCH, ROOT];

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

/// What the blank's process holds.
pub struct Inside {
    pub socket: OwnedFd,
    /// The writable disk, mounted nowhere yet.
    pub scratch: OwnedFd,
    /// Whether there is a filter to be loaded before the exec.
    pub filtered: bool,
    /// Where the kernel's file systems are mounted, those below another left out.
    pub kernel_mounts: Vec<String>,
}

struct Filled {
    args: Vec<String>,
    env: Vec<String>,
}

impl Inside {
    /// The life of a blank, as process 1 of its container. Returns only when it failed, after that was told.
    pub fn serve(&self, exec: &Exec) -> Failure {
        match self.wait_for_order() {
            Ok(mut filled) => {
                send_report(&self.socket, &Report::Filled, None);
                let Some(process) = self.wait_for_go() else { return Failure::failed("the agent has gone") };
                filled.change(process);
                exec.run(&filled.args, &filled.env)
            }
            Err(failure) => {
                send_report(&self.socket, &Report::Failed(failure.clone()), None);
                failure
            }
        }
    }

    fn wait_for_order(&self) -> Result<Filled, Failure> {
        tree::attach(self.scratch.as_fd(), Path::new(SCRATCH)).map_err(failed("the writable disk"))?;
        send_report(&self.socket, &Report::Ready, None);
        let (text, base) = self.receive()?;
        let order: Create = message::parse(&text)?;
        let mut config: Value = serde_json::from_str(order.config.get())
            .map_err(|e| Failure::new(Code::InvalidConfig, e.to_string()))?;
        assemble(&base)?;
        drop(base);
        let process = self.fit_root(&order, &mut config)?;
        if let Some(hostname) = config["hostname"].as_str() {
            sethostname(hostname).map_err(|e| failed("hostname")(e.into()))?;
        }
        connect(&order, process.user().uid())?;
        join::assume(&process)?;
        let args = process.args().clone().unwrap_or_default();
        Ok(Filled { args, env: process.env().clone().unwrap_or_default() })
    }

    fn receive(&self) -> Result<(Vec<u8>, OwnedFd), Failure> {
        let mut text = vec![0; MAX_ORDER_BYTES];
        let mut control = nix::cmsg_space!([RawFd; 1]);
        let (length, base) = {
            let mut parts = [io::IoSliceMut::new(&mut text)];
            let flags = MsgFlags::MSG_CMSG_CLOEXEC;
            let message = recvmsg::<UnixAddr>(self.socket.as_raw_fd(), &mut parts, Some(&mut control), flags)
                .map_err(|e| failed("the order")(e.into()))?;
            let mut base = None;
            for part in message.cmsgs().map_err(|e| failed("the order")(e.into()))? {
                if let ControlMessageOwned::ScmRights(fds) = part {
                    // SAFETY: the kernel has just installed these descriptors for this message.
                    base = fds.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).next();
                }
            }
            (message.bytes, base)
        };
        text.truncate(length);
        base.map(|base| (text, base)).ok_or_else(|| Failure::failed("no order came"))
    }

    /// Puts into the root what belongs there, makes it the root, and says what the process is to be.
    fn fit_root(&self, order: &Create, config: &mut Value) -> Result<Process, Failure> {
        let root = syscall::open_directory(Path::new(ROOT)).map_err(failed("the root file system"))?;
        let databases = Databases::load(root.as_fd())?;
        let account = order.user.as_ref().map(|user| user::resolve(user, &databases)).transpose()?;
        let home = helper::missing_home(config, account.as_ref(), &databases);
        spec::complete_process(config, account.as_ref(), home.as_deref());
        if self.filtered {
            own::keep_what_the_filter_needs(config);
        }
        helper::make_working_directory(root.as_fd(), config)?;
        for (index, file) in order.files.iter().enumerate() {
            place_file(root.as_fd(), index, file)?;
        }
        for place in &self.kernel_mounts {
            move_into(root.as_fd(), place)?;
        }
        drop(root);
        enter_root().map_err(|e| failed("pivot_root")(e.into()))?;
        serde_json::from_value(config["process"].take())
            .map_err(|e| Failure::new(Code::InvalidConfig, format!("process: {e}")))
    }

    fn wait_for_go(&self) -> Option<Override> {
        let mut text = vec![0; MAX_ORDER_BYTES];
        let length = File::from(syscall::duplicate(&self.socket).ok()?).read(&mut text).ok()?;
        serde_json::from_slice(&text[..length]).ok()
    }
}

impl Filled {
    fn change(&mut self, Override { args, env }: Override) {
        if !args.is_empty() {
            self.args = args;
        }
        for entry in env {
            let name = entry.split_inclusive('=').next().unwrap_or_default();
            match self.env.iter_mut().find(|before| before.starts_with(name)) {
                Some(before) => *before = entry,
                None => self.env.push(entry),
            }
        }
    }
}

fn failed(what: &str) -> impl Fn(io::Error) -> Failure {
    move |error| Failure::failed(format!("{what}: {error}"))
}

fn scratch(part: &str) -> PathBuf {
    Path::new(SCRATCH).join(ID).join(part)
}

/// The image below, the writable disk above.
fn assemble(base: &OwnedFd) -> Result<(), Failure> {
    tree::attach(base.as_fd(), Path::new(BASE)).map_err(failed("the image"))?;
    mounts::overlay(Path::new(BASE), &scratch("upper"), &scratch("work"), Path::new(ROOT))
}

fn place_file(root: BorrowedFd, index: usize, file: &GeneratedFile) -> Result<(), Failure> {
    let source = scratch("files").join(index.to_string());
    let at = |error: &dyn std::fmt::Display| {
        Failure::new(Code::InvalidConfig, format!("{} cannot be put into the image: {error}", file.path))
    };
    fs::write(&source, &file.data.0)
        .and_then(|()| match file.mode & 0o777 {
            // What it was made with.
            0o644 => Ok(()),
            mode => fs::set_permissions(&source, Permissions::from_mode(mode)),
        })
        .map_err(|e| Failure::failed(format!("file {:?}: {e}", file.path)))?;
    let place = targets::make_file(root, &file.path).map_err(|e| at(&e.desc()))?;
    mount(Some(&source), &below_root(&place), None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .map_err(|e| at(&e.desc()))
}

/// `place` has no links left in it.
fn below_root(place: &str) -> PathBuf {
    Path::new(ROOT).join(place.trim_start_matches('/'))
}

fn move_into(root: BorrowedFd, place: &str) -> Result<(), Failure> {
    let unfit = |error: Errno| {
        Failure::new(
            Code::InvalidConfig,
            format!("{place} of the image cannot be mounted on: {}", error.desc()),
        )
    };
    targets::expect_directory(root, place).map_err(unfit)?;
    let target = targets::make_directory(root, place).map_err(unfit)?;
    let target = below_root(&target.to_string_lossy());
    mount(Some(place), &target, None::<&str>, MsFlags::MS_MOVE, None::<&str>).map_err(unfit)
}

/// The root that a blank had goes, with whatever was mounted in it and was not moved.
fn enter_root() -> nix::Result<()> {
    chdir(ROOT)?;
    pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    chdir("/")
}

/// The streams are there; those that were not asked for become /dev/null, and the others their user's.
fn connect(order: &Create, uid: u32) -> Result<(), Failure> {
    let wanted = [order.stdio.stdin, order.stdio.stdout, order.stdio.stderr];
    for (stream, target) in wanted.into_iter().zip(0..) {
        if stream.is_none() {
            let null = nix::fcntl::open(
                "/dev/null",
                OFlag::O_RDWR | OFlag::O_CLOEXEC,
                nix::sys::stat::Mode::empty(),
            )
            .map_err(|e| failed("/dev/null")(e.into()))?;
            dup2(null, target).map_err(|e| failed("streams")(e.into()))?;
        } else if uid != 0 {
            let _ = fchown(target, Some(Uid::from_raw(uid)), None::<Gid>);
        }
    }
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
