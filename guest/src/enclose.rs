//! What encloses a VMM on the host, as a program of its own that makes itself into it:
//!
//! ```text
//! flamebox-agent enclose [OPTION…] -- PROGRAM ARGUMENTS…
//!
//!     --parent PID            whoever starts it: where it is another's child by now, nothing is started
//!     --if-allowed            where this user may make no namespaces, go on without
//!     --tap NAME UID          in the network namespace, a tap device that UID may open (tap.rs)
//!     --most-files N          limits of the program's
//!     --most-file-bytes N
//!     --processes             in a pid namespace of its own
//!     --watched               ended by a process beside it, for a program that changes its user
//!
//! this process: network, IPC and UTS namespaces of its own, in a user namespace where that takes one
//!     as it is:         executes PROGRAM
//!     --watched:        executes PROGRAM             its child ─ waits for either to end ─ kills PROGRAM
//!     --processes:      waits, and ends as it does   its child ─ process 1 there ─ its child executes PROGRAM
//! ```
//!
//! Whatever happens to whoever started this process, PROGRAM ends with him. The kernel's own way (a signal at the
//! parent's death) is forgotten when a process becomes another user, as a jailer and `-runas` do: so there is one
//! beside it, or a process 1, without which its namespace ends.

use std::convert::Infallible;
use std::ffi::{CString, OsString};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getegid, geteuid, getpid, getppid};

use crate::console;
use crate::syscall::{self, process};
use crate::tap;

const COMMAND: &str = "enclose";
/// As shells have it: what could not be started, and what says why itself.
const FAILED: u8 = 125;

#[derive(Debug, Default, PartialEq)]
struct Enclosure {
    parent: Option<i32>,
    if_allowed: bool,
    tap: Option<(String, u32)>,
    most_files: Option<u64>,
    most_file_bytes: Option<u64>,
    processes: bool,
    watched: bool,
    program: Vec<CString>,
}

/// Does its work if this is what the program was started for; returns only when that failed.
pub fn trigger() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    if args.next()? != COMMAND {
        return None;
    }
    let Err(error) = parse(args).and_then(|enclosure| run(&enclosure));
    console::say(&format!("enclose: {error}"));
    Some(ExitCode::from(FAILED))
}

fn parse(mut args: impl Iterator<Item = OsString>) -> io::Result<Enclosure> {
    let refuse = |what: &str| io::Error::new(ErrorKind::InvalidInput, what.to_owned());
    let mut enclosure = Enclosure::default();
    loop {
        let option = args.next().and_then(|word| word.into_string().ok());
        let mut text = || args.next().and_then(|word| word.into_string().ok());
        match option.as_deref() {
            Some("--if-allowed") => enclosure.if_allowed = true,
            Some("--processes") => enclosure.processes = true,
            Some("--watched") => enclosure.watched = true,
            Some("--tap") => {
                let name = text().ok_or_else(|| refuse("--tap without a name"))?;
                let owner = text().and_then(|number| number.parse().ok());
                enclosure.tap = Some((name, owner.ok_or_else(|| refuse("--tap without a user"))?));
            }
            Some("--parent") => {
                let number = text().and_then(|number| number.parse().ok());
                enclosure.parent = Some(number.ok_or_else(|| refuse("--parent without a process"))?);
            }
            Some(limit @ ("--most-files" | "--most-file-bytes")) => {
                let value = text().and_then(|number| number.parse().ok());
                let value = Some(value.ok_or_else(|| refuse("a limit without a number"))?);
                match limit {
                    "--most-files" => enclosure.most_files = value,
                    _ => enclosure.most_file_bytes = value,
                }
            }
            Some("--") => break,
            _ => return Err(refuse("an option that it does not know")),
        }
    }
    enclosure.program = args.map(|word| CString::new(word.into_vec())).collect::<Result<_, _>>()?;
    if enclosure.program.is_empty() { Err(refuse("no program")) } else { Ok(enclosure) }
}

