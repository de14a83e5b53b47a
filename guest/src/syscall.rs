//! The kernel calls that no dependency wraps. Everything unsafe of the agent is here, or says why not.

pub mod child;
pub mod confine;
pub mod process;
pub mod tap;
pub mod tree;

use std::ffi::CStr;
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

/// A descriptor that the kernel has just made, or its error.
fn owned(fd: libc::c_long) -> io::Result<OwnedFd> {
    let fd = check(fd as libc::c_int)?;
    // SAFETY: the kernel has just made this descriptor, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
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
    let fd = check(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) })?;
    // SAFETY: the kernel has just made this descriptor, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Largest list of names and largest value of extended attributes, in bytes: the kernel's own limits.
const MAX_XATTR_BYTES: usize = 65_536;

/// Gives `to` the extended attributes of `from`, but those that `skip` names.
pub fn copy_xattrs(from: BorrowedFd, to: BorrowedFd, skip: impl Fn(&[u8]) -> bool) -> io::Result<()> {
    // Few files have any, and buffers for the most that there could be cost more than the question.
    // SAFETY: no memory is involved.
    let any = size(unsafe { libc::flistxattr(from.as_raw_fd(), std::ptr::null_mut(), 0) })?;
    if any == 0 {
        return Ok(());
    }
    let mut names = vec![0u8; MAX_XATTR_BYTES];
    let mut value = vec![0u8; MAX_XATTR_BYTES];
    // SAFETY: the kernel writes at most as many bytes as it is told the buffer has.
    let length = size(unsafe { libc::flistxattr(from.as_raw_fd(), names.as_mut_ptr().cast(), names.len()) })?;
    for name in names[..length].split_inclusive(|&byte| byte == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else { continue };
        if skip(name.to_bytes()) {
            continue;
        }
        let (from, to, text) = (from.as_raw_fd(), to.as_raw_fd(), name.as_ptr());
        // SAFETY: as above; `name` ends with a NUL.
        let length = size(unsafe { libc::fgetxattr(from, text, value.as_mut_ptr().cast(), value.len()) })?;
        // SAFETY: `value` holds `length` bytes.
        check(unsafe { libc::fsetxattr(to, text, value.as_ptr().cast(), length, 0) })?;
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn set(file: &File, name: &CStr, value: &[u8]) -> io::Result<()> {
        // SAFETY: `name` ends with a NUL, and `value` is as long as it says.
        let result = unsafe {
            libc::fsetxattr(file.as_raw_fd(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0)
        };
        check(result).map(drop)
    }

    fn get(file: &File, name: &CStr) -> Option<Vec<u8>> {
        let mut value = vec![0; 256];
        // SAFETY: as above.
        let length = size(unsafe {
            libc::fgetxattr(file.as_raw_fd(), name.as_ptr(), value.as_mut_ptr().cast(), value.len())
        });
        value.truncate(length.ok()?);
        Some(value)
    }

    #[test]
    fn attributes_are_copied_but_those_that_are_skipped() {
        let place = std::env::temp_dir().join(format!("flamebox-xattr-{}", std::process::id()));
        let [from, to] = ["from", "to"].map(|name| {
            std::fs::create_dir_all(place.join(name)).unwrap();
            File::open(place.join(name)).unwrap()
        });
        if set(&from, c"user.empty", b"").is_err_and(|e| e.raw_os_error() == Some(libc::ENOTSUP)) {
            eprintln!("skipped: the temporary directory's file system has no user attributes");
            return;
        }
        set(&from, c"user.bytes", b"\0\xff").unwrap();
        set(&from, c"user.mark.x", b"1").unwrap();
        copy_xattrs(from.as_fd(), to.as_fd(), |name| name.starts_with(b"user.mark.")).unwrap();
        let _ = std::fs::remove_dir_all(&place);
        assert_eq!(get(&to, c"user.empty").as_deref(), Some(&b""[..]));
        assert_eq!(get(&to, c"user.bytes").as_deref(), Some(&b"\0\xff"[..]));
        assert_eq!(get(&to, c"user.mark.x"), None);
    }
}
