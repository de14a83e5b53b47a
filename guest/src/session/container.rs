//! One container as the agent sees it: its state, its streams, and who is waiting for an answer about it.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Instant;

use serde_json::json;

use super::link::Link;
use super::share::Relays;
use super::stream::{Sink, Source};
use crate::protocol::frame::{Kind, ProtocolError};
use crate::protocol::message::{Code, Failure, Stdio};
use crate::runtime::{Ends, ExecPipe, ExecReport};
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

pub struct Container {
    pub id: String,
    pub state: State,
    pub pid: Option<i32>,
    pub cgroup: Option<String>,
    pub exec: Option<ExecPipe>,
    pub stdin: Option<Sink>,
    pub outputs: Vec<Source>,
    pub shares: Relays,
    terminal: Option<OwnedFd>,
    size: Option<(u16, u16)>,
    /// Unanswered requests. None also after the connection that made them is gone.
    pub create_request: Option<u32>,
    pub start_request: Option<u32>,
    pub delete_requests: Vec<u32>,
    pub to_delete: bool,
    pub removing: bool,
    /// The event that the host is owed: set when a started process has ended, cleared when it was sent.
    exit: Option<serde_json::Value>,
}

impl Container {
    pub fn new(id: String, stdio: Stdio, ends: Ends, terminal: bool, size: Option<(u16, u16)>) -> Self {
        let output = |stream: Option<u32>, file: Option<File>| stream.map(|stream| Source::new(stream, file));
        let stderr = if terminal { None } else { stdio.stderr };
        Self {
            id,
            state: State::Creating,
            pid: None,
            cgroup: None,
            exec: Some(ends.exec),
            stdin: stdio.stdin.map(|stream| Sink::new(stream, ends.stdin, terminal)),
            outputs: [output(stdio.stdout, ends.stdout), output(stderr, ends.stderr)]
                .into_iter()
                .flatten()
                .collect(),
            shares: Relays::default(),
            terminal: None,
            size,
            create_request: None,
            start_request: None,
            delete_requests: Vec::new(),
            to_delete: false,
            removing: false,
            exit: None,
        }
    }

    /// The descriptors to wait for, with what they are called in events.
    pub fn files(&self) -> impl Iterator<Item = (Part, &File)> {
        let stdin = self.stdin.as_ref().and_then(Sink::file).map(|file| (Part::Stdin, file));
        let exec = self.exec.as_ref().map(|pipe| (Part::Exec, pipe.file()));
        let outputs = self.outputs.iter().enumerate();
        let outputs = outputs.filter_map(|(index, source)| Some((Part::output(index), source.file()?)));
        let shares = self.shares.files().map(|file| (Part::Shares, file));
        stdin.into_iter().chain(exec).chain(outputs).chain(shares)
    }

    /// Created: the process exists; with a terminal its streams begin here.
    pub fn created(&mut self, pid: i32, cgroup: String, terminal: Option<OwnedFd>) -> io::Result<()> {
        self.pid = Some(pid);
        self.cgroup = Some(cgroup);
        self.state = State::Created;
        if let Some(master) = terminal {
            use std::os::fd::AsFd;
            syscall::set_nonblocking(master.as_fd())?;
            if let Some(sink) = &mut self.stdin {
                sink.connect(File::from(syscall::duplicate(&master)?));
            }
            for source in &mut self.outputs {
                source.connect(File::from(syscall::duplicate(&master)?));
            }
            if let Some((columns, rows)) = self.size {
                syscall::set_window_size(master.as_fd(), columns, rows)?;
            }
            self.terminal = Some(master);
        }
        Ok(())
    }

    pub fn resize(&mut self, columns: u16, rows: u16) -> Result<(), Failure> {
        use std::os::fd::AsFd;
        match &self.terminal {
            Some(terminal) => syscall::set_window_size(terminal.as_fd(), columns, rows)
                .map_err(|e| Failure::failed(format!("resize: {e}"))),
            None => Err(Failure::new(Code::Conflict, "the container has no terminal")),
        }
    }

