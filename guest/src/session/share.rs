//! Between the kernel's FUSE and the host: messages one way, messages the other, and none of them read.
//!
//! ```text
//! /dev/fuse ─► a whole request ─► stream `requests` (as much as there is credit for; the rest waits here)
//! /dev/fuse ◄─ a whole reply ◄── stream `replies` (kept until it is whole)
//! ```
//!
//! A request is only taken from the kernel when the one before has left, and a reply is written as soon as it is
//! whole, which the kernel never holds up; so each share keeps at most one message a direction, and back pressure
//! reaches the processes that use it. When the descriptor is closed the kernel answers everybody who waits, and
//! whoever comes later, with an error.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use super::credit::{Allowance, Window};
use super::link::Link;
use crate::protocol::frame::{Kind, MAX_DATA_BYTES, ProtocolError};

/// Longest message, in bytes: 1 MiB of data, its header, and what comes before the data.
pub const MAX_MESSAGE_BYTES: usize = (1 << 20) + (64 << 10);

/// `struct fuse_out_header`: u32 length, i32 error, u64 unique.
const REPLY_HEADER_BYTES: usize = 16;

/// Messages of one share before everything else has its turn.
const MESSAGES_A_TURN: usize = 32;

/// How long the host may still answer for a container that is to be deleted: its processes cannot end as long as
/// they wait for an answer.
const GRACE: Duration = Duration::from_secs(5);

/// Buffers above this many bytes are given back when they are empty.
const KEPT_BYTES: usize = 64 << 10;

/// The shares of one container.
#[derive(Default)]
pub struct Relays {
    relays: Vec<Relay>,
    /// The kernel hands out nothing to a buffer that could not take the largest request.
    scratch: Vec<u8>,
    deadline: Option<Instant>,
    any: bool,
}

struct Relay {
    requests: u32,
    replies: u32,
    connection: File,
    ready: bool,
    allowance: Allowance,
    unsent: Vec<u8>,
    window: Window,
    reply: Vec<u8>,
}

impl Relays {
    /// `streams` and `connections` belong together one by one: (requests, replies), and the mounted /dev/fuse.
    pub fn new(streams: &[(u32, u32)], connections: Vec<File>) -> Self {
        let relays: Vec<Relay> = streams
            .iter()
            .zip(connections)
            .map(|(&(requests, replies), connection)| Relay::new(requests, replies, connection))
            .collect();
        let scratch = if relays.is_empty() { Vec::new() } else { vec![0; MAX_MESSAGE_BYTES] };
        let any = !relays.is_empty();
        Self { relays, scratch, deadline: None, any }
    }

    /// Whether there are, or were, any.
    pub fn any(&self) -> bool {
        self.any
    }

    /// The descriptors to wait for.
    pub fn files(&self) -> impl Iterator<Item = &File> {
        self.relays.iter().map(|relay| &relay.connection)
    }

    pub fn wake(&mut self) {
        for relay in &mut self.relays {
            relay.ready = true;
        }
    }

    pub fn has_stream(&self, stream: u32) -> bool {
        self.relays.iter().any(|relay| relay.requests == stream || relay.replies == stream)
    }

    /// The host answers no more.
    pub fn disconnect(&mut self) {
        self.relays.clear();
    }

    /// The container is to go: from now on the host has a bounded time for what is still asked.
    pub fn begin_end(&mut self) {
        if !self.relays.is_empty() {
            self.deadline.get_or_insert(Instant::now() + GRACE);
        }
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Carries requests to the host.
    pub fn pump(&mut self, link: &mut Link) {
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            self.deadline = None;
            for relay in self.relays.drain(..) {
                relay.reset(link, "the container is deleted");
            }
        }
        let scratch = &mut self.scratch;
        self.relays.retain_mut(|relay| {
            let over = !relay.pump(link, scratch);
            if over {
                link.send(Kind::Eof, relay.requests, &[]);
            }
            !over
        });
    }

    /// Whether another `pump` would do more, although nothing has happened meanwhile.
    pub fn is_unfinished(&self, link: &Link) -> bool {
        !link.is_crowded() && self.relays.iter().any(Relay::is_unfinished)
    }

    /// Whether `stream` is a share's, after handling the frame if so.
    pub fn handle(
        &mut self,
        kind: Kind,
        stream: u32,
        payload: &[u8],
        link: &mut Link,
    ) -> Result<bool, ProtocolError> {
        let Some(index) =
            self.relays.iter().position(|relay| relay.requests == stream || relay.replies == stream)
        else {
            return Ok(false);
        };
        let relay = &mut self.relays[index];
        let kept = if stream == relay.requests {
            relay.handle_requests(kind, payload)?
        } else {
            relay.handle_replies(kind, payload, link)?
        };
        if let Err(reason) = kept {
            self.relays.remove(index).reset(link, reason);
        }
        Ok(true)
    }
}

/// Whether the share goes on, or why it does not. Only this share ends then.
type Kept = Result<(), &'static str>;

