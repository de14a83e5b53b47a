//! The numbers of system calls.

use std::sync::OnceLock;

use libc::{SYS_execve, SYS_write};

/// One of the three sets of numbers that an x86-64 kernel answers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abi {
    X86_64,
    X86,
    X32,
}

/// x32 calls come as x86-64 ones with this bit.
pub const X32_BIT: u32 = 0x4000_0000;

const TABLE: &str = include_str!("syscalls.tbl");

/// A name's numbers.
pub struct Numbers<'a>(&'a str);

pub fn find(name: &str) -> Option<Numbers<'static>> {
    let rows = rows();
    rows.binary_search_by_key(&name, |(name, _)| name).ok().map(|found| Numbers(rows[found].1))
}

/// Names and numbers, by name. A profile asks some thousand times, and each process that is executed into a container
/// has its filter made: so the text is read once.
fn rows() -> &'static [(&'static str, &'static str)] {
    static ROWS: OnceLock<Vec<(&str, &str)>> = OnceLock::new();
    ROWS.get_or_init(|| {
        let lines = TABLE.lines().filter(|line| !line.starts_with('#'));
        let mut rows: Vec<_> = lines
            .flat_map(|line| line.split(';'))
            .filter_map(|row| row.trim_start().split_once(' '))
            .collect();
        rows.sort_unstable();
        rows
    })
}

impl Numbers<'_> {
    /// The number of that set, x32's with its bit; None when the set lacks the call.
    pub fn of(&self, abi: Abi) -> Option<u32> {
        let mut columns = self.0.split(' ');
        let number = match abi {
            Abi::X86_64 => columns.next(),
            Abi::X86 => columns.nth(1),
            Abi::X32 => columns.nth(2),
        };
        let number: u32 = number?.parse().ok()?;
        Some(if abi == Abi::X32 { number | X32_BIT } else { number })
    }
}

/// The i386 calls that carry others inside: the name and number, the mask of the first argument that says which, and
/// the other's number there. Old C libraries make sockets with nothing else.
/// Sources: linux/net.h, linux/ipc.h
pub fn inside_of(name: &str) -> Option<(&'static str, u32, u64, u64)> {
    const SOCKETS: &[&str] = &[
        "socket",
        "bind",
        "connect",
        "listen",
        "accept",
        "getsockname",
        "getpeername",
        "socketpair",
        "send",
        "recv",
        "sendto",
        "recvfrom",
        "shutdown",
        "setsockopt",
        "getsockopt",
        "sendmsg",
        "recvmsg",
        "accept4",
        "recvmmsg",
        "sendmmsg",
    ];
    const IPC: &[(&str, u64)] = &[
        ("semop", 1),
        ("semget", 2),
        ("semctl", 3),
        ("semtimedop", 4),
        ("msgsnd", 11),
        ("msgrcv", 12),
        ("msgget", 13),
        ("msgctl", 14),
        ("shmat", 21),
        ("shmdt", 22),
        ("shmget", 23),
        ("shmctl", 24),
    ];
    const SOCKETCALL: u32 = 102;
    const IPC_CALL: u32 = 117;
    if let Some(index) = SOCKETS.iter().position(|known| *known == name) {
        return Some(("socketcall", SOCKETCALL, 0xffff_ffff, index as u64 + 1));
    }
    // The upper half of ipc's first argument is a version.
    IPC.iter().find(|(known, _)| *known == name).map(|(_, call)| ("ipc", IPC_CALL, 0xffff, *call))
}

// The table and the C library have to mean the same.
const _: () = assert!(SYS_execve == 59 && SYS_write == 1);
