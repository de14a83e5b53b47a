//! One connection after another over the transport: frames in, frames out, and the opening.

use std::io::{self, ErrorKind};
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use serde_json::json;

use super::transport::Transport;
use crate::console;
use crate::protocol::GENERATION;
use crate::protocol::frame::{self, Decoder, Frame, Kind, ProtocolError};
use crate::protocol::message::{self, Failure, Hello};

/// Above this many bytes waiting for the host, no more output is read from containers.
const CROWDED_BYTES: usize = 262_144;
/// Above this many, no more requests are read from the host either.
const FULL_BYTES: usize = 8 << 20;

const READ_BYTES: usize = 65_536;

/// How long the transport has to say that nobody is there before it is believed. A port tells who is connected
/// on another queue than the data: when a host goes and the next one comes, the new HELLO may overtake both.
const ABSENCE: Duration = Duration::from_millis(200);

pub struct Link {
    transport: Box<dyn Transport>,
    decoder: Decoder,
    outgoing: Vec<u8>,
    sent: usize,
    open: bool,
    absent_since: Option<Instant>,
    input: Vec<u8>,
    kernel: String,
}

/// What came out of the connection.
pub enum Received {
    Frame(Frame),
    /// The host's HELLO was answered: everything of an earlier connection is void.
    Opened,
    /// The connection is over.
    Closed,
    /// Nothing more for now.
    Nothing,
}

impl Link {
    pub fn new(transport: Box<dyn Transport>, kernel: String) -> Self {
        Self {
            transport,
            decoder: Decoder::default(),
            outgoing: Vec::new(),
            sent: 0,
            open: false,
            absent_since: None,
            input: vec![0; READ_BYTES],
            kernel,
        }
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.transport.fd()
    }

    pub fn is_open(&self) -> bool {
        self.open
    }

    pub fn is_crowded(&self) -> bool {
        self.waiting() > CROWDED_BYTES
    }

    pub fn has_waiting(&self) -> bool {
        self.waiting() > 0
    }

    fn waiting(&self) -> usize {
        self.outgoing.len() - self.sent
    }

    /// The next thing from the host. An error is the end of the transport, not of a connection.
    pub fn receive(&mut self) -> io::Result<Received> {
        loop {
            match self.decoder.next_frame() {
                Ok(Some(frame)) if frame.kind == Kind::Hello => return self.greet(&frame.payload),
                Ok(Some(frame)) if self.open => return Ok(Received::Frame(frame)),
                Ok(Some(_)) => return self.refuse(&ProtocolError::Rule("a frame before HELLO")),
                Ok(None) => {}
                Err(error) => return self.refuse(&error),
            }
            if self.waiting() > FULL_BYTES {
                return Ok(Received::Nothing);
            }
            match self.transport.read(&mut self.input) {
                Ok(0) => return Ok(self.miss_peer()),
                Ok(length) => {
                    self.absent_since = None;
                    self.decoder.push(&self.input[..length]);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.absent_since = None;
                    return Ok(Received::Nothing);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::NotConnected => {
                    self.forget();
                    return Ok(Received::Closed);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn miss_peer(&mut self) -> Received {
        // Half a frame of a host that went away is nothing to go on with.
        self.decoder = Decoder::default();
        if !self.open {
            return Received::Nothing;
        }
        let now = Instant::now();
        if now < *self.absent_since.get_or_insert(now) + ABSENCE {
            return Received::Nothing;
        }
        self.forget();
        Received::Closed
    }

    /// When to look again whether the host is still away.
    pub fn deadline(&self) -> Option<Instant> {
        self.absent_since.map(|since| since + ABSENCE)
    }

    fn greet(&mut self, payload: &[u8]) -> io::Result<Received> {
        let Ok(hello) = message::parse::<Hello>(payload) else {
            return self.refuse(&ProtocolError::Rule("a HELLO that is none"));
        };
        // Whatever was on its way to an earlier connection is of no use to this one; but a frame that has left
        // in part must be finished, or the host could not find the next one.
        self.keep_partial_frame();
        self.open = true;
        let answer = json!({
            "generation": hello.generation.clamp(1, GENERATION),
            "agent": env!("CARGO_PKG_VERSION"),
            "kernel": self.kernel,
        });
        frame::encode(&mut self.outgoing, Kind::Hello, 0, answer.to_string().as_bytes());
        Ok(Received::Opened)
    }

    /// Drops all whole frames that have not begun to leave.
    fn keep_partial_frame(&mut self) {
        let mut end = 0;
        while end < self.sent {
            let length = u32::from_le_bytes([
                self.outgoing[end],
                self.outgoing[end + 1],
                self.outgoing[end + 2],
                self.outgoing[end + 3],
            ]);
            end += frame::HEADER_BYTES + length as usize;
        }
        self.outgoing.truncate(end);
    }

    /// A protocol error: the connection is closed, and whoever connects next may start anew.
    pub fn refuse(&mut self, error: &ProtocolError) -> io::Result<Received> {
        console::say(&format!("protocol error: {error}"));
        self.forget();
        self.transport.reconnect()?;
        Ok(Received::Closed)
    }

    /// The last thing that is done with it.
    pub fn finish(&mut self) {
        self.transport.finish();
    }

    fn forget(&mut self) {
        self.open = false;
        self.absent_since = None;
        self.decoder = Decoder::default();
        self.outgoing.clear();
        self.sent = 0;
    }

    /// Queues a frame; without a connection it is dropped.
    pub fn send(&mut self, kind: Kind, id: u32, payload: &[u8]) {
        if self.open {
            frame::encode(&mut self.outgoing, kind, id, payload);
        }
    }

    pub fn respond(&mut self, id: u32, result: Result<serde_json::Value, Failure>) {
        let answer = match result {
            Ok(result) => json!({"result": result}),
            Err(failure) => json!({"error": failure}),
        };
        self.send(Kind::Response, id, answer.to_string().as_bytes());
    }

    /// Writes what the transport takes; true when it took something.
    pub fn flush(&mut self) -> io::Result<bool> {
        let mut written = 0;
        while self.waiting() > 0 {
            match self.transport.write(&self.outgoing[self.sent..]) {
                Ok(0) => break,
                Ok(length) => {
                    self.sent += length;
                    written += length;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // The host is gone; the read side learns of it and puts things in order.
                Err(error) if error.raw_os_error() == Some(libc::EPIPE) => break,
                Err(error) => return Err(error),
            }
        }
        if self.waiting() == 0 {
            self.outgoing.clear();
            self.sent = 0;
        } else if self.sent > CROWDED_BYTES {
            self.compact();
        }
        Ok(written > 0)
    }

    /// Drops the whole frames that have left. The one that has left in part stays, for `keep_partial_frame`.
    fn compact(&mut self) {
        let mut start = 0;
        loop {
            let header = &self.outgoing[start..start + 4];
            let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
            if start + frame::HEADER_BYTES + length > self.sent {
                break;
            }
            start += frame::HEADER_BYTES + length;
        }
        self.outgoing.drain(..start);
        self.sent -= start;
    }
}

#[cfg(test)]
#[path = "link_test.rs"]
mod tests;
