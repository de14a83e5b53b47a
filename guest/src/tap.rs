//! Not for the machine: on the host, this program gives a VMM that knows only tap devices a byte stream of frames.
//!
//! ```text
//! flamebox-agent tap NAME PROGRAM ARGUMENTS…     descriptor 3: the stream, each frame behind its length (u32be)
//!
//! a network namespace of its own, in a user namespace where that takes one
//!     this process: makes the tap device, and executes PROGRAM, which opens it
//!     its child:    guest ─ PROGRAM ─ tap device ─ packet socket ─ child ─ descriptor 3
//! ```
//!
//! Nothing else is in that namespace, so a VMM that was broken into has the stream, and no network. The child ends
//! with the program, and gives up what it was root for. Frames are copied; what the guest's network driver left for
//! hardware to do, a checksum, is done here.

use std::ffi::{CString, OsString};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;
use std::thread;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{getegid, geteuid, getppid};

use crate::console;
use crate::syscall;
use crate::syscall::tap::{self as device, VNET_HEADER_BYTES};

const COMMAND: &str = "tap";
/// Where the stream is, for both ends: `stdio` of the process that starts this one.
const STREAM_FD: i32 = 3;
/// IPv4's largest packet, an Ethernet header, and a VLAN tag.
const MAX_FRAME_BYTES: usize = 65_535 + 14 + 4;
const NOBODY: u32 = 65_534;

/// Does its work if this is what the program was started for; returns only when that failed.
pub fn trigger() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    if args.next()? != COMMAND {
        return None;
    }
    let Some(name) = args.next().and_then(|name| name.into_string().ok()) else {
        console::say("tap: the device has no name");
        return Some(ExitCode::from(125));
    };
    let Err(error) = run(&name, args.collect()) else { return Some(ExitCode::SUCCESS) };
    console::say(&format!("tap: {error}"));
    Some(ExitCode::from(125))
}

fn run(name: &str, program: Vec<OsString>) -> io::Result<()> {
    let at = |what: &str, error: io::Error| io::Error::new(error.kind(), format!("{what}: {error}"));
    let (parent, owner) = (getppid(), geteuid());
    enter_namespaces().map_err(|e| at("a network namespace of its own", e))?;
    device::make_tap(name, owner.as_raw()).map_err(|e| at("tap device", e))?;
    // The namespace has no use for a stack of its own, which would talk to the guest.
    let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1");
    device::raise(name).map_err(|e| at("tap device", e))?;
    let packets = device::packet_socket(name).map_err(|e| at("packet socket", e))?;
    // SAFETY: whoever started this process gave it the descriptor, and nothing here has used it yet.
    let stream = File::from(unsafe { OwnedFd::from_raw_fd(STREAM_FD) });
    let vmm = nix::unistd::getpid();
    syscall::fork_to(|| {
        let result = become_nobody().and_then(|()| live_with(vmm)).and_then(|()| relay(&packets, &stream));
        i32::from(result.is_err())
    })?;
    drop((packets, stream));
    // The kernel forgets it when capabilities change, which a new user namespace does.
    live_with(parent)?;
    let words: Vec<CString> =
        program.into_iter().map(|word| CString::new(word.into_vec())).collect::<Result<_, _>>()?;
    let path = words.first().ok_or(ErrorKind::InvalidInput)?;
    Err(nix::unistd::execv(path, &words).map_or_else(io::Error::from, |never| match never {}))
}

/// Root makes a network namespace just so; others need a user namespace around it, where they are who they are.
fn enter_namespaces() -> io::Result<()> {
    match unshare(CloneFlags::CLONE_NEWNET) {
        Err(Errno::EPERM) => {}
        other => return Ok(other?),
    }
    let (user, group) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)?;
    fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/gid_map", format!("{group} {group} 1"))
}

/// Ends this process with `parent`, which may have ended already.
fn live_with(parent: nix::unistd::Pid) -> io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    if getppid() == parent { Ok(()) } else { Err(ErrorKind::NotConnected.into()) }
}

