//! The forked child of `container.exec`: in the container's namespaces, on its way to be the program.
//!
//! It holds nothing of the machine's but what `Entry` names, and no directory at all, so that no working directory
//! can lead out through one.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use libcontainer::capabilities;
use libcontainer::oci_spec::runtime::Process;
use libcontainer::syscall::syscall::SyscallType;
use nix::errno::Errno;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, chdir, dup2, getcwd, setgroups, setsid};

use super::executor::Exec;
use crate::protocol::message::{Code, Failure};
use crate::syscall::{self, process};

// linux/personality.h
const PER_LINUX32: libc::c_ulong = 8;

pub struct Entry {
    pub process: Process,
    /// `cgroup.procs`, the first that takes it.
    pub groups: Vec<File>,
    /// stdin, stdout, stderr; the same terminal three times when there is one.
    pub ends: [OwnedFd; 3],
    /// Readable when the agent knows of this process; at its end when the agent never will.
    pub go: OwnedFd,
    pub executor: Exec,
    /// Whether this is to be taken for a 32-bit machine.
    pub personality: bool,
}

/// The result is an exit code that nobody looks at.
pub fn enter(entry: &Entry) -> i32 {
    let mut keep: Vec<_> = entry.groups.iter().map(AsRawFd::as_raw_fd).collect();
    keep.extend(entry.ends.iter().map(AsRawFd::as_raw_fd));
    keep.extend([entry.go.as_raw_fd(), entry.executor.fd().as_raw_fd()]);
    syscall::close_all_but(&keep);
    if let Err(failure) = join_cgroup(&entry.groups) {
        entry.executor.refuse(&failure);
        return 1;
    }
    if !may_go(&entry.go) {
        return 1;
    }
    let process = &entry.process;
    match settle(entry) {
        Ok(()) => {
            let args = process.args().as_deref().unwrap_or_default();
            entry.executor.run(args, process.env().as_deref().unwrap_or_default());
        }
        Err(failure) => entry.executor.refuse(&failure),
    }
    1
}

/// First of all, so that whatever this process uses is the container's.
fn join_cgroup(groups: &[File]) -> Result<(), Failure> {
    let mut last = None;
    for mut group in groups {
        // 0 is whoever writes it.
        match group.write_all(b"0") {
            Ok(()) => return Ok(()),
            Err(error) => last = Some(error),
        }
    }
    let error = last.map(|error| error.to_string()).unwrap_or_default();
    Err(Failure::failed(format!("the container's cgroup: {error}")))
}

fn may_go(go: &OwnedFd) -> bool {
    let Ok(go) = syscall::duplicate(go) else { return false };
    matches!(File::from(go).read(&mut [0]), Ok(1))
}

/// Becomes what the process is to be, in an order that leaves each step the privileges it needs.
fn settle(entry: &Entry) -> Result<(), Failure> {
    let failed = |what: &str, error: &dyn std::fmt::Display| Failure::failed(format!("{what}: {error}"));
    let process = &entry.process;
    setsid().map_err(|e| failed("setsid", &e))?;
    for (end, target) in entry.ends.iter().zip(0..) {
        dup2(end.as_raw_fd(), target).map_err(|e| failed("streams", &e))?;
    }
    if process.terminal().unwrap_or(false) {
        process::control_terminal(std::os::fd::AsFd::as_fd(&entry.ends[0]))
            .map_err(|e| failed("the terminal", &e))?;
    }
    if entry.personality {
        process::set_personality(PER_LINUX32).map_err(|e| failed("linux.personality", &e))?;
    }
    assume(process)
}

/// Becomes whom the process is to be, and goes where it is to begin.
pub fn assume(process: &Process) -> Result<(), Failure> {
    let failed = |what: &str, error: &dyn std::fmt::Display| Failure::failed(format!("{what}: {error}"));
    if let Some(mask) = process.user().umask() {
        umask(Mode::from_bits_truncate(mask));
    }
    if process.no_new_privileges().unwrap_or(false) {
        process::set_no_new_privileges().map_err(|e| failed("process.noNewPrivileges", &e))?;
    }
    // As root first: a directory that the container's operator names may be closed to its user.
    let entered = chdir(process.cwd());
    let groups: Vec<Gid> =
        process.user().additional_gids().iter().flatten().map(|gid| Gid::from_raw(*gid)).collect();
    match setgroups(&groups) {
        // A user namespace may forbid it, and there is nothing to set.
        Err(Errno::EPERM) if groups.is_empty() => {}
        other => other.map_err(|e| failed("process.user.additionalGids", &e))?,
    }
    process::become_user(process.user().uid(), process.user().gid())
        .map_err(|e| failed("process.user", &e))?;
    let syscall = SyscallType::default().create_syscall();
    capabilities::reset_effective(&*syscall).map_err(|e| failed("capabilities", &e))?;
    if let Some(sets) = process.capabilities() {
        capabilities::drop_privileges(sets, &*syscall).map_err(|e| failed("process.capabilities", &e))?;
    }
    if entered.is_err() {
        chdir(process.cwd()).map_err(|error| no_directory(process.cwd(), error))?;
    }
    match getcwd() {
        Ok(path) if path.is_absolute() => {}
        _ => return Err(no_directory(process.cwd(), Errno::ENOENT)),
    }
    Ok(())
}

fn no_directory(path: &Path, error: Errno) -> Failure {
    let message = format!("the working directory {:?}: {}", path.display().to_string(), error.desc());
    Failure::new(Code::InvalidConfig, message)
}
