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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_limit_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids_limit: Option<u64>,
    pub cpu_user_microseconds: u64,
    pub cpu_system_microseconds: u64,
    pub network: Traffic,
    pub block: Transfers,
}

/// Of all interfaces but loopback.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Traffic {
    pub received_bytes: u64,
    pub received_packets: u64,
    pub sent_bytes: u64,
    pub sent_packets: u64,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Transfers {
    pub read_bytes: u64,
    pub written_bytes: u64,
}

/// `pid` is somebody whose interfaces count; without one, the machine's do. `disks` are device nodes, asked where the
/// kernel does not count for cgroups.
pub fn stats(cgroup: &str, pid: Option<i32>, disks: impl FnOnce() -> Vec<PathBuf>) -> Stats {
    // "max", where there is no limit, is no number.
    let number = |name: &str| read(cgroup, name).trim().parse().ok();
    let cpu = read(cgroup, "cpu.stat");
    let cpu = |key: &str| keyed(&cpu, key).unwrap_or(0);
    let interfaces = match pid {
        Some(pid) => fs::read_to_string(format!("/proc/{pid}/net/dev")),
        None => fs::read_to_string("/proc/self/net/dev"),
    };
    let block = match fs::read_to_string(file(cgroup, "io.stat")) {
        Ok(text) => counted_for_cgroup(&text),
        Err(_) => counted_for_disks(&disks()),
    };
    Stats {
        memory_bytes: number("memory.current").unwrap_or(0),
        memory_peak_bytes: number("memory.peak").unwrap_or(0),
        pids: number("pids.current").unwrap_or(0),
        cpu_microseconds: cpu("usage_usec"),
        oom_kills: oom_kills(cgroup),
        memory_limit_bytes: number("memory.max"),
        pids_limit: number("pids.max"),
        cpu_user_microseconds: cpu("user_usec"),
        cpu_system_microseconds: cpu("system_usec"),
        network: traffic(&interfaces.unwrap_or_default()),
        block,
    }
}

/// Memory that nothing else can have as long as the cgroup's processes run: what no file has, too.
pub fn held_bytes(cgroup: &str) -> u64 {
    let text = read(cgroup, "memory.stat");
    ["anon", "shmem"].iter().filter_map(|key| keyed(&text, key)).sum()
}

/// <https://man7.org/linux/man-pages/man5/proc_pid_net.5.html>, "dev"
fn traffic(text: &str) -> Traffic {
    let mut sum = Traffic::default();
    for (name, numbers) in text.lines().filter_map(|line| line.split_once(':')) {
        let numbers: Vec<u64> = numbers.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        if name.trim() == "lo" || numbers.len() < 10 {
            continue;
        }
        sum.received_bytes += numbers[0];
        sum.received_packets += numbers[1];
        sum.sent_bytes += numbers[8];
        sum.sent_packets += numbers[9];
    }
    sum
}

/// <https://docs.kernel.org/admin-guide/cgroup-v2.html>, "io.stat"
fn counted_for_cgroup(text: &str) -> Transfers {
    let sum = |key: &str| {
        let words = text.split_whitespace();
        words.filter_map(|word| word.strip_prefix(key)?.strip_prefix('=')?.parse::<u64>().ok()).sum()
    };
    Transfers { read_bytes: sum("rbytes"), written_bytes: sum("wbytes") }
}

/// <https://docs.kernel.org/block/stat.html>
fn counted_for_disks(disks: &[PathBuf]) -> Transfers {
    const SECTOR_BYTES: u64 = 512;
    let mut sum = Transfers::default();
    for name in disks.iter().filter_map(|disk| disk.file_name()) {
        let text = fs::read_to_string(Path::new("/sys/block").join(name).join("stat")).unwrap_or_default();
        let numbers: Vec<u64> = text.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        if let [_, _, read, _, _, _, written, ..] = numbers[..] {
            sum.read_bytes += read * SECTOR_BYTES;
            sum.written_bytes += written * SECTOR_BYTES;
        }
    }
    sum
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
        let row = rows.iter().find(|row| row["name"] == "stats of generation 4").unwrap();
        let stats = Stats {
            memory_bytes: 2_433_024,
            memory_peak_bytes: 4_194_304,
            pids: 3,
            cpu_microseconds: 48_211,
            oom_kills: 1,
            memory_limit_bytes: Some(268_435_456),
            pids_limit: None,
            cpu_user_microseconds: 40_000,
            cpu_system_microseconds: 8_211,
            network: traffic(INTERFACES),
            block: counted_for_cgroup("254:16 rbytes=4096 wbytes=512 rios=1\n254:0 rbytes=1 wbytes=2 x=y\n"),
        };
        assert_eq!(serde_json::to_value(stats).unwrap(), row["value"]);
    }

    const INTERFACES: &str = "Inter-|   Receive                                                |  Transmit\n \
        face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n    \
        lo: 99 9 0 0 0 0 0 0 99 9 0 0 0 0 0 0\n  eth0: 9000 10 0 0 0 0 0 0 700 9 0 0 0 0 0 0\n  \
        tap0:1 1 0 0 0 0 0 0 2 1 0 0 0 0 0 0\n  cut: 5 5\n";

    #[test]
    fn nothing_is_counted_of_what_is_not_understood() {
        for text in ["", ":", "eth0: x y z", "rbytes=-1 wbytes=x rbytes", "eth0: 1 2 3"] {
            assert_eq!(traffic(text), Traffic::default(), "{text}");
            assert_eq!(counted_for_cgroup(text), Transfers::default(), "{text}");
        }
        assert_eq!(counted_for_disks(&[PathBuf::from("/dev/no-such-disk")]), Transfers::default());
    }

    #[test]
    fn paths_stay_below_the_root() {
        assert_eq!(file("/flamebox/a", "x"), Path::new("/sys/fs/cgroup/flamebox/a/x"));
        assert_eq!(file("flamebox/a", "x"), Path::new("/sys/fs/cgroup/flamebox/a/x"));
    }
}