    /// Signals everything: the first process takes its pid namespace with it, the cgroup all that joined it.
    pub fn kill_all(&self) {
        if let Some(pid) = self.pid {
            let _ = syscall::kill(pid, libc::SIGKILL);
        }
        if let Some(cgroup) = &self.cgroup {
            let _ = fs::write(cgroup_file(cgroup, "cgroup.kill"), "1");
        }
    }

    /// The first process has ended, and was reaped.
    pub fn ended(&mut self, ending: Ending, link: &mut Link) {
        // What the exec pipe has to say comes before the exit.
        self.poll_exec(link);
        self.pid = None;
        if self.state == State::Running {
            self.exit = Some(match ending {
                Ending::Exited(code) => {
                    json!({"event": "container.exit", "id": self.id, "exitCode": code})
                }
                Ending::Killed(signal) => {
                    let oom = signal == libc::SIGKILL && self.was_out_of_memory();
                    json!({"event": "container.exit", "id": self.id, "signal": signal, "oomKilled": oom})
                }
            });
        }
        self.fail_start(Failure::failed("the container's process has ended"), link);
        self.state = State::Stopped;
        self.exec = None;
        self.terminal = None;
        if let Some(sink) = self.stdin.take() {
            sink.reset(link, "the process has ended");
        }
        for source in &mut self.outputs {
            source.wake();
        }
    }

    fn was_out_of_memory(&self) -> bool {
        let Some(cgroup) = &self.cgroup else { return false };
        let events = fs::read_to_string(cgroup_file(cgroup, "memory.events")).unwrap_or_default();
        events
            .lines()
            .filter_map(|line| line.strip_prefix("oom_kill "))
            .any(|count| count.trim().parse::<u64>().is_ok_and(|count| count > 0))
    }

    /// Takes notice of how the exec went.
    pub fn poll_exec(&mut self, link: &mut Link) {
        if self.state != State::Starting {
            return;
        }
        let Some(pipe) = &mut self.exec else { return };
        match pipe.read() {
            ExecReport::Pending => return,
            ExecReport::Executed => {
                self.state = State::Running;
                if let Some(request) = self.start_request.take() {
                    link.respond(request, Ok(json!({})));
                }
            }
            ExecReport::Failed(failure) => {
                self.state = State::Stopped;
                self.fail_start(failure, link);
            }
        }
        self.exec = None;
    }

    fn fail_start(&mut self, failure: Failure, link: &mut Link) {
        if let Some(request) = self.start_request.take() {
            link.respond(request, Err(failure));
        }
    }

    /// Moves bytes both ways, and tells of the exit when everything else was told. `buffer` is scratch.
    pub fn pump(&mut self, link: &mut Link, buffer: &mut [u8]) {
        self.poll_exec(link);
        if let Some(sink) = &mut self.stdin
            && !sink.pump(link)
        {
            self.stdin = None;
        }
        self.shares.pump(link);
        let ended = self.state == State::Stopped && self.pid.is_none();
        self.outputs.retain_mut(|source| source.pump(link, buffer, ended));
        // While nobody is connected the event waits for whoever comes.
        if self.outputs.is_empty()
            && link.is_open()
            && let Some(event) = self.exit.take()
        {
            link.send(Kind::Event, 0, event.to_string().as_bytes());
        }
    }

    /// Whether another `pump` would do more, although nothing has happened meanwhile.
    pub fn is_unfinished(&self, link: &Link) -> bool {
        self.outputs.iter().any(|source| source.is_unfinished(link)) || self.shares.is_unfinished(link)
    }

    /// Whether all that the host has to know before a delete's answer was said.
    pub fn is_settled(&self) -> bool {
        self.state == State::Stopped && self.pid.is_none() && self.outputs.is_empty()
    }

