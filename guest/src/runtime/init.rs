//! `"init": true`: the container's process 1 is a small init, and the process that was asked for its only child.
//!
//! It passes on the signals that it gets, takes care of orphans, and ends as its child does. What it is made of is
//! the helper's own memory, so there is nothing to be executed, and nothing in the image that it depends on.

use crate::protocol::message::Failure;
use crate::syscall::{self, Ending, process};

/// As a shell tells a signal in an exit code.
const SIGNALLED: i32 = 128;

/// Never returns: neither here nor in the child, whose `run` returns only when it has failed.
pub fn become_init(run: impl FnOnce() -> Failure) -> ! {
    // Before the child exists, so that no signal is lost.
    process::block_signals();
    let child = syscall::fork_to(|| {
        process::lead_foreground();
        syscall::reset_signals();
        run();
        127
    });
    // The streams are the child's: their ends must not be held up by this process, nor the exec pipe's. Nobody could
    // open them by /proc/1/fd in any case: this process' memory is the agent's, and closed to the container.
    process::close_all();
    process::set_name(c"flamebox-init");
    let code = match child {
        Ok(child) => serve(child),
        Err(_) => 126,
    };
    process::end(code)
}

fn serve(child: i32) -> i32 {
    loop {
        match process::wait_signal() {
            libc::SIGCHLD => {
                while let Some((pid, ending)) = syscall::reap() {
                    if pid == child {
                        return match ending {
                            Ending::Exited(code) => i32::from(code),
                            Ending::Killed(signal) => SIGNALLED + signal,
                        };
                    }
                }
            }
            // Meant for this process: it has no terminal to be stopped by.
            libc::SIGTTIN | libc::SIGTTOU => {}
            signal => drop(syscall::kill(child, signal)),
        }
    }
}
