//! What a process can be and join: its namespaces, its terminal, who it is.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use super::{check, owned};

/// A process, whatever becomes of its number.
pub fn open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: no memory is involved.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })
}

/// Waits until one of two processes, by `open`, has ended.
pub fn either_ends(one: &OwnedFd, other: &OwnedFd) -> io::Result<()> {
    let entry = |fd: &OwnedFd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let mut entries = [entry(one), entry(other)];
    loop {
        // SAFETY: the kernel writes to the two entries that it is told of.
        match check(unsafe { libc::poll(entries.as_mut_ptr(), 2, -1) }) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other.map(drop),
        }
    }
}

/// Ends a process, if it has not ended yet.
pub fn send_kill(process: &OwnedFd) -> io::Result<()> {
    let nothing = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: without information of its own, the kernel reads nothing.
    let result =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), libc::SIGKILL, nothing, 0) };
    match check(result as libc::c_int) {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        other => other.map(drop),
    }
}

/// Whether nobody has the other end of a pipe any more.
pub fn is_hung_up(pipe: &OwnedFd) -> io::Result<bool> {
    let mut entry = libc::pollfd { fd: pipe.as_raw_fd(), events: 0, revents: 0 };
    // SAFETY: the kernel writes to the one entry that it is told of.
    check(unsafe { libc::poll(&raw mut entry, 1, 0) })?;
    Ok(entry.revents & libc::POLLHUP != 0)
}

/// Waits until a child has ended. Its status, as the kernel has it.
pub fn wait_for(child: i32) -> io::Result<i32> {
    loop {
        let mut status = 0;
        // SAFETY: `status` is a valid place for the kernel to write to.
        match check(unsafe { libc::waitpid(child, &raw mut status, 0) }) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other.map(|_| status),
        }
    }
}

/// Ends this process as another one did, without a core file of its own.
pub fn end_as(status: i32) -> ! {
    if libc::WIFSIGNALED(status) {
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the kernel reads one rlimit; nothing else is involved.
        unsafe {
            libc::setrlimit(libc::RLIMIT_CORE, &raw const none);
            libc::signal(libc::WTERMSIG(status), libc::SIG_DFL);
            libc::kill(libc::getpid(), libc::WTERMSIG(status));
        }
    }
    let code = if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 255 };
    // SAFETY: ends the process.
    unsafe { libc::_exit(code) }
}

/// Joins namespaces: of a process, all those in `kinds`; or the one that `target` is.
pub fn join_namespaces(target: BorrowedFd, kinds: libc::c_int) -> io::Result<()> {
    // SAFETY: no memory is involved; the agent's helpers have one thread, as some namespaces demand.
    check(unsafe { libc::setns(target.as_raw_fd(), kinds) }).map(drop)
}

/// Whether others of the same user may look into this process, which the next exec decides anew.
pub fn set_dumpable(dumpable: bool) -> io::Result<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, libc::c_ulong::from(dumpable), 0, 0, 0) }).map(drop)
}

pub fn set_no_new_privileges() -> io::Result<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }).map(drop)
}

pub fn set_personality(domain: libc::c_ulong) -> io::Result<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::personality(domain) }).map(drop)
}

/// Makes `terminal` the controlling one of the session that this process leads.
pub fn control_terminal(terminal: BorrowedFd) -> io::Result<()> {
    // SAFETY: TIOCSCTTY takes a number.
    check(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) }).map(drop)
}

/// Allows the other end of a new terminal to be opened.
pub fn unlock_terminal(master: BorrowedFd) -> io::Result<()> {
    let unlocked: libc::c_int = 0;
    // SAFETY: TIOCSPTLCK reads one int.
    check(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlocked) }).map(drop)
}

/// Makes the group of this process, which leads it from now on, the one that a terminal as stdin talks to.
pub fn lead_foreground() {
    // SAFETY: no memory is involved; SIGTTOU would stop a process that is not in the foreground yet, and the
    // caller has it blocked. Without a terminal the second call fails, which is as well.
    unsafe {
        libc::setpgid(0, 0);
        libc::tcsetpgrp(0, libc::getpid());
    }
}

/// Blocks every signal that can be blocked.
pub fn block_signals() {
    // SAFETY: plain calls with a valid set.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
    }
}

/// Waits for the next of the blocked signals.
pub fn wait_signal() -> i32 {
    loop {
        // SAFETY: plain calls with a valid set; the kernel writes nothing when there is no place for it.
        let signal = unsafe {
            let mut all: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&raw mut all);
            libc::sigwaitinfo(&raw const all, std::ptr::null_mut())
        };
        if signal > 0 {
            return signal;
        }
    }
}

/// Closes every descriptor. For a process that opens no other from then on.
pub fn close_all() {
    // SAFETY: the caller uses none of them any more.
    unsafe {
        // A filter of system calls may not know this one.
        if libc::syscall(libc::SYS_close_range, 0, u32::MAX, 0) != 0 {
            for fd in 0..1_024 {
                libc::close(fd);
            }
        }
    }
}

/// What `ps` shows of this process; at most 15 bytes.
pub fn set_name(name: &std::ffi::CStr) {
    // SAFETY: the kernel reads a string that ends. A name that is not set is no harm.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}

pub fn end(code: i32) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(code) }
}

/// Changes user and group for good. Capabilities stay permitted, and are the caller's to set afterwards.
pub fn become_user(uid: u32, gid: u32) -> io::Result<()> {
    // SAFETY: no memory is involved; a process with one thread needs no library to tell the others.
    unsafe {
        check(libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0))?;
        check(libc::syscall(libc::SYS_setresgid, gid, gid, gid) as libc::c_int)?;
        check(libc::syscall(libc::SYS_setresuid, uid, uid, uid) as libc::c_int)?;
    }
    Ok(())
}

/// At most niceness -20, and that of a new process only as much as it was given by itself.
pub fn set_niceness(niceness: libc::c_int) -> io::Result<()> {
    let ordinary = libc::sched_param { sched_priority: 0 };
    let policy = libc::SCHED_OTHER | libc::SCHED_RESET_ON_FORK;
    // SAFETY: the kernel reads one sched_param.
    check(unsafe { libc::sched_setscheduler(0, policy, &raw const ordinary) })?;
    // SAFETY: no memory is involved.
    check(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, niceness) }).map(drop)
}
