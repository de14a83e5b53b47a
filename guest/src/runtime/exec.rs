//! The helper's part of `container.exec`.
//!
//! ```text
//! helper: what the process is to be ─► joins the container's namespaces ─► terminal ─► fork ─► report ─► "go"
//!                                                                           └─► join.rs, in the container
//! ```
//!
//! libcontainer has a builder for this, which leaves out the seccomp filter and user namespaces, and refuses
//! containers that it has not started itself.
//!
//! The container runs, and whatever of it is looked at may change at any time or be a trap. So all of the machine's
//! own that is needed is opened before its namespaces are joined, and of the container's only its root directory,
//! its user databases (as files, up to a bound) and its devpts are used. Should one of them hold the helper up for
//! ever, then the helper alone: the host can have it killed.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use libcontainer::oci_spec::runtime::Process;
use libcontainer::syscall::syscall::SyscallType;
use nix::fcntl::OFlag;
use nix::sys::stat::fstat;
use nix::sys::statfs::{FsType, fstatfs};
use nix::unistd::{Gid, Uid, fchown};
use serde_json::{Value, json};

use super::join::{self, Entry};
use super::user::{self, Databases};
use super::{Report, Stdio, cgroup, executor, helper, own, review, seccomp, send_report, spec};
use crate::mounts::Layout;
use crate::protocol::message::{self, Code, Failure};
use crate::syscall::{self, process};

/// The container's first process, and its cgroup.
pub struct Target {
    pub pid: i32,
    pub init: OwnedFd,
    pub cgroup: String,
}

const NAMESPACES: &[(&str, libc::c_int)] = &[
    ("user", libc::CLONE_NEWUSER),
    ("mnt", libc::CLONE_NEWNS),
    ("pid", libc::CLONE_NEWPID),
    ("ipc", libc::CLONE_NEWIPC),
    ("uts", libc::CLONE_NEWUTS),
    ("net", libc::CLONE_NEWNET),
    ("cgroup", libc::CLONE_NEWCGROUP),
    ("time", libc::CLONE_NEWTIME),
];

/// What of a process is settled when its container is created, and refused here rather than passed over.
const NOT_CARRIED_OUT: &[&str] =
    &["apparmorProfile", "commandLine", "execCPUAffinity", "ioPriority", "scheduler", "selinuxLabel"];

const CAPABILITY_SETS: &[&str] = &["bounding", "effective", "permitted", "inheritable", "ambient"];

// statfs(2), linux/major.h
const DEVPTS_MAGIC: i64 = 0x1cd1;
const PTMX_DEVICE: u64 = nix::sys::stat::makedev(5, 2);

pub fn exec(order: &message::Exec, stdio: Stdio, target: &Target, report: &OwnedFd) {
    if let Err(failure) = try_exec(order, stdio, target, report) {
        send_report(report, &Report::Failed(failure), None);
    }
}

fn failed(what: &str) -> impl Fn(std::io::Error) -> Failure {
    move |error| Failure::failed(format!("{what}: {error}"))
}

fn try_exec(order: &message::Exec, stdio: Stdio, target: &Target, report: &OwnedFd) -> Result<(), Failure> {
    // From here on nobody in the container may look into this process.
    process::set_dumpable(false).map_err(failed("dumpable"))?;
    let container = read_config(&order.id)?;
    let filter = filter_of(&container)?;
    let process = {
        let root = container_root(target).map_err(|error| gone(&order.id, error))?;
        plan(order, &container, root.as_fd(), filter.is_some())?
    };
    let groups = open_cgroups(target)?;
    let kinds = namespaces_to_join(target.pid).map_err(|error| gone(&order.id, error))?;
    if let Some(score) = process.oom_score_adj() {
        fs::write("/proc/self/oom_score_adj", score.to_string()).map_err(failed("process.oomScoreAdj"))?;
    }
    let terminal = process.terminal().unwrap_or(false);
    let uid = process.user().uid();
    let owner = helper::owner_of_streams(u64::from(uid), &container);
    let pipes = match terminal {
        true => None,
        false => Some([
            helper::stdio_end(stdio.stdin, owner)?,
            helper::stdio_end(stdio.stdout, owner)?,
            helper::stdio_end(stdio.stderr, owner)?,
        ]),
    };
    set_limits(&process)?;
    process::join_namespaces(target.init.as_fd(), kinds).map_err(|error| gone(&order.id, error))?;
    let master = if terminal { Some(open_terminal(&process)?) } else { None };
    let ends = match (pipes, &master) {
        (Some(pipes), _) => pipes,
        (None, Some(master)) => {
            let slave = syscall::open_terminal(master.as_fd()).map_err(failed("the terminal"))?;
            let _ = fchown(slave.as_raw_fd(), Some(Uid::from_raw(uid)), None::<Gid>);
            let again = || syscall::duplicate(&slave).map_err(failed("the terminal"));
            [again()?, again()?, slave]
        }
        (None, None) => return Err(Failure::failed("no streams")),
    };
    let (go, start) = syscall::pipe().map_err(failed("pipe"))?;
    let entry = Entry {
        personality: container.pointer("/linux/personality/domain").and_then(Value::as_str)
            == Some("LINUX32"),
        process,
        groups,
        ends,
        go,
        executor: executor::Exec::new(
            stdio.exec,
            executor::Last { filter, ..Default::default() },
            executor::Role::Program,
        ),
    };
    // The process waits until it was reported: one that nobody knows of must not run.
    let pid = syscall::fork_to(|| join::enter(&entry)).map_err(failed("fork in the container"))?;
    send_report(report, &Report::Joined { pid }, master.as_ref());
    let _ = File::from(start).write_all(b"!");
    Ok(())
}

