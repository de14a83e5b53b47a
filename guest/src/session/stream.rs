//! The two directions of a container's streams, between a descriptor that does not block and the link.
//!
//! ```text
//! DATA ─► Sink: buffer (at most the window) ─► pipe or terminal        credit when the process has taken it
//! DATA ◄─ Source: nothing kept; read only what may be sent ◄─ pipe or terminal
//! ```
//!
//! Descriptors are waited for edge-triggered: `ready` says that the kernel may have something, until it says
//! that it has not.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use super::credit::{Allowance, Window};
use super::link::Link;
use crate::protocol::frame::{Kind, MAX_DATA_BYTES, ProtocolError};

/// How long an output may stay open, and silent, after the container's last process has ended.
const LINGER: Duration = Duration::from_millis(500);
/// The same, when another process has yet to hand over what the container's had written.
const RELAYED_LINGER: Duration = Duration::from_secs(10);

/// Reads of one source before everything else has its turn. A process that writes as fast as this side drops
/// would otherwise keep the agent here for ever.
const READS_A_TURN: usize = 16;

/// What a terminal takes for the end of input.
const TERMINAL_EOF: u8 = 0x04;

/// From the host to the process.
pub struct Sink {
    pub stream: u32,
    file: Option<File>,
    terminal: bool,
    buffer: VecDeque<u8>,
    window: Window,
    last: u8,
    ending: bool,
    ready: bool,
}

impl Sink {
    /// `file` may come later: what arrives before is kept.
    pub fn new(stream: u32, file: Option<File>, terminal: bool) -> Self {
        Self {
            stream,
            file,
            terminal,
            buffer: VecDeque::new(),
            window: Window::default(),
            last: b'\n',
            ending: false,
            ready: true,
        }
    }

    pub fn file(&self) -> Option<&File> {
        self.file.as_ref()
    }

    pub fn connect(&mut self, file: File) {
        self.file = Some(file);
        self.ready = true;
    }

    /// False when the host had no credit for it, or had said that it was done.
    #[must_use]
    fn receive(&mut self, bytes: &[u8]) -> bool {
        if self.ending || !self.window.receive(bytes.len() as u32) {
            return false;
        }
        self.last = bytes.last().copied().unwrap_or(self.last);
        self.buffer.extend(bytes);
        true
    }

    /// The host sends no more.
    fn end(&mut self) {
        if self.ending {
            return;
        }
        self.ending = true;
        if self.terminal {
            // Within a line the first one only hands the line over; the second one is the end.
            let times = if self.last == b'\n' { 1 } else { 2 };
            self.buffer.extend(std::iter::repeat_n(TERMINAL_EOF, times));
        }
    }

    /// A frame for this stream. False when the host has broken it off.
    pub fn handle(&mut self, kind: Kind, payload: &[u8]) -> Result<bool, ProtocolError> {
        match kind {
            Kind::Data if !self.receive(payload) => {
                return Err(ProtocolError::Rule("data without credit, or after EOF"));
            }
            Kind::Data => {}
            Kind::Eof => self.end(),
            Kind::Reset => return Ok(false),
            _ => return Err(ProtocolError::Rule("credit for a stream of the host's")),
        }
        Ok(true)
    }

    pub fn wake(&mut self) {
        self.ready = true;
    }