    /// When to look again although nothing happens.
    pub fn deadline(&self) -> Option<Instant> {
        self.outputs.iter().filter_map(Source::deadline).chain(self.shares.deadline()).min()
    }

    /// The connection is gone: nobody reads, nobody writes, nobody waits. The process is not to notice, but
    /// that its input has ended.
    pub fn disconnect(&mut self) {
        self.stdin = None;
        for source in &mut self.outputs {
            source.stream = None;
            source.wake();
        }
        self.shares.disconnect();
        self.create_request = None;
        self.start_request = None;
        self.delete_requests.clear();
    }

    /// Breaks the outputs off: a delete must not wait for a host that gives no credit.
    pub fn abandon_outputs(&mut self, link: &mut Link) {
        for source in &mut self.outputs {
            if let Some(stream) = source.stream.take() {
                link.send(Kind::Reset, stream, b"the container is deleted");
            }
            source.wake();
        }
    }

    pub fn wake(&mut self, part: Part) {
        match part {
            Part::Stdin => {
                if let Some(sink) = &mut self.stdin {
                    sink.wake();
                }
            }
            Part::Output(index) => {
                // Sources may have moved up since the descriptor was registered; an idle look costs nothing.
                let _ = index;
                self.outputs.iter_mut().for_each(Source::wake);
            }
            Part::Exec => {}
            Part::Shares => self.shares.wake(),
        }
    }

    /// The process has closed its side of stdin.
    pub fn stdin_broken(&mut self, link: &mut Link) {
        if let Some(sink) = self.stdin.take() {
            sink.reset(link, "the process does not read");
        }
    }

    pub fn has_stream(&self, stream: u32) -> bool {
        self.stdin.as_ref().is_some_and(|sink| sink.stream == stream)
            || self.outputs.iter().any(|source| source.stream == Some(stream))
            || self.shares.has_stream(stream)
    }

    /// Whether `stream` is one of this container's, after handling the frame if so.
    pub fn handle(
        &mut self,
        kind: Kind,
        stream: u32,
        payload: &[u8],
        link: &mut Link,
    ) -> Result<bool, ProtocolError> {
        if self.shares.handle(kind, stream, payload, link)? {
            return Ok(true);
        }
        if self.stdin.as_ref().is_some_and(|sink| sink.stream == stream) {
            return self.handle_stdin(kind, payload).map(|()| true);
        }
        let Some(source) = self.outputs.iter_mut().find(|source| source.stream == Some(stream)) else {
            return Ok(false);
        };
        match (kind, payload) {
            (Kind::Credit, &[a, b, c, d]) => {
                if !source.raise(u32::from_le_bytes([a, b, c, d])) {
                    return Err(ProtocolError::Rule("credit above 16 MiB"));
                }
            }
            (Kind::Reset, _) => source.stream = None,
            _ => return Err(ProtocolError::Rule("the host sends on a stream of the guest's")),
        }
        source.wake();
        Ok(true)
    }

    fn handle_stdin(&mut self, kind: Kind, payload: &[u8]) -> Result<(), ProtocolError> {
        let Some(sink) = &mut self.stdin else { return Ok(()) };
        match kind {
            Kind::Data => {
                if !sink.receive(payload) {
                    return Err(ProtocolError::Rule("data without credit, or after EOF"));
                }
            }
            Kind::Eof => sink.end(),
            Kind::Reset => self.stdin = None,
            _ => return Err(ProtocolError::Rule("credit for a stream of the host's")),
        }
        Ok(())
    }
}

fn cgroup_file(cgroup: &str, name: &str) -> std::path::PathBuf {
    Path::new("/sys/fs/cgroup").join(cgroup.trim_start_matches('/')).join(name)
}

/// Which of a container's descriptors an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Stdin,
    Output(usize),
    Exec,
    /// All of them: which one is found out by reading.
    Shares,
}

impl Part {
    fn output(index: usize) -> Self {
        Self::Output(index)
    }
}
