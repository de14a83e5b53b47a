//! A helper at work on a container's files, processes or limits, and its stream.
//!
//! ```text
//! helper ─► pipe ─► DATA … EOF      an archive to the host: answered before, and broken off with RESET
//! helper ◄─ pipe ◄─ DATA … EOF      an archive from the host: answered at the end
//! helper ─► report                  the answer, then how it ended
//! ```
//!
//! Whatever goes wrong with the stream ends the helper, and what the helper says last, or that it says nothing any more,
//! ends the rest.

use std::os::fd::OwnedFd;

use serde_json::Value;

use super::link::Link;
use super::stream::{Sink, Source};
use crate::protocol::frame::{Kind, ProtocolError};
use crate::protocol::message::Failure;
use crate::runtime::{self, Helper, Report, work};
use crate::syscall;

/// Longest reason of a RESET, in bytes.
const MAX_REASON_BYTES: usize = 1_024;

pub struct Transfer {
    /// The number of its container.
    pub container: u32,
    request: Option<u32>,
    /// Until it was reaped.
    helper: Option<i32>,
    report: OwnedFd,
    /// There may be something to be read from the report.
    reported: bool,
    output: Option<Source>,
    input: Option<Sink>,
    outcome: Option<Result<Value, Failure>>,
}

impl Transfer {
    /// `stream` is the host's name for the pipe.
    pub fn new(container: u32, request: u32, stream: Option<u32>, helper: Helper, end: work::End) -> Self {
        let (mut output, mut input) = (None, None);
        match (stream, end) {
            (Some(stream), work::End::Output(file)) => output = Some(Source::new(stream, Some(file), false)),
            (Some(stream), work::End::Input(file)) => input = Some(Sink::new(stream, Some(file), false)),
            _ => {}
        }
        Self {
            container,
            request: Some(request),
            helper: Some(helper.pid),
            report: helper.report,
            reported: true,
            output,
            input,
            outcome: None,
        }
    }

    pub fn report(&self) -> &OwnedFd {
        &self.report
    }

    pub fn pipe(&self) -> Option<&std::fs::File> {
        self.output.as_ref().and_then(Source::file).or_else(|| self.input.as_ref().and_then(Sink::file))
    }

    pub fn has_stream(&self, stream: u32) -> bool {
        self.output.as_ref().is_some_and(|output| output.stream == Some(stream))
            || self.input.as_ref().is_some_and(|input| input.stream == stream)
    }

    pub fn is_unfinished(&self, link: &Link) -> bool {
        self.output.as_ref().is_some_and(|output| output.is_unfinished(link))
    }

    /// Something has happened with the pipe, or with the report.
    pub fn wake(&mut self) {
        self.reported = true;
        if let Some(output) = &mut self.output {
            output.wake();
        }
        if let Some(input) = &mut self.input {
            input.wake();
        }
    }

    /// Whether the process was its helper.
    pub fn reaped(&mut self, pid: i32) -> bool {
        let is_mine = self.helper == Some(pid);
        if is_mine {
            self.helper = None;
            self.reported = true;
        }
        is_mine
    }

    pub fn kill(&self) {
        if let Some(pid) = self.helper {
            let _ = syscall::kill(pid, libc::SIGKILL);
        }
    }

    /// Nobody is to have it any more.
    pub fn abandon(&mut self, link: &mut Link, reason: &str) {
        self.kill();
        self.end(link, Err(Failure::failed(reason)));
    }

    /// The connection is gone.
    pub fn disconnect(&mut self) {
        self.kill();
        self.request = None;
        self.output = None;
        self.input = None;
        self.outcome.get_or_insert(Ok(Value::Null));
    }

    /// Moves bytes, and passes on what the helper says. False when nothing is left of it.
    pub fn pump(&mut self, link: &mut Link, buffer: &mut [u8]) -> bool {
        self.read_report(link);
        if let Some(input) = &mut self.input
            && !input.pump(link)
        {
            self.input = None;
        }
        let drained = match &mut self.output {
            Some(output) => output.carry(link, buffer),
            None => true,
        };
        match &self.outcome {
            // All of it has to be there before its end.
            Some(Ok(_)) if drained => self.conclude(link),
            Some(Err(_)) => self.conclude(link),
            _ => {}
        }
        self.outcome.is_none() || self.output.is_some() || self.helper.is_some()
    }

    fn read_report(&mut self, link: &mut Link) {
        while self.outcome.is_none() && self.reported {
            match runtime::read_report(&self.report) {
                None => self.reported = false,
                Some((Report::Begun(answer), _)) => self.respond(link, Ok(answer)),
                Some((Report::Done(answer), _)) => self.outcome = Some(Ok(answer)),
                Some((Report::Failed(failure), _)) => self.outcome = Some(Err(failure)),
                Some(_) => {
                    self.outcome = Some(Err(Failure::failed("the runtime helper did another job")));
                }
            }
        }
    }

    fn conclude(&mut self, link: &mut Link) {
        if let Some(outcome) = self.outcome.clone() {
            self.end(link, outcome);
        }
    }

    /// Answers, if that was not done, and ends the streams, if they are still there.
    fn end(&mut self, link: &mut Link, outcome: Result<Value, Failure>) {
        if let Some(stream) = self.output.take().and_then(|output| output.stream) {
            match &outcome {
                Ok(_) => link.send(Kind::Eof, stream, &[]),
                Err(failure) => link.send(Kind::Reset, stream, bounded(&failure.message)),
            }
        }
        if let Some(input) = self.input.take() {
            input.reset(link, "no more of it is wanted");
        }
        self.respond(link, outcome.clone());
        self.outcome.get_or_insert(outcome);
    }

    fn respond(&mut self, link: &mut Link, result: Result<Value, Failure>) {
        if let Some(request) = self.request.take() {
            link.respond(request, result);
        }
    }

    /// Whether `stream` is its, after handling the frame if so.
    pub fn handle(
        &mut self,
        kind: Kind,
        stream: u32,
        payload: &[u8],
        link: &mut Link,
    ) -> Result<bool, ProtocolError> {
        if !self.has_stream(stream) {
            return Ok(false);
        }
        let goes_on = match (&mut self.output, &mut self.input) {
            (Some(output), _) => output.handle(kind, payload)?,
            (None, Some(input)) => input.handle(kind, payload)?,
            (None, None) => true,
        };
        if !goes_on {
            (self.output, self.input) = (None, None);
            self.abandon(link, "the host has broken the stream off");
        }
        Ok(true)
    }
}

fn bounded(reason: &str) -> &[u8] {
    let mut end = reason.len().min(MAX_REASON_BYTES);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    &reason.as_bytes()[..end]
}