    /// Writes what the process takes. False when the stream is over.
    pub fn pump(&mut self, link: &mut Link) -> bool {
        let Some(file) = &mut self.file else { return true };
        while self.ready && !self.buffer.is_empty() {
            match file.write(self.buffer.as_slices().0) {
                Ok(length) => {
                    self.buffer.drain(..length);
                    if !self.ending
                        && let Some(credit) = self.window.take(length as u32)
                    {
                        link.send(Kind::Credit, self.stream, &credit.to_le_bytes());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.ready = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    self.reset(link, "the process does not read");
                    return false;
                }
            }
        }
        !(self.ending && self.buffer.is_empty())
    }

    /// Tells the host that nobody takes its bytes any more.
    pub fn reset(&self, link: &mut Link, reason: &str) {
        if !self.ending {
            link.send(Kind::Reset, self.stream, reason.as_bytes());
        }
    }
}

/// From the process to the host.
pub struct Source {
    /// None when nobody wants the bytes: they are read and dropped, so that the process is not held up.
    pub stream: Option<u32>,
    file: Option<File>,
    allowance: Allowance,
    ready: bool,
    linger: Duration,
    /// When an output that nobody of the container can write to any more is given up.
    deadline: Option<Instant>,
}

impl Source {
    pub fn new(stream: u32, file: Option<File>, relayed: bool) -> Self {
        let linger = if relayed { RELAYED_LINGER } else { LINGER };
        Self {
            stream: Some(stream),
            file,
            allowance: Allowance::default(),
            ready: true,
            linger,
            deadline: None,
        }
    }

    pub fn file(&self) -> Option<&File> {
        self.file.as_ref()
    }

    pub fn connect(&mut self, file: File) {
        self.file = Some(file);
        self.ready = true;
    }

    /// A frame for this stream. False when the host has broken it off.
    pub fn handle(&mut self, kind: Kind, payload: &[u8]) -> Result<bool, ProtocolError> {
        let goes_on = match (kind, payload) {
            (Kind::Credit, &[a, b, c, d]) => {
                if !self.allowance.raise(u32::from_le_bytes([a, b, c, d])) {
                    return Err(ProtocolError::Rule("credit above 16 MiB"));
                }
                true
            }
            (Kind::Reset, _) => false,
            _ => return Err(ProtocolError::Rule("the host sends on a stream of the guest's")),
        };
        self.wake();
        Ok(goes_on)
    }

    pub fn wake(&mut self) {
        self.ready = true;
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Whether there may be more to read although nothing will wake this side: the turn was over.
    pub fn is_unfinished(&self, link: &Link) -> bool {
        let may_read = match self.stream {
            None => true,
            Some(_) => self.allowance.available() > 0 && !link.is_crowded(),
        };
        self.ready && self.file.is_some() && may_read
    }

    /// Reads what may be sent. `ended` is whether the container's process is gone. False when the stream is
    /// over and its EOF sent.
    pub fn pump(&mut self, link: &mut Link, buffer: &mut [u8], ended: bool) -> bool {
        let over = match &self.file {
            None => ended,
            Some(_) => self.carry(link, buffer) || self.has_lingered(ended),
        };
        if over && let Some(stream) = self.stream {
            link.send(Kind::Eof, stream, &[]);
        }
        !over
    }

    /// Reads what may be sent. True at its end, of which the host is told nothing.
    pub fn carry(&mut self, link: &mut Link, buffer: &mut [u8]) -> bool {
        let Some(file) = &mut self.file else { return true };
        for _ in 0..READS_A_TURN {
            if !self.ready {
                return false;
            }
            let most = match self.stream {
                None => MAX_DATA_BYTES,
                Some(_) if link.is_crowded() => return false,
                Some(_) => MAX_DATA_BYTES.min(self.allowance.available() as usize),
            };
            if most == 0 {
                return false;
            }
            match file.read(&mut buffer[..most]) {
                Ok(0) => return true,
                Ok(length) => {
                    self.deadline = None;
                    if let Some(stream) = self.stream {
                        self.allowance.spend(length as u32);
                        link.send(Kind::Data, stream, &buffer[..length]);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.ready = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // A terminal says EIO when its other side has closed.
                Err(_) => return true,
            }
        }
        false
    }

    /// A process outside the container's pid namespace may hold its pipe; it must not hold up the exit.
    fn has_lingered(&mut self, ended: bool) -> bool {
        if !ended || self.ready {
            return false;
        }
        let now = Instant::now();
        now >= *self.deadline.get_or_insert(now + self.linger)
    }
}
