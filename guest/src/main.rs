//! PID 1 of a FlameBox machine.
//!
//! ```text
//! init (modules, root, file systems) ─► session (the agent protocol) ─► runtime (containers) ─► mounts
//! ```
//!
//! One process with one thread, which never blocks on anything that a container or the host can hold up. If it
//! cannot go on, the machine is powered off: the host sees that, and a machine that hangs helps nobody.

mod archive;
mod console;
mod enclose;
mod files;
mod init;
mod mounts;
mod netns;
mod protocol;
mod runtime;
mod session;
mod shares;
mod split;
mod syscall;
mod tap;

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = runtime::trigger() {
        return ExitCode::from(code);
    }
    if let Some(code) = enclose::trigger().or_else(netns::trigger) {
        return code;
    }
    // A container can execute its init's own program, which is this one, as /proc/self/exe; and there it is process
    // 1 as well. A machine that has just begun has no /proc.
    if std::process::id() != 1 || std::path::Path::new("/proc/self").exists() {
        console::say("this is the init process of a FlameBox machine; it does nothing elsewhere");
        return ExitCode::from(125);
    }
    std::panic::set_hook(Box::new(|panic| {
        console::say(&panic.to_string());
        // A forked helper that panics is just a helper that failed.
        if std::process::id() == 1 {
            syscall::power_off();
        }
    }));
    let result = init::boot().and_then(|()| session::run());
    if let Err(error) = result {
        console::say(&format!("cannot go on: {error}"));
    }
    syscall::power_off();
}
