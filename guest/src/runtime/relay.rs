//! Pipes that PID 1 can use beside shares.
//!
//! ```text
//! process ─► pipe ─► relay ─► pipe ─► agent        and the same the other way round for stdin
//! ```
//!
//! A pipe has one lock, and O_NONBLOCK does not keep anybody from waiting for it. A process holds it while the kernel
//! copies between the pipe and a file (sendfile, or a write of mapped memory); when that file is a share's, the copy
//! waits for the host, whose answer PID 1 carries. Were PID 1 to read that pipe now, it would wait for the process,
//! and the process for PID 1, for ever. So whoever has shares is not connected with PID 1, but with a child of its
//! that does nothing else and may wait.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use crate::syscall;

/// As much as a pipe holds.
const BUFFER_BYTES: usize = 65_536;

/// An input: (the process reads, the agent writes).
pub fn input() -> io::Result<(OwnedFd, OwnedFd)> {
    let (from, agent) = syscall::pipe()?;
    let (process, to) = syscall::pipe()?;
    start(from, to)?;
    Ok((process, agent))
}

/// An output: (the agent reads, the process writes).
pub fn output() -> io::Result<(OwnedFd, OwnedFd)> {
    let (from, process) = syscall::pipe()?;
    let (agent, to) = syscall::pipe()?;
    start(from, to)?;
    Ok((agent, process))
}

fn start(from: OwnedFd, to: OwnedFd) -> io::Result<()> {
    let keep = [from.as_raw_fd(), to.as_raw_fd()];
    syscall::fork_to(move || {
        syscall::close_all_but(&keep);
        syscall::reset_signals();
        i32::from(carry(File::from(from), File::from(to)).is_err())
    })?;
    Ok(())
}

/// Until there is nothing more to read, or nobody who would take it.
fn carry(mut from: File, mut to: File) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        if !syscall::wait_to_carry(from.as_fd(), to.as_fd())? {
            return Ok(());
        }
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => to.write_all(&buffer[..length])?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In a thread instead of a child, because a test has more threads than one.
    fn carrying() -> (File, File, std::thread::JoinHandle<io::Result<()>>) {
        let (from, writer) = syscall::pipe().unwrap();
        let (reader, to) = syscall::pipe().unwrap();
        let carrier = std::thread::spawn(move || carry(File::from(from), File::from(to)));
        (File::from(writer), File::from(reader), carrier)
    }

    #[test]
    fn all_bytes_arrive_and_then_the_end() {
        let (mut writer, mut reader, carrier) = carrying();
        let bytes: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
        let sent = bytes.clone();
        let sender = std::thread::spawn(move || writer.write_all(&sent));
        let mut received = Vec::new();
        reader.read_to_end(&mut received).unwrap();
        assert!(received == bytes);
        sender.join().unwrap().unwrap();
        carrier.join().unwrap().unwrap();
    }

    #[test]
    fn a_reader_that_goes_is_noticed_without_a_write() {
        let (writer, reader, carrier) = carrying();
        drop(reader);
        carrier.join().unwrap().unwrap();
        drop(writer);
    }
}