fn run(enclosure: &Enclosure) -> io::Result<Infallible> {
    let at = |what: &str, error: io::Error| io::Error::new(error.kind(), format!("{what}: {error}"));
    let parent = getppid();
    // Killed before this process could ask, its parent is the one that takes orphans, and does not end.
    if enclosure.parent.is_some_and(|pid| pid != parent.as_raw()) {
        return Err(io::Error::new(ErrorKind::NotConnected, "who started it has ended"));
    }
    match enter_namespaces() {
        Err(_) if enclosure.if_allowed && enclosure.tap.is_none() => {}
        other => other.map_err(|e| at("namespaces of its own", e))?,
    }
    if let Some((name, owner)) = &enclosure.tap {
        tap::connect(name, *owner)?;
    }
    for (resource, most) in
        [(Resource::RLIMIT_NOFILE, enclosure.most_files), (Resource::RLIMIT_FSIZE, enclosure.most_file_bytes)]
    {
        if let Some(most) = most {
            setrlimit(resource, most, most).map_err(|e| at("limits", e.into()))?;
        }
    }
    if enclosure.watched {
        watch(parent).map_err(|e| at("watching", e))?;
    }
    // The kernel forgets it when capabilities change, which a new user namespace does.
    live_with(parent)?;
    if enclosure.processes { contain(&enclosure.program) } else { Err(execute(&enclosure.program)) }
}

/// Root makes them just so; others need a user namespace around them, where they are who they are.
fn enter_namespaces() -> io::Result<()> {
    let kinds = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS;
    match unshare(kinds) {
        Err(Errno::EPERM) => {}
        other => return Ok(other?),
    }
    let (user, group) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER | kinds)?;
    fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/gid_map", format!("{group} {group} 1"))
}

/// Ends this process with `parent`, which may have ended already.
pub fn live_with(parent: Pid) -> io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    if getppid() == parent { Ok(()) } else { Err(ErrorKind::NotConnected.into()) }
}

fn execute(program: &[CString]) -> io::Error {
    let Err(error) = nix::unistd::execv(&program[0], program);
    let name = program[0].to_string_lossy();
    io::Error::new(io::Error::from(error).kind(), format!("{name}: {error}"))
}

/// Holds nothing of the streams of whoever it stands beside, or their ends could not be seen; and no folder.
pub fn let_go(keep: &[&OwnedFd]) -> io::Result<()> {
    nix::unistd::chdir("/")?;
    let keep: Vec<i32> = keep.iter().map(|fd| fd.as_raw_fd()).collect();
    let null = File::options().read(true).write(true).open("/dev/null")?;
    for fd in 0..=2 {
        nix::unistd::dup2(null.as_raw_fd(), fd)?;
    }
    drop(null);
    syscall::close_all_but(&keep);
    Ok(())
}

/// A child that waits until this process ends, or `parent` does: then this one is ended.
fn watch(parent: Pid) -> io::Result<()> {
    let watched = process::open(getpid().as_raw())?;
    let starter = process::open(parent.as_raw())?;
    if getppid() != parent {
        return Err(ErrorKind::NotConnected.into());
    }
    syscall::fork_to(|| {
        let result = let_go(&[&watched, &starter])
            .and_then(|()| Ok(prctl::set_no_new_privs()?))
            .and_then(|()| process::either_ends(&watched, &starter))
            .and_then(|()| process::send_kill(&watched));
        i32::from(result.is_err())
    })?;
    Ok(())
}

/// Runs the program below a process 1 of its own, and ends as the program does.
fn contain(program: &[CString]) -> io::Result<Infallible> {
    let (report, reporting) = syscall::pipe()?;
    let (alive, living) = syscall::pipe()?;
    unshare(CloneFlags::CLONE_NEWPID)?;
    let init = syscall::fork_to(|| {
        // Its own copy would keep the end of this process from being seen.
        let _ = nix::unistd::close(living.as_raw_fd());
        match be_first(program, &alive, &reporting) {
            Ok(()) => 0,
            Err(error) => {
                console::say(&format!("enclose: {error}"));
                i32::from(FAILED)
            }
        }
    })?;
    drop((alive, reporting));
    let_go(&[&report, &living])?;
    let mut status = [0; 4];
    let status = match File::from(report).read_exact(&mut status) {
        Ok(()) => i32::from_ne_bytes(status),
        // Process 1 was ended, or could not begin.
        Err(_) => process::wait_for(init)?,
    };
    process::end_as(status)
}

/// Process 1: without it the kernel ends all others of its namespace.
fn be_first(program: &[CString], alive: &OwnedFd, reporting: &OwnedFd) -> io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    // The parent may have ended before that; its number means nothing here, but its end of the pipe does.
    if process::is_hung_up(alive)? {
        return Ok(());
    }
    let child = syscall::fork_to(|| {
        console::say(&format!("enclose: {}", execute(program)));
        i32::from(FAILED)
    })?;
    let_go(&[reporting])?;
    let status = process::wait_for(child)?;
    nix::unistd::write(reporting, &status.to_ne_bytes()).map(drop).map_err(io::Error::from)
}

#[cfg(test)]
#[path = "enclose_test.rs"]
mod tests;
