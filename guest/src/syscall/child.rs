//! Kernel calls about one child: waiting for it with a deadline, and feeding it.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::{Ending, check, owned};

/// Waits for one child to end.
pub fn wait_for(pid: i32) -> io::Result<Ending> {
    loop {
        let mut status = 0;
        // SAFETY: `status` is a valid place for the kernel to write to.
        match check(unsafe { libc::waitpid(pid, &raw mut status, 0) }) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
            Ok(_) if libc::WIFEXITED(status) => return Ok(Ending::Exited(libc::WEXITSTATUS(status) as u8)),
            Ok(_) if libc::WIFSIGNALED(status) => return Ok(Ending::Killed(libc::WTERMSIG(status))),
            Ok(_) => {}
        }
    }
}

/// Which of two descriptors are readable, or at their end, once one is or the time is over.
pub fn wait_readable(fds: &[BorrowedFd; 2], deadline: std::time::Instant) -> io::Result<[bool; 2]> {
    let left = deadline.saturating_duration_since(std::time::Instant::now());
    let mut polled = fds.map(|fd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 });
    let milliseconds = i32::try_from(left.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: `polled` is an array of as many entries as is said.
    check(unsafe { libc::poll(polled.as_mut_ptr(), 2, milliseconds) })?;
    Ok(polled.map(|entry| entry.revents != 0))
}

/// A file that is nowhere but in memory, closed on exec.
pub fn memory_file(name: &CStr) -> io::Result<File> {
    // SAFETY: `name` ends with a NUL.
    owned(unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) }.into()).map(File::from)
}
