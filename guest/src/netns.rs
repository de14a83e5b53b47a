//! A network namespace on the host whose interface is a machine's, as a program of its own for root:
//!
//! ```text
//! flamebox-agent netns make PATH              a new one, which only its name at PATH keeps
//! flamebox-agent netns carry PATH             "52:54:00:12:34:56 1500": its interface's MAC and MTU; then carries frames
//! flamebox-agent netns restore PATH ADDRESS…  gives the interface the addresses back that `carry` took away
//! flamebox-agent netns drop PATH              takes the name away, and with it the namespace
//!
//! guest ─ VMM ─ … ─ descriptor 3, each frame behind its length (u32be) ─ a packet socket ─ eth0 ─ the host's network
//! ```
//!
//! A plugin of CNI makes the interface and gives it addresses, which are the guest's: as long as the namespace's own
//! kernel had them, it would answer in the guest's place. The same plugin looks at them when it cleans up.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::net::IpAddr;
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::getppid;

use crate::console;
use crate::enclose::{let_go, live_with};
use crate::init::interface::{INTERFACE, Sockets};
use crate::init::network::parse_prefix;
use crate::syscall::tap as device;
use crate::tap::{self, STREAM_FD};

const COMMAND: &str = "netns";
const FAILED: u8 = 125;
/// As many as the guest takes.
const MOST_ADDRESSES: usize = 16;

#[derive(Debug, PartialEq)]
enum Job {
    Make,
    Carry,
    Restore(Vec<(IpAddr, u8)>),
    Drop,
}

/// Does its work if this is what the program was started for.
pub fn trigger() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    if args.next()? != COMMAND {
        return None;
    }
    match parse(args).and_then(|(job, path)| run(&job, &path)) {
        Ok(()) => Some(ExitCode::SUCCESS),
        Err(error) => {
            console::say(&format!("netns: {error}"));
            Some(ExitCode::from(FAILED))
        }
    }
}

fn parse(args: impl Iterator<Item = OsString>) -> io::Result<(Job, PathBuf)> {
    let refuse = |what: &str| io::Error::new(ErrorKind::InvalidInput, what.to_owned());
    let words = args.map(OsString::into_string).collect::<Result<Vec<_>, _>>();
    let words = words.map_err(|_| refuse("an argument that is no text"))?;
    let [job, path, addresses @ ..] = words.as_slice() else { return Err(refuse("no job, or no path")) };
    if !Path::new(path).is_absolute() {
        return Err(refuse("a path that is not absolute"));
    }
    let job = match (job.as_str(), addresses) {
        ("make", []) => Job::Make,
        ("carry", []) => Job::Carry,
        ("drop", []) => Job::Drop,
        ("restore", [_, ..]) if addresses.len() <= MOST_ADDRESSES => Job::Restore(
            addresses
                .iter()
                .map(|text| parse_prefix(text).ok_or_else(|| refuse("what is no address")))
                .collect::<Result<_, _>>()?,
        ),
        _ => return Err(refuse("what it cannot do")),
    };
    Ok((job, path.into()))
}

fn run(job: &Job, path: &Path) -> io::Result<()> {
    match job {
        Job::Make => make(path),
        Job::Carry => carry(path),
        Job::Restore(addresses) => restore(path, addresses),
        Job::Drop => remove(path),
    }
}

fn at(what: &str, error: impl Into<io::Error>) -> io::Error {
    let error = error.into();
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// The same files and mounts as `ip netns add`'s, so that other tools find it.
fn make(path: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).open(path).map_err(|e| at("name", e))?;
    let none: Option<&str> = None;
    let made = unshare(CloneFlags::CLONE_NEWNET)
        .and_then(|()| mount(Some("/proc/self/ns/net"), path, none, MsFlags::MS_BIND, none));
    if let Err(error) = made {
        let _ = fs::remove_file(path);
        return Err(at("namespace", error));
    }
    // A new one takes this from the host's, and must never hand anything on by itself.
    let _ = fs::write("/proc/sys/net/ipv4/ip_forward", "0");
    let _ = fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "0");
    Ok(())
}

fn remove(path: &Path) -> io::Result<()> {
    match umount2(path, MntFlags::MNT_DETACH) {
        // Not mounted, or not there: what is left is at most a file.
        Ok(()) | Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => {}
        Err(error) => return Err(at("namespace", error)),
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(at("name", error)),
        _ => Ok(()),
    }
}

fn enter(path: &Path) -> io::Result<()> {
    let namespace = File::open(path).map_err(|e| at("namespace", e))?;
    setns(namespace, CloneFlags::CLONE_NEWNET).map_err(|e| at("namespace", e))
}

fn set_ipv6(on: bool) {
    // A kernel without it has no such file.
    let name = format!("/proc/sys/net/ipv6/conf/{INTERFACE}/disable_ipv6");
    let _ = fs::write(name, if on { "0" } else { "1" });
}

fn carry(path: &Path) -> io::Result<()> {
    let parent = getppid();
    enter(path)?;
    let sockets = Sockets::open()?;
    let mac = sockets.mac().map_err(|e| at(INTERFACE, e))?.map(|byte| format!("{byte:02x}")).join(":");
    let mtu = sockets.mtu().map_err(|e| at(INTERFACE, e))?;
    // Bound first: nothing that comes meanwhile is lost, or answered by the wrong one.
    let packets = device::packet_socket(INTERFACE).map_err(|e| at("packet socket", e))?;
    set_ipv6(false);
    sockets.clear_v4().map_err(|e| at("addresses", e))?;
    sockets.set_flags(INTERFACE, libc::IFF_UP, 0).map_err(|e| at(INTERFACE, e))?;
    // SAFETY: whoever started this process gave it the descriptor, and nothing here has used it yet.
    let stream = unsafe { OwnedFd::from_raw_fd(STREAM_FD) };
    writeln!(io::stdout(), "{mac} {mtu}")?;
    let_go(&[&packets, &stream])?;
    tap::become_nobody()?;
    live_with(parent)?;
    tap::relay(&packets, &File::from(stream))
}

fn restore(path: &Path, addresses: &[(IpAddr, u8)]) -> io::Result<()> {
    enter(path)?;
    let sockets = Sockets::open()?;
    set_ipv6(true);
    let mut aliases = 0;
    for (address, prefix) in addresses {
        match address {
            IpAddr::V4(address) => {
                let alias =
                    if aliases == 0 { INTERFACE.to_owned() } else { format!("{INTERFACE}:{aliases}") };
                aliases += 1;
                sockets.add_v4(&alias, *address, *prefix)
            }
            IpAddr::V6(address) => sockets.add_v6(*address, *prefix),
        }
        .map_err(|e| at("address", e))?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "netns_test.rs"]
mod tests;