impl Relay {
    fn new(requests: u32, replies: u32, connection: File) -> Self {
        Self {
            requests,
            replies,
            connection,
            ready: true,
            allowance: Allowance::default(),
            unsent: Vec::new(),
            window: Window::default(),
            reply: Vec::new(),
        }
    }

    fn reset(&self, link: &mut Link, reason: &str) {
        for stream in [self.requests, self.replies] {
            link.send(Kind::Reset, stream, reason.as_bytes());
        }
    }

    fn is_unfinished(&self) -> bool {
        self.allowance.available() > 0 && (self.ready || !self.unsent.is_empty())
    }

    /// False when the file system is unmounted.
    fn pump(&mut self, link: &mut Link, scratch: &mut [u8]) -> bool {
        for _ in 0..MESSAGES_A_TURN {
            let unsent = std::mem::take(&mut self.unsent);
            let sent = self.send(link, &unsent);
            if sent < unsent.len() {
                self.unsent = if sent == 0 { unsent } else { unsent[sent..].to_vec() };
                return true;
            }
            if !self.ready || link.is_crowded() || self.allowance.available() == 0 {
                return true;
            }
            match self.connection.read(scratch) {
                Ok(length) => {
                    let sent = self.send(link, &scratch[..length]);
                    self.unsent = scratch[sent..length].to_vec();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.ready = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Whoever asked has given up while the request was being read.
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
                Err(_) => return false,
            }
        }
        true
    }

    /// Sends what the host has given credit for, and says how much that was.
    fn send(&mut self, link: &mut Link, bytes: &[u8]) -> usize {
        let most = bytes.len().min(self.allowance.available() as usize);
        for chunk in bytes[..most].chunks(MAX_DATA_BYTES) {
            link.send(Kind::Data, self.requests, chunk);
        }
        self.allowance.spend(most as u32);
        most
    }

    fn handle_requests(&mut self, kind: Kind, payload: &[u8]) -> Result<Kept, ProtocolError> {
        match (kind, payload) {
            (Kind::Credit, &[a, b, c, d]) => {
                if !self.allowance.raise(u32::from_le_bytes([a, b, c, d])) {
                    return Err(ProtocolError::Rule("credit above 16 MiB"));
                }
                Ok(Ok(()))
            }
            (Kind::Reset, _) => Ok(Err("the host has ended the share")),
            _ => Err(ProtocolError::Rule("the host sends on a stream of the guest's")),
        }
    }

    fn handle_replies(&mut self, kind: Kind, payload: &[u8], link: &mut Link) -> Result<Kept, ProtocolError> {
        match kind {
            Kind::Data => {
                let length = payload.len() as u32;
                if !self.window.receive(length) {
                    return Err(ProtocolError::Rule("data without credit"));
                }
                if let Some(credit) = self.window.take(length) {
                    link.send(Kind::Credit, self.replies, &credit.to_le_bytes());
                }
                Ok(self.receive(payload))
            }
            Kind::Eof | Kind::Reset => Ok(Err("the host has ended the share")),
            _ => Err(ProtocolError::Rule("credit for a stream of the host's")),
        }
    }

    /// Hands every whole reply to the kernel, and keeps what is left.
    fn receive(&mut self, payload: &[u8]) -> Kept {
        let mut kept = std::mem::take(&mut self.reply);
        let bytes = if kept.is_empty() {
            payload
        } else {
            kept.extend_from_slice(payload);
            &kept
        };
        let mut start = 0;
        while let Some(length) = length_of(&bytes[start..])? {
            if bytes.len() - start < length {
                break;
            }
            self.answer(&bytes[start..start + length])?;
            start += length;
        }
        if start == 0 && !kept.is_empty() {
            self.reply = kept;
        } else {
            self.reply = bytes[start..].to_vec();
        }
        if self.reply.is_empty() && self.reply.capacity() > KEPT_BYTES {
            self.reply = Vec::new();
        }
        Ok(())
    }

    fn answer(&mut self, reply: &[u8]) -> Kept {
        match self.connection.write(reply) {
            Ok(_) => Ok(()),
            // Whoever asked was killed, and waits no more; or the file system is unmounted, which a read tells.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV | libc::EPERM)) => {
                Ok(())
            }
            Err(_) => Err("a reply that the kernel refuses"),
        }
    }
}

/// The length of the reply that begins here; None when its header is not all there.
fn length_of(bytes: &[u8]) -> Result<Option<usize>, &'static str> {
    let Some(header) = bytes.first_chunk::<REPLY_HEADER_BYTES>() else { return Ok(None) };
    let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
    if !(REPLY_HEADER_BYTES..=MAX_MESSAGE_BYTES).contains(&length) {
        return Err("a reply of an impossible length");
    }
    // A reply to nothing is an order to the kernel to forget what it knows. It takes the locks of those who wait
    // for the host, and the agent would wait for them.
    if header[8..16] == [0; 8] {
        return Err("a notification, which no server of this protocol sends");
    }
    Ok(Some(length))
}

#[cfg(test)]
#[path = "share_test.rs"]
mod tests;
