//! One process that was executed into a running container.

use std::io;
use std::os::fd::OwnedFd;

use serde_json::{Value, json};

use super::link::Link;
use super::stdio::Stdio;
use crate::protocol::frame::Kind;
use crate::protocol::message::{self, Failure};
use crate::runtime::ExecReport;
use crate::syscall::{self, Ending};

/// ```text
/// Joining ─► Starting ─► Running ─► Stopped
///     └──────────┴──────────────────►┘
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Joining,
    Starting,
    Running,
    Stopped,
}

pub struct Exec {
    /// The number of its container.
    pub container: u32,
    pub container_id: String,
    pub id: String,
    pub pid: Option<i32>,
    /// The process that makes it, until that was reaped.
    pub helper: Option<i32>,
    pub stdio: Stdio,
    state: State,
    /// Unanswered, and whose connection is still there.
    request: Option<u32>,
    /// The connection that asked for it is gone, and nobody knows it any more.
    forgotten: bool,
    killed: bool,
    /// Of its container, when it began.
    oom_kills: u64,
    /// The event that the host is owed.
    exit: Option<Value>,
}

/// What an exec is to be.
pub struct Order {
    pub container: u32,
    pub container_id: String,
    pub id: String,
    pub request: u32,
    pub helper: i32,
    pub oom_kills: u64,
}

impl Exec {
    pub fn new(order: Order, stdio: Stdio) -> Self {
        Self {
            container: order.container,
            container_id: order.container_id,
            id: order.id,
            pid: None,
            helper: Some(order.helper),
            stdio,
            state: State::Joining,
            request: Some(order.request),
            forgotten: false,
            killed: false,
            oom_kills: order.oom_kills,
            exit: None,
        }
    }

    /// Whether the host may call it by its name.
    pub fn is(&self, container: u32, id: &str) -> bool {
        self.container == container && self.id == id && !self.forgotten
    }

    /// The process exists, in the container, and is about to be executed.
    pub fn joined(&mut self, pid: i32, terminal: Option<OwnedFd>) -> io::Result<()> {
        self.pid = Some(pid);
        self.state = State::Starting;
        if self.killed {
            let _ = syscall::kill(pid, libc::SIGKILL);
        }
        self.stdio.connect(terminal)
    }

    /// It never came to be.
    pub fn never_joined(&mut self, failure: Failure, link: &mut Link) {
        self.state = State::Stopped;
        self.fail(failure, link);
        self.stdio.disconnect();
        self.stdio.ended(link);
    }

    /// It is not to be, for a reason of the machine's.
    pub fn give_up(&mut self, failure: Failure, link: &mut Link) {
        self.fail(failure, link);
        self.disconnect();
        self.kill();
    }

    /// False when there is nothing to signal. One that is still being made can only be killed, which ends what
    /// makes it as well: that may have run into something of the container's that holds it up for ever.
    pub fn signal(&mut self, signal: i32) -> Option<io::Result<()>> {
        if let Some(pid) = self.pid {
            // Not reaped yet, so the number is still this process's, dead or alive.
            return Some(syscall::kill(pid, signal));
        }
        if self.state != State::Joining || signal != libc::SIGKILL {
            return None;
        }
        self.kill();
        Some(Ok(()))
    }

    pub fn kill(&mut self) {
        self.killed = true;
        for pid in [self.pid, self.helper].into_iter().flatten() {
            let _ = syscall::kill(pid, libc::SIGKILL);
        }
    }

    /// The process has ended, and was reaped; `oom_kills` are its container's now.
    pub fn ended(&mut self, ending: Ending, oom_kills: u64, link: &mut Link) {
        self.poll_exec(link);
        self.pid = None;
        if self.state == State::Running && !self.forgotten {
            let oom_killed = oom_kills > self.oom_kills;
            self.exit = Some(message::exit_event(&self.container_id, Some(&self.id), ending, oom_killed));
        }
        self.fail(Failure::failed("the process ended before it was executed"), link);
        self.state = State::Stopped;
        self.stdio.ended(link);
    }

    fn poll_exec(&mut self, link: &mut Link) {
        if self.state != State::Starting {
            return;
        }
        match self.stdio.poll_exec() {
            ExecReport::Pending => {}
            ExecReport::Executed => {
                self.state = State::Running;
                if let Some(request) = self.request.take() {
                    link.respond(request, Ok(json!({"pid": self.pid})));
                }
            }
            ExecReport::Failed(failure) => {
                self.state = State::Stopped;
                self.fail(failure, link);
            }
        }
    }

    fn fail(&mut self, failure: Failure, link: &mut Link) {
        if let Some(request) = self.request.take() {
            link.respond(request, Err(failure));
        }
    }

    /// Moves bytes both ways. False when the process is gone, and all was said about it.
    pub fn pump(&mut self, link: &mut Link, buffer: &mut [u8]) -> bool {
        self.poll_exec(link);
        let ended = self.state == State::Stopped && self.pid.is_none();
        self.stdio.pump(link, buffer, ended);
        if !ended || !self.stdio.is_drained() {
            return true;
        }
        if let Some(event) = self.exit.take() {
            link.send(Kind::Event, 0, event.to_string().as_bytes());
        }
        false
    }

    /// The connection is gone. The process goes on; whoever connects next knows nothing of it.
    pub fn disconnect(&mut self) {
        self.stdio.disconnect();
        self.request = None;
        self.forgotten = true;
        self.exit = None;
    }
}
