//! `container.changes`: what is different in a container, as records.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use super::upper::{Comparison, Difference};
use crate::protocol::message::Failure;

pub fn changes(comparison: Comparison, to: File) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::failed(format!("the stream: {error}"));
    let mut to = BufWriter::new(to);
    comparison.run(&mut |difference| {
        let (kind, path) = match difference {
            Difference::Directory { path, new, .. } | Difference::File { path, new, .. } => {
                (if new { b"A " } else { b"C " }, path)
            }
            Difference::Gone { path, .. } => (b"D ", path),
        };
        to.write_all(kind)
            .and_then(|()| to.write_all(path))
            .and_then(|()| to.write_all(b"\0"))
            .map_err(failed)
    })?;
    to.flush().map_err(failed)
}
