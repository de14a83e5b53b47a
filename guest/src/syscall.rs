//! The kernel calls that no dependency wraps. Everything unsafe of the agent is here, or says why not.

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

/// Waits for one child to end.
pub fn wait_for(pid: i32) -> io::Result<Ending> {
    loop {
        let mut status = 0;
        // SAFETY: as above.
        match check(unsafe { libc::waitpid(pid, &raw mut status, 0) }) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
            Ok(_) if libc::WIFEXITED(status) => return Ok(Ending::Exited(libc::WEXITSTATUS(status) as u8)),
            Ok(_) if libc::WIFSIGNALED(status) => return Ok(Ending::Killed(libc::WTERMSIG(status))),
            Ok(_) => {}
        }
    }
}

/// A descriptor of a child that becomes readable when it ends.
pub fn open_process(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: no memory is involved.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) } as libc::c_int)?;
    // SAFETY: the kernel has just made this descriptor, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
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
    let fd = check(unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) })?;
    // SAFETY: the kernel has just made this descriptor, and nobody else owns it.
    Ok(File::from(unsafe { OwnedFd::from_raw_fd(fd) }))
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

pub fn set_nonblocking(fd: BorrowedFd) -> io::Result<()> {
    // SAFETY: no memory is involved; O_NONBLOCK is the only status flag the agent sets on its own ends.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) }).map(drop)
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
    let path = path.strip_prefix("/").unwrap_or(path);
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .mode(Mode::empty())
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

/// A directory for calls that want more than a path: unlike `open_directory`, it can be read.
pub fn open_directory_to_read(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let fd = nix::fcntl::open(path, flags, Mode::empty())?;
    // SAFETY: as above.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Binds the calling thread to a filter of its system calls. `flags`: SECCOMP_FILTER_FLAG_*
pub fn load_seccomp_filter(program: &[libc::sock_filter], flags: u64) -> io::Result<()> {
    let length = u16::try_from(program.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // The kernel copies the program and does not write to it.
    let program = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    // SAFETY: the structure describes the slice, which lives until the call is over.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    check(result as libc::c_int).map(drop)
}

/// struct bpf_insn of linux/bpf.h; `registers` has the destination in its lower half, the source in its upper.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BpfInstruction {
    pub code: u8,
    pub registers: u8,
    pub offset: i16,
    pub value: u32,
}

// linux/bpf.h
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_ATTACH: libc::c_int = 8;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
/// Cgroups below may have programs of their own; all of them have to agree.
const BPF_F_ALLOW_MULTI: u32 = 2;

/// Loads a device program and attaches it to a cgroup, which then owns it.
pub fn restrict_devices(cgroup: BorrowedFd, program: &[BpfInstruction]) -> io::Result<()> {
    /// The beginning of union bpf_attr for BPF_PROG_LOAD; the kernel takes what is absent for zero.
    #[repr(C)]
    struct Load {
        kind: u32,
        length: u32,
        instructions: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log: u64,
    }
    #[repr(C)]
    struct Attach {
        target: u32,
        program: u32,
        kind: u32,
        flags: u32,
    }
    let mut load = Load {
        kind: BPF_PROG_TYPE_CGROUP_DEVICE,
        length: program.len() as u32,
        instructions: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
    };
    // SAFETY: the structure has the form of its command, and its pointers live until the call is over.
    let program = check(unsafe { bpf(BPF_PROG_LOAD, &raw mut load) })?;
    // SAFETY: the kernel has just made this descriptor, and nobody else owns it.
    let program = unsafe { OwnedFd::from_raw_fd(program) };
    let mut attach = Attach {
        target: cgroup.as_raw_fd() as u32,
        program: program.as_raw_fd() as u32,
        kind: BPF_CGROUP_DEVICE,
        flags: BPF_F_ALLOW_MULTI,
    };
    // SAFETY: as above.
    check(unsafe { bpf(BPF_PROG_ATTACH, &raw mut attach) }).map(drop)
}

/// # Safety
/// `attributes` has the form that `command` wants.
unsafe fn bpf<T>(command: libc::c_int, attributes: *mut T) -> libc::c_int {
    // SAFETY: the caller's.
    unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>()) as libc::c_int }
}

/// Makes a mount whose symbolic links nobody follows.
pub fn follow_no_links(path: &Path) -> nix::Result<()> {
    // linux/mount.h
    const MOUNT_ATTR_NOSYMFOLLOW: u64 = 0x0020_0000;
    let attributes =
        libc::mount_attr { attr_set: MOUNT_ATTR_NOSYMFOLLOW, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let path =
        std::ffi::CString::new(path.as_os_str().as_encoded_bytes()).map_err(|_| nix::errno::Errno::EINVAL)?;
    // SAFETY: `path` ends with a NUL, and the structure is as long as it says.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            0,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    nix::errno::Errno::result(result).map(drop)
}

/// Gives up the whole machine.
pub fn power_off() -> ! {
    let _ = nix::sys::reboot::reboot(nix::sys::reboot::RebootMode::RB_POWER_OFF);
    // Not reached in a machine that has a power switch; and PID 1 must never return.
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