/// The relay holds no stream of the VMM's, or its end could not be seen; and nothing that it does not need.
fn become_nobody() -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    for fd in 0..=2 {
        nix::unistd::dup2(null.as_raw_fd(), fd)?;
    }
    if geteuid().is_root() && fs::read_to_string("/proc/self/uid_map")?.trim_end().ends_with("4294967295") {
        nix::unistd::setgroups(&[])?;
        nix::unistd::setresgid(NOBODY.into(), NOBODY.into(), NOBODY.into())?;
        nix::unistd::setresuid(NOBODY.into(), NOBODY.into(), NOBODY.into())?;
    }
    Ok(prctl::set_no_new_privs()?)
}

/// Until the stream ends; the thread ends with the process.
fn relay(packets: &OwnedFd, stream: &File) -> io::Result<()> {
    let (packets_in, mut stream_out) = (packets.try_clone()?, stream.try_clone()?);
    thread::spawn(move || {
        let result = from_guest(&packets_in, &mut stream_out);
        // SAFETY: ends the process: one direction alone is of no use.
        unsafe { libc::_exit(i32::from(result.is_err())) }
    });
    to_guest(packets, &mut &*stream)
}

fn from_guest(packets: &OwnedFd, stream: &mut impl Write) -> io::Result<()> {
    // The length is put into the room before the frame, so that both leave in one call.
    let mut buffer = vec![0; VNET_HEADER_BYTES + MAX_FRAME_BYTES];
    loop {
        let length = match device::receive(packets, &mut buffer) {
            Ok(length) => length,
            // The device is down for a moment when the VMM opens it.
            Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => continue,
            Err(error) => return Err(error),
        };
        let Some(frame) = length.checked_sub(VNET_HEADER_BYTES) else { continue };
        let (header, rest) = buffer.split_at_mut(VNET_HEADER_BYTES);
        finish_checksum(header, &mut rest[..frame]);
        header[VNET_HEADER_BYTES - 4..].copy_from_slice(&(frame as u32).to_be_bytes());
        stream.write_all(&buffer[VNET_HEADER_BYTES - 4..length])?;
    }
}

fn to_guest(packets: &OwnedFd, stream: &mut impl Read) -> io::Result<()> {
    // An empty header says that nothing is left for hardware to do.
    let mut buffer = vec![0; VNET_HEADER_BYTES + MAX_FRAME_BYTES];
    let mut prefix = [0; 4];
    loop {
        match stream.read_exact(&mut prefix) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            other => other?,
        }
        let length = u32::from_be_bytes(prefix) as usize;
        if length > MAX_FRAME_BYTES {
            return Err(ErrorKind::InvalidData.into());
        }
        let end = VNET_HEADER_BYTES + length;
        stream.read_exact(&mut buffer[VNET_HEADER_BYTES..end])?;
        // A frame that the device does not take is lost, as on any network.
        let _ = device::send(packets, &buffer[..end]);
    }
}

/// `struct virtio_net_hdr` { flags, gso_type, hdr_len, gso_size, csum_start, csum_offset }: the field at
/// `csum_start + csum_offset` holds the sum of the pseudo header, and everything from `csum_start` on is to be added.
fn finish_checksum(header: &[u8], frame: &mut [u8]) {
    const NEEDS_CHECKSUM: u8 = 1;
    if header[0] & NEEDS_CHECKSUM == 0 {
        return;
    }
    let start = usize::from(u16::from_ne_bytes([header[6], header[7]]));
    let field = start + usize::from(u16::from_ne_bytes([header[8], header[9]]));
    if field + 2 > frame.len() {
        return;
    }
    let mut sum: u64 = 0;
    for pair in frame[start..].chunks(2) {
        sum += u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    // UDP has no checksum of zero; all ones are the same number.
    let checksum = match !(sum as u16) {
        0 => 0xffff,
        other => other,
    };
    frame[field..field + 2].copy_from_slice(&checksum.to_be_bytes());
}

#[cfg(test)]
#[path = "tap_test.rs"]
mod tests;