fn gone(id: &str, error: std::io::Error) -> Failure {
    match error.raw_os_error() {
        Some(libc::ESRCH | libc::ENOENT) => {
            Failure::new(Code::Conflict, format!("container {id:?} has ended"))
        }
        _ => Failure::failed(format!("join the container: {error}")),
    }
}

/// config.json as it was carried out. It lies outside of what the container can reach.
pub fn read_config(id: &str) -> Result<Value, Failure> {
    let path = Layout::of(id).directory.join("config.json");
    let text = fs::read(path).map_err(failed("the container's config.json"))?;
    serde_json::from_slice(&text).map_err(|e| Failure::failed(format!("the container's config.json: {e}")))
}

/// The root directory of the container's mount namespace. Of the namespace, and not of the first process, which may
/// have changed its own since; so this process goes there and comes back.
fn container_root(target: &Target) -> std::io::Result<OwnedFd> {
    let home = File::open("/proc/self/ns/mnt")?;
    process::join_namespaces(target.init.as_fd(), libc::CLONE_NEWNS)?;
    let root = syscall::open_directory(Path::new("/"));
    process::join_namespaces(home.as_fd(), libc::CLONE_NEWNS)?;
    root
}

/// What binds the container binds whoever joins it. What it warned of was told when the container was created.
fn filter_of(container: &Value) -> Result<Option<seccomp::Filter>, Failure> {
    let Some(profile) = container.pointer("/linux/seccomp").filter(|profile| !profile.is_null()) else {
        return Ok(None);
    };
    let profile = serde_json::from_value(profile.clone())
        .map_err(|e| Failure::failed(format!("the container's linux.seccomp: {e}")))?;
    seccomp::compile(&profile, &mut Vec::new()).map(Some)
}

fn namespaces_to_join(pid: i32) -> std::io::Result<libc::c_int> {
    let mut kinds = 0;
    for (name, kind) in NAMESPACES {
        // A namespace that this process is in already is not to be joined: with some of them that is an error.
        let (theirs, ours) = (format!("/proc/{pid}/ns/{name}"), format!("/proc/self/ns/{name}"));
        if fs::metadata(theirs)?.ino() != fs::metadata(ours)?.ino() {
            kinds |= kind;
        }
    }
    Ok(kinds)
}

/// Where the process can be put: the container's cgroup, or, if a container that manages cgroups itself has made
/// that an inner one, which holds no processes, where its first process is.
fn open_cgroups(target: &Target) -> Result<Vec<File>, Failure> {
    let open = |cgroup: &str| File::options().write(true).open(cgroup::file(cgroup, "cgroup.procs"));
    let mut groups = vec![open(&target.cgroup).map_err(failed("the container's cgroup"))?];
    let text = fs::read_to_string(format!("/proc/{}/cgroup", target.pid)).unwrap_or_default();
    if let Some(current) = text.lines().find_map(|line| line.strip_prefix("0::"))
        && Path::new(current).starts_with(&target.cgroup)
        && let Ok(file) = open(current)
    {
        groups.push(file);
    }
    Ok(groups)
}

fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(Code::InvalidConfig, message)
}

/// The process that was asked for, with what it leaves open taken from the container's own.
fn plan(
    order: &message::Exec,
    container: &Value,
    root: BorrowedFd,
    filtered: bool,
) -> Result<Process, Failure> {
    let mut wanted = json!({"process": parse(order.process.get())?});
    inherit(&mut wanted["process"], &container["process"]);
    let databases = Databases::load(root)?;
    let account = order.user.as_ref().map(|user| user::resolve(user, &databases)).transpose()?;
    let home = helper::missing_home(&wanted, account.as_ref(), &databases);
    spec::complete_process(&mut wanted, account.as_ref(), home.as_deref());
    if filtered {
        own::keep_what_the_filter_needs(&mut wanted);
    }
    serde_json::from_value(wanted["process"].take()).map_err(|e| invalid(format!("process: {e}")))
}

