//! The kernel calls that no dependency wraps. Everything unsafe of the agent is here, or says why not.

pub mod child;
pub mod confine;
pub mod process;
pub mod tap;
pub mod tree;
pub mod xattrs;

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::Mode;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Exited(u8),
    Killed(i32),
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A descriptor that the kernel has just made, or why it made none.
fn owned(result: libc::c_long) -> io::Result<OwnedFd> {
    let fd = check(result as libc::c_int)?;
    // SAFETY: the kernel has just made this descriptor, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_encoded_bytes()).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// One child that has ended, if any has. Real-time signals included, which wrappers with an enum of signals
/// turn into an error after the status is gone.
pub fn reap() -> Option<(i32, Ending)> {
    loop {
        let mut status = 0;
        // SAFETY: `status` is a valid place for the kernel to write to.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
        if pid <= 0 {
            return None;
        }
        if libc::WIFEXITED(status) {
            return Some((pid, Ending::Exited(libc::WEXITSTATUS(status) as u8)));
        }
        if libc::WIFSIGNALED(status) {
            return Some((pid, Ending::Killed(libc::WTERMSIG(status))));
        }
    }
}

pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// Forks. The child runs `body` and ends with its result; nothing of the parent's is ever dropped in it.
/// Only for a process with one thread, as the agent is.
pub fn fork_to(body: impl FnOnce() -> i32) -> io::Result<i32> {
    // SAFETY: the process has one thread, so the child may use the allocator and every lock.
    match check(unsafe { libc::fork() })? {
        0 => {
            let code = body();
            // SAFETY: ends the process.
            unsafe { libc::_exit(code) }
        }
        pid => Ok(pid),
    }
}

/// Closes every descriptor above 2 but those in `keep`.
pub fn close_all_but(keep: &[RawFd]) {
    let mut keep: Vec<u32> = keep.iter().filter(|&&fd| fd > 2).map(|&fd| fd as u32).collect();
    keep.sort_unstable();
    let mut first = 3u32;
    for fd in keep.into_iter().chain([u32::MAX]) {
        if fd > first {
            // SAFETY: used right after a fork, in a child that touches none of the descriptors it closes.
            unsafe { libc::syscall(libc::SYS_close_range, first, fd - 1, 0) };
        }
        first = fd.saturating_add(1);
    }
}

/// Signal dispositions and mask as a program expects them, instead of the agent's.
pub fn reset_signals() {
    // SAFETY: plain calls with valid, zeroed sets; no handler of the agent's is left behind.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

pub fn set_window_size(terminal: BorrowedFd, columns: u16, rows: u16) -> io::Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCSWINSZ reads one winsize.
    check(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) }).map(drop)
}

/// The other end of a terminal's master. Asked of the master, because its name means nothing outside the
/// container that made it.
pub fn open_terminal(master: BorrowedFd) -> io::Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: TIOCGPTPEER takes flags and no pointer.
    owned(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) }.into())
}

fn size(result: libc::ssize_t) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Waits until `from` can be read, or has ended. False when nobody reads from the other end of `to` any more.
pub fn wait_to_carry(from: BorrowedFd, to: BorrowedFd) -> io::Result<bool> {
    let entry = |fd: BorrowedFd, events| libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 };
    let mut entries = [entry(from, libc::POLLIN), entry(to, 0)];
    loop {
        // SAFETY: the kernel writes to the two entries that it is told of.
        match check(unsafe { libc::poll(entries.as_mut_ptr(), 2, -1) }) {
            Ok(_) => return Ok(entries[1].revents & libc::POLLERR == 0),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// How many descriptors this process may have.
pub fn limit_descriptors(number: libc::rlim_t) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: number, rlim_max: number };
    // SAFETY: the kernel reads one rlimit.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }).map(drop)
}

pub fn set_nonblocking(fd: BorrowedFd) -> io::Result<()> {
    // SAFETY: no memory is involved; O_NONBLOCK is the only status flag the agent sets on its own ends.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) }).map(drop)
}

/// Writes everything of the file system that `file` is on to its disk.
pub fn sync_file_system(file: BorrowedFd) -> io::Result<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::syncfs(file.as_raw_fd()) }).map(drop)
}

/// A pipe whose ends are closed on exec: (read, write).
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(nix::unistd::pipe2(OFlag::O_CLOEXEC)?)
}

// linux/random.h
const RNDADDENTROPY: libc::Ioctl = 0x4008_5203;
const RNDRESEEDCRNG: libc::Ioctl = 0x5207;

/// Most entropy that one call takes, in bytes.
pub const MAX_ENTROPY_BYTES: usize = 512;

/// Credits `bytes` as entropy and makes the kernel's generator use them at once.
pub fn add_entropy(bytes: &[u8]) -> io::Result<()> {
    // struct rand_pool_info { int entropy_count /* bits */; int buf_size /* bytes */; __u32 buf[]; }
    let mut info = [0u32; 2 + MAX_ENTROPY_BYTES / 4];
    info[0] = bytes.len() as u32 * 8;
    info[1] = bytes.len() as u32;
    for (word, chunk) in info[2..].iter_mut().zip(bytes.chunks(4)) {
        let mut padded = [0; 4];
        padded[..chunk.len()].copy_from_slice(chunk);
        *word = u32::from_ne_bytes(padded);
    }
    let random = File::options().write(true).open("/dev/urandom")?;
    // SAFETY: `info` holds the two counts and at least `buf_size` bytes; the caller keeps to the maximum,
    // which the zip above enforces for the copy.
    check(unsafe { libc::ioctl(random.as_raw_fd(), RNDADDENTROPY, info.as_ptr()) })?;
    // SAFETY: takes no argument.
    check(unsafe { libc::ioctl(random.as_raw_fd(), RNDRESEEDCRNG, 0) }).map(drop)
}

/// Opens `path` as the container would see it: symbolic links, `..` and absolute targets stay below `root`,
/// and no magic link of a mounted /proc is followed.
pub fn open_in_root(root: BorrowedFd, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
    create_in_root(root, path, flags, 0)
}

/// As `open_in_root`; with O_CREAT, a file that is made gets this mode.
pub fn create_in_root(root: BorrowedFd, path: &Path, flags: OFlag, mode: u32) -> nix::Result<OwnedFd> {
    let path = path.strip_prefix("/").unwrap_or(path);
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .mode(Mode::from_bits_truncate(mode))
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let fd = openat2(root.as_raw_fd(), path, how)?;
    // SAFETY: the kernel has just made this descriptor, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

pub fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let fd = nix::fcntl::open(path, flags, Mode::empty())?;
    // SAFETY: as above.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Gives up the whole machine. By a restart, which every VMM of FlameBox's takes for the end: Firecracker's
/// machines have no power switch.
pub fn power_off() -> ! {
    let _ = nix::sys::reboot::reboot(nix::sys::reboot::RebootMode::RB_AUTOBOOT);
    // Not reached; and PID 1 must never return.
    loop {
        nix::unistd::pause();
    }
}

/// Duplicates a descriptor, closed on exec.
pub fn duplicate(fd: impl AsFd) -> io::Result<OwnedFd> {
    fd.as_fd().try_clone_to_owned()
}
