//! From a `container.create` to a process, through libcontainer.
//!
//! ```text
//! agent (PID 1) ── fork ──► helper: mounts, user lookup, libcontainer's create
//!    ▲   ▲                     │  └─ clone ─► the container's init ── waits for start ── exec
//!    │   └── one message ──────┘                  │
//!    └────── the exec pipe: started, or why not ──┘
//! ```
//!
//! A helper is a forked child with one thread that does one job and ends. All that reads hostile files or may
//! block in the kernel happens there, so that it cannot hold up or end PID 1. When it has ended, the
//! container's init becomes PID 1's own child, and its status is known for certain.

pub mod blank;
mod causes;
pub mod cgroup;
mod devices;
mod exec;
mod executor;
mod filling;
mod helper;
mod hooks;
mod idmap;
mod init;
mod join;
mod limits;
mod own;
mod processes;
mod propagation;
mod relay;
mod resources;
mod review;
mod seccomp;
mod spec;
pub mod targets;
mod user;
mod volumes;
pub mod work;

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, recvmsg,
    sendmsg, socketpair,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::files::View;
use crate::mounts::Layout;
use crate::protocol::message::{Create, Exec, Failure, Prepare, StreamIds};
use crate::syscall;

pub use exec::Target;
pub use executor::{ExecPipe, ExecReport};
pub use hooks::trigger;

/// Longest report of a helper, in bytes: a failure's text or all warnings, escaped at worst, and their frame.
const MAX_REPORT_BYTES: usize = 131_072;

/// Most warnings of a container, and the longest, in bytes.
const MAX_WARNINGS: usize = 32;
const MAX_WARNING_BYTES: usize = 500;

/// What a helper says before it ends.
#[derive(Serialize, Deserialize)]
pub enum Report {
    Created {
        pid: i32,
        cgroup: String,
        warnings: Vec<String>,
        poststart: bool,
    },
    Joined {
        pid: i32,
    },
    /// A blank was made.
    Prepared {
        pid: i32,
        cgroup: String,
        warnings: Vec<String>,
    },
    /// A blank, of itself: it waits for an order.
    Ready,
    /// A blank, of itself: it is the container that was ordered, up to the exec.
    Filled,
    /// Hooks have run; those that failed.
    Hooked(Vec<String>),
    /// Removed; hooks that failed meanwhile.
    Removed(Vec<String>),
    /// The answer of one that has more to do.
    Begun(Value),
    /// The answer, if there was none yet, of one that has done all.
    Done(Value),
    Failed(Failure),
}

/// As many warnings as the protocol allows, as long as it allows.
fn bound_warnings(mut warnings: Vec<String>) -> Vec<String> {
    let more = warnings.len().saturating_sub(MAX_WARNINGS - 1);
    if warnings.len() > MAX_WARNINGS {
        warnings.truncate(MAX_WARNINGS - 1);
        warnings.push(format!("and {more} more warnings"));
    }
    for warning in &mut warnings {
        let mut end = warning.len().min(MAX_WARNING_BYTES);
        while !warning.is_char_boundary(end) {
            end -= 1;
        }
        warning.truncate(end);
    }
    warnings
}

/// A helper at work.
pub struct Helper {
    pub pid: i32,
    /// Readable when the helper has reported, or ended without a word.
    pub report: OwnedFd,
}

/// The agent's ends of what a new container is connected with.
pub struct Ends {
    pub stdin: Option<File>,
    pub stdout: Option<File>,
    pub stderr: Option<File>,
    pub exec: ExecPipe,
    /// Whether the streams go through a process that is not the agent.
    pub relayed: bool,
}

/// The container's ends. An absent stdin or output is /dev/null.
struct Stdio {
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    exec: OwnedFd,
}

impl Stdio {
    fn raw(&self) -> Vec<RawFd> {
        [&self.stdin, &self.stdout, &self.stderr]
            .into_iter()
            .flatten()
            .chain([&self.exec])
            .map(AsRawFd::as_raw_fd)
            .collect()
    }
}

