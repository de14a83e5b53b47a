//! A container's cgroup, as the agent reads it and ends it. All of it is the kernel's own text: short, and never
//! held up by anybody.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

const ROOT: &str = "/sys/fs/cgroup";

/// A file of the cgroup that config.json calls `cgroup`.
pub fn file(cgroup: &str, name: &str) -> PathBuf {
    Path::new(ROOT).join(cgroup.trim_start_matches('/')).join(name)
}

/// Ends every process in it and below it.
pub fn kill(cgroup: &str) {
    let _ = fs::write(file(cgroup, "cgroup.kill"), "1");
}

/// Processes in it, or below it, that the kernel has killed for want of memory.
pub fn oom_kills(cgroup: &str) -> u64 {
    keyed(&read(cgroup, "memory.events"), "oom_kill").unwrap_or(0)
}

/// `container.stats`. What this kernel does not count is 0.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    pub memory_bytes: u64,
    pub memory_peak_bytes: u64,
    pub pids: u64,
    pub cpu_microseconds: u64,
    pub oom_kills: u64,
}

pub fn stats(cgroup: &str) -> Stats {
    let number = |name: &str| read(cgroup, name).trim().parse().unwrap_or(0);
    Stats {
        memory_bytes: number("memory.current"),
        memory_peak_bytes: number("memory.peak"),
        pids: number("pids.current"),
        cpu_microseconds: keyed(&read(cgroup, "cpu.stat"), "usage_usec").unwrap_or(0),
        oom_kills: oom_kills(cgroup),
    }
}

fn read(cgroup: &str, name: &str) -> String {
    fs::read_to_string(file(cgroup, name)).unwrap_or_default()
}

/// The value of `key` in a file of lines `key value`.
fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_whole_words() {
        let text = "oom 3\noom_kill 2\noom_group_kill 1\nusage_usec x\n";
        assert_eq!(keyed(text, "oom_kill"), Some(2));
        assert_eq!(keyed(text, "oom_group_kill"), Some(1));
        assert_eq!(keyed(text, "usage_usec"), None);
        assert_eq!(keyed(text, "kill"), None);
        assert_eq!(keyed("", "oom_kill"), None);
    }

    #[test]
    fn stats_are_told_as_agreed_on() {
        let rows: Vec<serde_json::Value> =
            serde_json::from_str(include_str!("../../../protocol/vectors/messages.json")).unwrap();
        let row = rows.iter().find(|row| row["name"] == "stats, counted").unwrap();
        let stats = Stats {
            memory_bytes: 2_433_024,
            memory_peak_bytes: 4_194_304,
            pids: 3,
            cpu_microseconds: 48_211,
            oom_kills: 1,
        };
        assert_eq!(serde_json::to_value(stats).unwrap(), row["value"]);
    }

    #[test]
    fn paths_stay_below_the_root() {
        assert_eq!(file("/flamebox/a", "x"), Path::new("/sys/fs/cgroup/flamebox/a/x"));
        assert_eq!(file("flamebox/a", "x"), Path::new("/sys/fs/cgroup/flamebox/a/x"));
    }
}
