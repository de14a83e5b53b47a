//! What connects one process with the host: its streams, its terminal, and the pipe that says how its exec went.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use super::link::Link;
use super::stream::{Sink, Source};
use crate::protocol::frame::{Kind, ProtocolError};
use crate::protocol::message::{Code, Failure, StreamIds};
use crate::runtime::{Ends, ExecPipe, ExecReport};
use crate::syscall;

/// How a process is connected: with a terminal of some size in columns and rows, or with pipes.
#[derive(Clone, Copy, Default)]
pub struct Console {
    pub terminal: bool,
    pub size: Option<(u16, u16)>,
}

pub struct Stdio {
    exec: Option<ExecPipe>,
    stdin: Option<Sink>,
    outputs: Vec<Source>,
    terminal: Option<OwnedFd>,
    console: Console,
}

impl Stdio {
    pub fn new(ids: StreamIds, ends: Ends, console: Console) -> Self {
        let relayed = ends.relayed;
        let output =
            |stream: Option<u32>, file: Option<File>| stream.map(|stream| Source::new(stream, file, relayed));
        let stderr = if console.terminal { None } else { ids.stderr };
        Self {
            exec: Some(ends.exec),
            stdin: ids.stdin.map(|stream| Sink::new(stream, ends.stdin, console.terminal)),
            outputs: [output(ids.stdout, ends.stdout), output(stderr, ends.stderr)]
                .into_iter()
                .flatten()
                .collect(),
            terminal: None,
            console,
        }
    }

    /// The descriptors to wait for, with what they are called in events.
    pub fn files(&self) -> impl Iterator<Item = (Part, &File)> {
        let stdin = self.stdin.as_ref().and_then(Sink::file).map(|file| (Part::Stdin, file));
        let exec = self.exec.as_ref().map(|pipe| (Part::Exec, pipe.file()));
        let outputs = self.outputs.iter().enumerate();
        let outputs = outputs.filter_map(|(index, source)| Some((Part::Output(index), source.file()?)));
        stdin.into_iter().chain(exec).chain(outputs)
    }

    /// The terminal's streams begin here; what came for it before was kept.
    pub fn connect(&mut self, terminal: Option<OwnedFd>) -> io::Result<()> {
        let Some(master) = terminal else { return Ok(()) };
        syscall::set_nonblocking(master.as_fd())?;
        if let Some(sink) = &mut self.stdin {
            sink.connect(File::from(syscall::duplicate(&master)?));
        }
        for source in &mut self.outputs {
            source.connect(File::from(syscall::duplicate(&master)?));
        }
        if let Some((columns, rows)) = self.console.size {
            syscall::set_window_size(master.as_fd(), columns, rows)?;
        }
        self.terminal = Some(master);
        Ok(())
    }

    pub fn resize(&mut self, columns: u16, rows: u16) -> Result<(), Failure> {
        match &self.terminal {
            Some(terminal) => syscall::set_window_size(terminal.as_fd(), columns, rows)
                .map_err(|e| Failure::failed(format!("resize: {e}"))),
            // The terminal is made, but is not here yet.
            None if self.console.terminal => {
                self.console.size = Some((columns, rows));
                Ok(())
            }
            None => Err(Failure::new(Code::Conflict, "the process has no terminal")),
        }
    }

    /// How the exec went, once; Pending also when that was told before.
    pub fn poll_exec(&mut self) -> ExecReport {
        let Some(pipe) = &mut self.exec else { return ExecReport::Pending };
        let report = pipe.read();
        if !matches!(report, ExecReport::Pending) {
            self.exec = None;
        }
        report
    }

    /// The process has ended. What it has written is still there to be read.
    pub fn ended(&mut self, link: &mut Link) {
        self.exec = None;
        self.terminal = None;
        if let Some(sink) = self.stdin.take() {
            sink.reset(link, "the process has ended");
        }
        for source in &mut self.outputs {
            source.wake();
        }
    }

    /// Moves bytes both ways. `buffer` is scratch, `ended` whether the process is gone.
    pub fn pump(&mut self, link: &mut Link, buffer: &mut [u8], ended: bool) {
        if let Some(sink) = &mut self.stdin
            && !sink.pump(link)
        {
            self.stdin = None;
        }
        self.outputs.retain_mut(|source| source.pump(link, buffer, ended));
    }

    /// Whether all output was handed over, and its end was told.
    pub fn is_drained(&self) -> bool {
        self.outputs.is_empty()
    }

    /// Whether another `pump` would do more, although nothing has happened meanwhile.
    pub fn is_unfinished(&self, link: &Link) -> bool {
        self.outputs.iter().any(|source| source.is_unfinished(link))
    }

    /// When to look again although nothing happens.
    pub fn deadline(&self) -> Option<Instant> {
        self.outputs.iter().filter_map(Source::deadline).min()
    }

    /// The connection is gone: nobody reads, nobody writes. The process is not to notice, but that its input has
    /// ended.
    pub fn disconnect(&mut self) {
        self.stdin = None;
        for source in &mut self.outputs {
            source.stream = None;
            source.wake();
        }
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
            // Sources may have moved up since the descriptor was registered; an idle look costs nothing.
            Part::Output(_) => self.outputs.iter_mut().for_each(Source::wake),
            Part::Exec => {}
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
    }

    /// Whether `stream` is one of these, after handling the frame if so.
    pub fn handle(&mut self, kind: Kind, stream: u32, payload: &[u8]) -> Result<bool, ProtocolError> {
        if let Some(sink) = self.stdin.as_mut().filter(|sink| sink.stream == stream) {
            if !sink.handle(kind, payload)? {
                self.stdin = None;
            }
            return Ok(true);
        }
        let Some(source) = self.outputs.iter_mut().find(|source| source.stream == Some(stream)) else {
            return Ok(false);
        };
        if !source.handle(kind, payload)? {
            source.stream = None;
        }
        Ok(true)
    }
}

/// Which of a process's descriptors an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Stdin,
    Output(usize),
    Exec,
}

impl Part {
    /// As a small number, for the token of an event.
    pub fn number(self) -> u64 {
        match self {
            Self::Stdin => 0,
            Self::Exec => 1,
            Self::Output(index) => 2 + index as u64,
        }
    }

    pub fn of(number: u64) -> Self {
        match number {
            0 => Self::Stdin,
            1 => Self::Exec,
            index => Self::Output(index as usize - 2),
        }
    }
}