/// Starts the helper that creates a container. With a terminal, the streams come with the report.
pub fn create(order: Create, terminal: bool) -> io::Result<(Helper, Ends)> {
    let (ends, stdio) = connect(order.stdio, terminal, !order.shares.is_empty())?;
    let keep = stdio.raw();
    let helper = help(&keep, move |report| helper::create(order, stdio, report))?;
    Ok((helper, ends))
}

/// A blank as the agent holds it.
pub struct Outside {
    pub ends: Ends,
    /// Orders go in, reports come out.
    pub socket: OwnedFd,
}

/// Starts the helper that makes a blank.
pub fn prepare(order: Prepare) -> io::Result<(Helper, Outside)> {
    let (ends, stdio) = connect(blank::all_streams(), false, false)?;
    let (ours, theirs) = report_socket()?;
    let mut keep = stdio.raw();
    keep.push(theirs.as_raw_fd());
    let helper = help(&keep, move |report| blank::prepare(&order, stdio, theirs, &report))?;
    syscall::set_nonblocking(ours.as_fd())?;
    Ok((helper, Outside { ends, socket: ours }))
}

fn report_socket() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?)
}

/// Starts the helper that executes a process in a running container, whose first process is `init`. `relayed` is
/// whether the container has shares.
pub fn exec(
    order: Exec,
    terminal: bool,
    container: exec::Target,
    relayed: bool,
) -> io::Result<(Helper, Ends)> {
    let (ends, stdio) = connect(order.stdio, terminal, relayed)?;
    let mut keep = stdio.raw();
    keep.push(container.init.as_raw_fd());
    let helper = help(&keep, move |report| exec::exec(&order, stdio, &container, &report))?;
    Ok((helper, ends))
}

/// The pipes between the agent and a new process: the agent's ends, and the process's.
fn connect(wanted: StreamIds, terminal: bool, relayed: bool) -> io::Result<(Ends, Stdio)> {
    let wants = |stream: Option<u32>| stream.is_some() && !terminal;
    let input = if relayed { relay::input } else { syscall::pipe };
    let output = if relayed { relay::output } else { syscall::pipe };
    let (exec_read, exec_write) = syscall::pipe()?;
    let exec = ExecPipe::new(own_end(exec_read)?);
    let mut ends = Ends { stdin: None, stdout: None, stderr: None, exec, relayed };
    let mut stdio = Stdio { stdin: None, stdout: None, stderr: None, exec: exec_write };
    if wants(wanted.stdin) {
        let (read, write) = input()?;
        ends.stdin = Some(own_end(write)?);
        stdio.stdin = Some(read);
    }
    if wants(wanted.stdout) {
        let (read, write) = output()?;
        ends.stdout = Some(own_end(read)?);
        stdio.stdout = Some(write);
    }
    if wants(wanted.stderr) {
        let (read, write) = output()?;
        ends.stderr = Some(own_end(read)?);
        stdio.stderr = Some(write);
    }
    Ok((ends, stdio))
}

fn own_end(fd: OwnedFd) -> io::Result<File> {
    syscall::set_nonblocking(fd.as_fd())?;
    Ok(File::from(fd))
}

/// Starts the helper that runs the hooks of a container whose process runs.
pub fn poststart(id: &str, pid: i32) -> io::Result<Helper> {
    let id = id.to_owned();
    help(&[], move |report| helper::poststart(&id, pid, report))
}

/// What is left of a container.
pub struct Removal {
    pub id: String,
    pub cgroup: Option<String>,
    /// Before it got its id.
    pub was_blank: bool,
    pub view: Option<View>,
    /// The writable disk, unless others have it.
    pub disk: Option<String>,
}

/// Starts the helper that unmounts what a container has left and removes its cgroup. Whoever has the mount namespace
/// last unmounts all that is in it, which may take time: that is the helper, who waits for this process to let go.
pub fn remove(order: Removal) -> io::Result<Helper> {
    let (go, hold) = syscall::pipe()?;
    let mut keep = vec![go.as_raw_fd()];
    keep.extend(order.view.as_ref().map(|view| view.fd().as_raw_fd()));
    // What the child is to have, this process has no more when it is there; then it lets the child go on.
    let helper = help(&keep, move |report| helper::remove(order, go, &report))?;
    drop(hold);
    Ok(helper)
}

