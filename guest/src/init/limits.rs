//! What the agent keeps for itself: memory and processes that no container gets, whatever its own limits are.
//!
//! All containers are in one cgroup, `/flamebox`. Its limits are the machine's own, less what the agent, its helpers
//! and the kernel's work for them need. A container that takes all that there is runs into that limit, and the kernel
//! looks for a victim in there; without it, it would look in the whole machine, and, when it finds none, give up.
//!
//! What the kernel counts by user knows no cgroups: root in a container is the same user as the agent.

use std::fs;

use crate::console;

const CONTAINERS: &str = "/sys/fs/cgroup/flamebox";

/// Of the memory, in bytes: so much, and a share of what there is.
const RESERVED_BYTES: u64 = 16 << 20;
const RESERVED_SHARE: u64 = 32;

/// Of the processes that the kernel allows.
const RESERVED_PROCESSES: u64 = 256;

/// What the kernel counts for the machine, or by user, by the largest that it takes. A container could use all of it
/// up and leave nothing for the agent's next process, or for its own. Every one of these costs the container memory
/// that is counted, which is limit enough: open files, and descriptors that are waited for with epoll.
const UNBOUNDED: [&str; 2] = ["/proc/sys/fs/file-max", "/proc/sys/fs/epoll/max_user_watches"];
const MOST: &str = "9223372036854775807";

/// A machine without a limit still does its job, so nothing here ends the boot.
pub fn reserve() {
    for path in UNBOUNDED {
        if let Err(error) = fs::write(path, MOST) {
            console::say(&format!("{path}: {error}"));
        }
    }
    if let Err(error) = fs::create_dir(CONTAINERS) {
        return console::say(&format!("{CONTAINERS}: {error}"));
    }
    enable_controllers(CONTAINERS);
    let information = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    limit("memory.max", available_bytes(&information).map(memory_limit));
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let processes = ["/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max"].map(number);
    limit("pids.max", processes.into_iter().flatten().min().map(process_limit));
}

fn limit(name: &str, value: Option<u64>) {
    let Some(value) = value else { return };
    if let Err(error) = fs::write(format!("{CONTAINERS}/{name}"), value.to_string()) {
        console::say(&format!("{CONTAINERS}/{name}: {error}"));
    }
}

fn memory_limit(available: u64) -> u64 {
    available.saturating_sub(RESERVED_BYTES + available / RESERVED_SHARE)
}

/// At least half is left, should the kernel allow fewer than one would think.
fn process_limit(allowed: u64) -> u64 {
    allowed.saturating_sub(RESERVED_PROCESSES).max(allowed / 2)
}

/// proc_meminfo(5). What could be given to programs; the kernel's own is not in it.
fn available_bytes(information: &str) -> Option<u64> {
    let line = information.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

/// One controller at a time: writing them together would fail as a whole for the sake of one.
pub fn enable_controllers(cgroup: &str) {
    let Ok(controllers) = fs::read_to_string(format!("{cgroup}/cgroup.controllers")) else { return };
    for controller in controllers.split_whitespace() {
        let _ = fs::write(format!("{cgroup}/cgroup.subtree_control"), format!("+{controller}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn available_memory() {
        for (text, bytes) in [
            ("MemTotal: 9 kB\nMemAvailable:     482100 kB\n", Some(482_100 << 10)),
            ("MemAvailable: 1\n", None),
            ("MemAvailable: 99999999999999999999 kB\n", None),
            ("", None),
        ] {
            assert_eq!(available_bytes(text), bytes, "{text:?}");
        }
    }

    #[test]
    fn something_is_left_and_something_is_kept() {
        assert_eq!(memory_limit(480 << 20), (480 - 16 - 15) << 20);
        assert_eq!(memory_limit(1 << 20), 0);
        assert_eq!(process_limit(32_768), 32_512);
        assert_eq!(process_limit(300), 150);
    }
}