/// Refuses what nothing here carries out.
fn parse(text: &str) -> Result<Value, Failure> {
    let mut process: Value = serde_json::from_str(text).map_err(|e| invalid(format!("process: {e}")))?;
    let Some(members) = process.as_object_mut() else { return Err(invalid("process: not an object")) };
    if let Some(name) = NOT_CARRIED_OUT.iter().find(|name| members.contains_key(**name)) {
        return Err(invalid(format!("process.{name}: not for a process in a running container")));
    }
    members.entry("user").or_insert_with(|| json!({"uid": 0, "gid": 0}));
    members.entry("cwd").or_insert_with(|| json!("/"));
    if !members["cwd"].as_str().is_some_and(|cwd| cwd.starts_with('/')) {
        return Err(invalid("process.cwd: an absolute path is wanted"));
    }
    if members.get("args").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        return Err(invalid("process.args: at least one is needed"));
    }
    let known: Process =
        serde_json::from_value(process.clone()).map_err(|e| invalid(format!("process: {e}")))?;
    let known = serde_json::to_value(&known).map_err(|e| invalid(e.to_string()))?;
    match review::find_unknown(&process, &known, "process".to_owned()) {
        Some(path) => Err(invalid(format!("{path}: unknown property"))),
        None => Ok(process),
    }
}

fn inherit(process: &mut Value, container: &Value) {
    for name in ["rlimits", "oomScoreAdj"] {
        if process[name].is_null() && !container[name].is_null() {
            process[name] = container[name].clone();
        }
    }
    if process["user"]["umask"].is_null() && !container["user"]["umask"].is_null() {
        process["user"]["umask"] = container["user"]["umask"].clone();
    }
    // Once promised to the container, this holds for all in it.
    if container["noNewPrivileges"] == true {
        process["noNewPrivileges"] = json!(true);
    }
    if process["capabilities"].is_null() && !container["capabilities"].is_null() {
        // What the container's user has was reduced, for a user that need not be this one: the bound was not.
        let bounding = container["capabilities"]["bounding"].clone();
        process["capabilities"] = json!({"bounding": bounding, "effective": bounding, "permitted": bounding});
        for set in ["inheritable", "ambient"] {
            process["capabilities"][set] = container["capabilities"][set].clone();
        }
    }
    if process["capabilities"].is_object() {
        // A set that is not named is empty, as it is for runc.
        for set in CAPABILITY_SETS {
            if process["capabilities"][set].is_null() {
                process["capabilities"][set] = json!([]);
            }
        }
    }
}

/// Before a user namespace is joined, where raising them is no longer allowed.
fn set_limits(process: &Process) -> Result<(), Failure> {
    let syscall = SyscallType::default().create_syscall();
    for limit in process.rlimits().iter().flatten() {
        syscall.set_rlimit(limit).map_err(|e| invalid(format!("process.rlimits {:?}: {e}", limit.typ())))?;
    }
    Ok(())
}

/// A new terminal of the container's own devpts, which is what it says it is: something mounted over the way to it
/// must not be taken for one.
fn open_terminal(process: &Process) -> Result<OwnedFd, Failure> {
    let directory = syscall::open_directory(Path::new("/dev/pts")).map_err(failed("/dev/pts"))?;
    let no_terminals = || Failure::failed("the container has no /dev/pts to take a terminal from");
    if fstatfs(&directory).map_err(|e| failed("/dev/pts")(e.into()))?.filesystem_type()
        != FsType(DEVPTS_MAGIC)
    {
        return Err(no_terminals());
    }
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let master = syscall::open_in_root(directory.as_fd(), Path::new("ptmx"), flags)
        .map_err(|e| failed("/dev/pts/ptmx")(e.into()))?;
    let status = |fd: &OwnedFd| fstat(fd.as_raw_fd()).map_err(|e| failed("/dev/pts/ptmx")(e.into()));
    let (ptmx, place) = (status(&master)?, status(&directory)?);
    if ptmx.st_dev != place.st_dev || ptmx.st_rdev != PTMX_DEVICE {
        return Err(no_terminals());
    }
    process::unlock_terminal(master.as_fd()).map_err(failed("the terminal"))?;
    if let Some(size) = process.console_size() {
        let clamp = |length: u64| u16::try_from(length).unwrap_or(u16::MAX);
        syscall::set_window_size(master.as_fd(), clamp(size.width()), clamp(size.height()))
            .map_err(failed("process.consoleSize"))?;
    }
    Ok(master)
}