/// Starts the helper that unmounts what a blank has left whose process was killed.
pub fn discard(disk: Option<String>) -> io::Result<Helper> {
    help(&[], move |report| helper::discard_blank(disk.as_deref(), &report))
}

/// Lets a created container execute its process. The answer comes through the exec pipe.
pub fn start(id: &str) -> io::Result<()> {
    // Closing the socket is what ends libcontainer's read of the message.
    UnixStream::connect(Layout::of(id).notify_socket())?.write_all(b"start container")
}

/// Executes a program that does nothing, in a process of its own. Whatever in the machine has to be made ready by being
/// done once, as under emulation every step does, is so when a container executes its own.
pub fn rehearse() -> io::Result<()> {
    syscall::fork_to(|| {
        syscall::close_all_but(&[]);
        let null = std::fs::File::options().read(true).write(true).open("/dev/null");
        if null.is_ok_and(|null| (0..3).all(|fd| nix::unistd::dup2(null.as_raw_fd(), fd).is_ok())) {
            let _ = nix::unistd::execve(c"/proc/self/exe", &[c"rehearsal"], &[] as &[&std::ffi::CStr]);
        }
        1
    })
    .map(drop)
}

fn help(keep: &[RawFd], job: impl FnOnce(OwnedFd)) -> io::Result<Helper> {
    let (ours, theirs) = report_socket()?;
    let mut keep = keep.to_vec();
    keep.push(theirs.as_raw_fd());
    let pid = syscall::fork_to(move || {
        syscall::close_all_but(&keep);
        syscall::reset_signals();
        // The agent's own score makes it the last to be killed; a container must not inherit that.
        let _ = std::fs::write("/proc/self/oom_score_adj", "0");
        job(theirs);
        0
    })?;
    syscall::set_nonblocking(ours.as_fd())?;
    Ok(Helper { pid, report: ours })
}

/// Sends a helper's report, with the terminal's descriptor if there is one.
fn send_report(socket: &OwnedFd, report: &Report, terminal: Option<&OwnedFd>) {
    let text = serde_json::to_vec(report).unwrap_or_default();
    let fds = terminal.map(|fd| [fd.as_raw_fd()]);
    let control: Vec<_> = fds.iter().map(|fds| ControlMessage::ScmRights(fds)).collect();
    let _ = sendmsg::<UnixAddr>(
        socket.as_raw_fd(),
        &[IoSlice::new(&text)],
        &control,
        MsgFlags::MSG_NOSIGNAL,
        None,
    );
}

/// A helper's report, with the terminal if it made one; None while it is at work. A helper that has ended
/// without a word has failed.
pub fn read_report(socket: &OwnedFd) -> Option<(Report, Option<OwnedFd>)> {
    match try_read_report(socket) {
        Ok(Some(report)) => Some(report),
        Ok(None) => {
            Some((Report::Failed(Failure::failed("the runtime helper ended without an answer")), None))
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        Err(error) => Some((Report::Failed(Failure::failed(format!("the runtime helper: {error}"))), None)),
    }
}

fn try_read_report(socket: &OwnedFd) -> io::Result<Option<(Report, Option<OwnedFd>)>> {
    let mut text = vec![0; MAX_REPORT_BYTES];
    let mut control = nix::cmsg_space!([RawFd; 1]);
    let mut parts = [IoSliceMut::new(&mut text)];
    let message =
        recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let mut terminal = None;
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = part {
            // SAFETY: the kernel has just installed these descriptors for this message.
            terminal = fds.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).next();
        }
    }
    let length = message.bytes;
    if length == 0 {
        return Ok(None);
    }
    Ok(Some((serde_json::from_slice(&text[..length])?, terminal)))
}
