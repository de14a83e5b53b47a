//! Why libcontainer failed.
//!
//! The container's init hands only its outermost message back ("failed to prepare rootfs"); the reason is in
//! what it logs on the way. So errors that are logged, by the helper and by init, which is its clone, go into a
//! pipe that the helper reads when the create has failed.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::syscall;

/// Longest cause that is told, in bytes.
const MAX_CAUSE_BYTES: usize = 1_024;

/// The pipe's reading end.
pub struct Causes(Option<File>);

/// Collects from now on, for the rest of this process and its clones.
pub fn collect() -> Causes {
    let Ok((read, write)) = syscall::pipe() else { return Causes(None) };
    // Neither end may block: what does not fit is of no interest any more.
    if syscall::set_nonblocking(read.as_fd()).is_err() || syscall::set_nonblocking(write.as_fd()).is_err() {
        return Causes(None);
    }
    match tracing::subscriber::set_global_default(Errors(File::from(write))) {
        Ok(()) => Causes(Some(File::from(read))),
        Err(_) => Causes(None),
    }
}

impl Causes {
    /// The first errors that were logged: they were nearest to the reason.
    pub fn first(mut self) -> Option<String> {
        let mut bytes = vec![0; MAX_CAUSE_BYTES];
        let length = self.0.as_mut()?.read(&mut bytes).ok()?;
        let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
        let lines: Vec<&str> = text.lines().take(2).collect();
        (!lines.is_empty()).then(|| lines.join("; "))
    }
}

struct Errors(File);

impl Subscriber for Errors {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        Some(tracing::level_filters::LevelFilter::ERROR)
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let text = format!("{}{}", line.message, line.fields).replace('\n', " ");
        let _ = (&self.0).write_all(format!("{text}\n").as_bytes());
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, ", {name}: {value:?}"),
        };
    }
}
