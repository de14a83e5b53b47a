//! One container as the agent sees it: its state, its streams, and who is waiting for an answer about it.

use std::io;
use std::os::fd::OwnedFd;

use serde_json::{Value, json};

use super::blank::Filling;
use super::link::Link;
use super::share::Relays;
use super::stdio::Stdio;
use crate::files::{Layers, View};
use crate::protocol::frame::Kind;
use crate::protocol::message::{self, Failure};
use crate::runtime::{ExecReport, cgroup};
use crate::syscall::{self, Ending};

/// ```text
/// Creating ─► Created ─► Starting ─► Running ─► Stopped
///     └──────────┴───────────┴──────────────────►┘
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Creating,
    Created,
    Starting,
    Running,
    Stopped,
}

/// Hooks that the answer to the start waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poststart {
    Wanted,
    /// The process has been executed.
    Due,
    Running,
}

pub struct Container {
    pub id: String,
    pub state: State,
    pub pid: Option<i32>,
    /// Of the first process, also when it has ended. For hooks only.
    pub last_pid: i32,
    pub poststart: Option<Poststart>,
    pub cgroup: Option<String>,
    /// Of one that was a blank.
    pub filling: Option<Filling>,
    /// config.json, as long as it is on no disk.
    pub config: Option<String>,
    pub stdio: Stdio,
    pub shares: Relays,
    /// Its mounts, from its creation on; and its layers.
    pub view: Option<View>,
    pub layers: Layers,
    /// The writable disk, if it is one.
    pub disk: Option<String>,
    /// Unanswered requests. None also after the connection that made them is gone.
    pub create_request: Option<u32>,
    pub start_request: Option<u32>,
    pub delete_requests: Vec<u32>,
    pub to_delete: bool,
    pub removing: bool,
    /// The event that the host is owed: set when a started process has ended, cleared when it was sent.
    exit: Option<Value>,
}

impl Container {
    pub fn new(id: String, stdio: Stdio, shares: Relays, layers: Layers, disk: Option<String>) -> Self {
        Self {
            id,
            view: None,
            layers,
            disk,
            state: State::Creating,
            pid: None,
            last_pid: 0,
            poststart: None,
            cgroup: None,
            filling: None,
            config: None,
            stdio,
            shares,
            create_request: None,
            start_request: None,
            delete_requests: Vec::new(),
            to_delete: false,
            removing: false,
            exit: None,
        }
    }

    /// Created: the process exists; with a terminal its streams begin here.
    pub fn created(&mut self, pid: i32, cgroup: String, terminal: Option<OwnedFd>) -> io::Result<()> {
        self.pid = Some(pid);
        self.last_pid = pid;
        self.cgroup = Some(cgroup);
        self.state = State::Created;
        // Without it, nothing can be asked of its files; and it has ended by now.
        self.view = View::of(pid).ok();
        self.stdio.connect(terminal)
    }

    /// Signals everything: the first process takes its pid namespace with it, the cgroup all that joined it.
    pub fn kill_all(&self) {
        if let Some(pid) = self.pid {
            let _ = syscall::kill(pid, libc::SIGKILL);
        }
        if let Some(cgroup) = &self.cgroup {
            cgroup::kill(cgroup);
        }
    }

    /// Processes that the kernel has killed for want of memory.
    pub fn oom_kills(&self) -> u64 {
        self.cgroup.as_deref().map_or(0, cgroup::oom_kills)
    }

    /// The first process has ended, and was reaped.
    pub fn ended(&mut self, ending: Ending, link: &mut Link) {
        // What the exec pipe has to say comes before the exit.
        self.poll_exec(link);
        self.pid = None;
        if self.state == State::Running {
            self.exit = Some(message::exit_event(&self.id, None, ending, self.oom_kills() > 0));
        }
        if !self.has_hooks_to_run() {
            self.fail_start(Failure::failed("the container's process has ended"), link);
        }
        self.state = State::Stopped;
        self.stdio.ended(link);
    }

    /// Takes notice of how the exec went.
    fn poll_exec(&mut self, link: &mut Link) {
        if self.state != State::Starting {
            return;
        }
        match self.stdio.poll_exec() {
            ExecReport::Pending => {}
            ExecReport::Executed => {
                self.state = State::Running;
                match self.poststart {
                    Some(_) => self.poststart = Some(Poststart::Due),
                    None => self.hooked(link),
                }
            }
            ExecReport::Failed(failure) => {
                self.state = State::Stopped;
                self.fail_start(failure, link);
            }
        }
    }

    fn has_hooks_to_run(&self) -> bool {
        matches!(self.poststart, Some(Poststart::Due | Poststart::Running))
    }

    /// The start is done, hooks included.
    pub fn hooked(&mut self, link: &mut Link) {
        self.poststart = None;
        if let Some(request) = self.start_request.take() {
            link.respond(request, Ok(json!({})));
        }
    }

    fn fail_start(&mut self, failure: Failure, link: &mut Link) {
        if let Some(request) = self.start_request.take() {
            link.respond(request, Err(failure));
        }
    }

    /// Moves bytes both ways, and tells of the exit when everything else was told, that of the processes which
    /// were executed into it included: `alone` when there are none. `buffer` is scratch.
    pub fn pump(&mut self, link: &mut Link, buffer: &mut [u8], alone: bool) {
        self.poll_exec(link);
        let ended = self.state == State::Stopped && self.pid.is_none();
        self.stdio.pump(link, buffer, ended);
        self.shares.pump(link);
        // While nobody is connected the event waits for whoever comes.
        if alone
            && self.stdio.is_drained()
            && !self.has_hooks_to_run()
            && link.is_open()
            && let Some(event) = self.exit.take()
        {
            link.send(Kind::Event, 0, event.to_string().as_bytes());
        }
    }

    /// Whether all that the host has to know before a delete's answer was said.
    pub fn is_settled(&self) -> bool {
        self.state == State::Stopped
            && self.pid.is_none()
            && self.stdio.is_drained()
            && !self.has_hooks_to_run()
    }

    /// The connection is gone: nobody reads, nobody writes, nobody waits.
    pub fn disconnect(&mut self) {
        self.stdio.disconnect();
        self.shares.disconnect();
        self.create_request = None;
        self.start_request = None;
        self.delete_requests.clear();
    }
}
