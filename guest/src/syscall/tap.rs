//! Tap devices and packet sockets: what tap.rs needs of the kernel.

use std::fs::File;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, OwnedFd};

use super::{check, owned, size};

/// `struct virtio_net_hdr`, in front of every frame of a packet socket that was asked for it.
pub const VNET_HEADER_BYTES: usize = 10;

// linux/if_tun.h
const TUNSETIFF: libc::Ioctl = 0x4004_54ca;
const TUNSETPERSIST: libc::Ioctl = 0x4004_54cb;
const TUNSETOWNER: libc::Ioctl = 0x4004_54cc;
const PACKET_VNET_HDR: libc::c_int = 15;
const PACKET_IGNORE_OUTGOING: libc::c_int = 23;
/// A tap device's largest: what Ethernet's header leaves of 65,535.
const MTU: libc::c_int = 65_521;

fn request_for(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: an ifreq is plain data, and all zeros are one.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    if name.is_empty() || name.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(request)
}

/// Makes a tap device that stays, and that `owner` may open without being privileged.
pub fn make_tap(name: &str, owner: libc::uid_t) -> io::Result<()> {
    let tun = File::options().read(true).write(true).open("/dev/net/tun")?;
    let mut request = request_for(name)?;
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes one ifreq; the other two take numbers.
    unsafe {
        check(libc::ioctl(tun.as_raw_fd(), TUNSETIFF, &raw mut request))?;
        check(libc::ioctl(tun.as_raw_fd(), TUNSETOWNER, libc::c_ulong::from(owner)))?;
        check(libc::ioctl(tun.as_raw_fd(), TUNSETPERSIST, 1 as libc::c_ulong))?;
    }
    Ok(())
}

/// Gives the device its largest MTU, and raises it.
pub fn raise(name: &str) -> io::Result<()> {
    let socket = new_socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    let mut request = request_for(name)?;
    request.ifr_ifru.ifru_mtu = MTU;
    // SAFETY: each call reads or writes the one ifreq.
    unsafe {
        check(libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFMTU, &raw mut request))?;
        check(libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request))?;
        request.ifr_ifru.ifru_flags |= (libc::IFF_UP | libc::IFF_NOARP) as libc::c_short;
        check(libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw mut request))?;
    }
    Ok(())
}

fn new_socket(family: libc::c_int, kind: libc::c_int, protocol: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: no memory is involved.
    owned(unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol) }.into())
}

/// A socket that sees every frame that comes out of the device, and puts frames into it.
pub fn packet_socket(name: &str) -> io::Result<OwnedFd> {
    let everything = (libc::ETH_P_ALL as u16).to_be();
    // Bound before it sees anything: without a protocol nothing is received.
    let socket = new_socket(libc::AF_PACKET, libc::SOCK_RAW, 0)?;
    let one: libc::c_int = 1;
    let length = mem::size_of_val(&one) as libc::socklen_t;
    for option in [PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING] {
        // SAFETY: the kernel reads one int.
        check(unsafe {
            libc::setsockopt(socket.as_raw_fd(), libc::SOL_PACKET, option, (&raw const one).cast(), length)
        })?;
    }
    let mut request = request_for(name)?;
    // SAFETY: SIOCGIFINDEX reads and writes one ifreq, whose index it sets.
    let index = unsafe {
        check(libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFINDEX, &raw mut request))?;
        request.ifr_ifru.ifru_ifindex
    };
    // SAFETY: a sockaddr_ll is plain data, and all zeros are one.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = everything;
    address.sll_ifindex = index;
    let length = mem::size_of_val(&address) as libc::socklen_t;
    // SAFETY: the kernel reads one sockaddr_ll.
    check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) })?;
    Ok(socket)
}

/// One frame behind its header. Of one that is longer than the buffer, the result is the whole length.
pub fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        // SAFETY: the kernel writes at most as many bytes as it is told the buffer has.
        let result = unsafe {
            libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_TRUNC)
        };
        match size(result) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

pub fn send(socket: &OwnedFd, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: the kernel reads `bytes`.
    size(unsafe { libc::send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) })
}
