//! A tap device for a VMM that knows nothing else, in the network namespace that encloses it (enclose.rs):
//!
//! ```text
//! guest ─ VMM ─ tap device ─ packet socket ─ a process of ours ─ descriptor 3, each frame behind its length (u32be)
//! ```
//!
//! Nothing else is in that namespace, so a VMM that was broken into has the stream, and no network. The process ends
//! with the VMM, and gives up what it was root for. Frames are copied; what the guest's network driver left for
//! hardware to do, a checksum or cutting a large frame apart (split.rs), is done here.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::thread;

use nix::sys::prctl;
use nix::unistd::geteuid;

use crate::enclose::{let_go, live_with};
use crate::split;
use crate::syscall;
use crate::syscall::tap::{self as device, VNET_HEADER_BYTES};

/// Where the stream is, for both ends: `stdio` of the process that starts this one.
pub const STREAM_FD: i32 = 3;
/// IPv4's largest packet, an Ethernet header, and a VLAN tag.
const MAX_FRAME_BYTES: usize = 65_535 + 14 + 4;
const NOBODY: u32 = 65_534;

/// Makes the device, which `owner` may open, and a child that carries its frames until this process ends.
pub fn connect(name: &str, owner: u32) -> io::Result<()> {
    let at = |what: &str, error: io::Error| io::Error::new(error.kind(), format!("{what}: {error}"));
    device::make_tap(name, owner).map_err(|e| at("tap device", e))?;
    // The namespace has no use for a stack of its own, which would talk to the guest.
    let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1");
    device::raise(name).map_err(|e| at("tap device", e))?;
    let packets = device::packet_socket(name).map_err(|e| at("packet socket", e))?;
    // SAFETY: whoever started this process gave it the descriptor, and nothing here has used it yet.
    let stream = unsafe { OwnedFd::from_raw_fd(STREAM_FD) };
    let vmm = nix::unistd::getpid();
    syscall::fork_to(|| {
        let result = let_go(&[&packets, &stream])
            .and_then(|()| become_nobody())
            .and_then(|()| live_with(vmm))
            .and_then(|()| relay(&packets, &File::from(stream.try_clone()?)));
        i32::from(result.is_err())
    })?;
    Ok(())
}

/// Of what it was root for, nothing is needed any more.
pub fn become_nobody() -> io::Result<()> {
    if geteuid().is_root() && fs::read_to_string("/proc/self/uid_map")?.trim_end().ends_with("4294967295") {
        nix::unistd::setgroups(&[])?;
        nix::unistd::setresgid(NOBODY.into(), NOBODY.into(), NOBODY.into())?;
        nix::unistd::setresuid(NOBODY.into(), NOBODY.into(), NOBODY.into())?;
    }
    Ok(prctl::set_no_new_privs()?)
}

/// Until the stream ends; the thread ends with the process.
pub fn relay(packets: &OwnedFd, stream: &File) -> io::Result<()> {
    let (packets_in, mut stream_out) = (packets.try_clone()?, stream.try_clone()?);
    thread::spawn(move || {
        let result = from_guest(&packets_in, &mut stream_out);
        // SAFETY: ends the process: one direction alone is of no use.
        unsafe { libc::_exit(i32::from(result.is_err())) }
    });
    to_guest(packets, &mut &*stream)
}

fn from_guest(packets: &OwnedFd, stream: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; VNET_HEADER_BYTES + MAX_FRAME_BYTES];
    let mut parts = Vec::new();
    loop {
        let length = match device::receive(packets, &mut buffer) {
            Ok(length) => length,
            // The device is down for a moment when the VMM opens it. What the kernel has no header for is lost.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENETDOWN | libc::EINVAL)) => continue,
            Err(error) => return Err(error),
        };
        // Half a frame is none.
        if (VNET_HEADER_BYTES..=buffer.len()).contains(&length) {
            hand_on(&mut buffer[..length], &mut parts, stream)?;
        }
    }
}

/// `packet` is a frame behind its header, in whose place its length is put, so that both leave in one call.
fn hand_on(packet: &mut [u8], parts: &mut Vec<u8>, stream: &mut impl Write) -> io::Result<()> {
    let Some((header, frame)) = packet.split_first_chunk_mut::<VNET_HEADER_BYTES>() else { return Ok(()) };
    if split::is_many(header) {
        parts.clear();
        return if split::split(header, frame, parts) { stream.write_all(parts) } else { Ok(()) };
    }
    finish_checksum(header, frame);
    header[VNET_HEADER_BYTES - 4..].copy_from_slice(&(frame.len() as u32).to_be_bytes());
    stream.write_all(&packet[VNET_HEADER_BYTES - 4..])
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
    // UDP has no checksum of zero; all ones are the same number.
    let checksum = match !split::folded(split::sum(&frame[start..])) {
        0 => 0xffff,
        other => other,
    };
    frame[field..field + 2].copy_from_slice(&checksum.to_be_bytes());
}

#[cfg(test)]
#[path = "tap_test.rs"]
mod tests;
