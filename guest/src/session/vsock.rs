//! The vsock transport: the agent listens, and serves one host at a time.
//!
//! ```text
//! read: no peer ─► accept ─► peer ─► bytes … end or reset ─► NotConnected, once ─► no peer
//! ```
//!
//! A machine that is restored from a saved one finds its connections reset; the listening socket outlives that,
//! so the next host just connects.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::socket::sockopt::Linger;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, VsockAddr, accept4, bind, getpeername, listen, setsockopt,
    socket,
};

use super::transport::Transport;
use crate::console;

/// protocol/PROTOCOL.md
const PORT: u32 = 1024;
const DRIVER: &str = "/sys/bus/virtio/drivers/vmw_vsock_virtio_transport";
/// The longest that a leaving agent waits for the host to have read everything.
const LINGER_SECONDS: i32 = 1;

pub struct Vsock {
    /// What is waited for: the listening socket and the peer's. They change, this one stays.
    both: Epoll,
    listener: OwnedFd,
    peer: Option<File>,
}

impl Vsock {
    /// Whether a vsock device is driven. The module alone makes /dev/vsock and lets sockets be bound.
    pub fn is_there() -> bool {
        let Ok(entries) = fs::read_dir(DRIVER) else { return false };
        entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("virtio"))
    }

    pub fn listen() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let listener = socket(AddressFamily::Vsock, SockType::Stream, flags, None)?;
        bind(listener.as_raw_fd(), &VsockAddr::new(libc::VMADDR_CID_ANY, PORT))?;
        listen(&listener, Backlog::new(1)?)?;
        let both = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        both.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0))?;
        Ok(Self { both, listener, peer: None })
    }

    /// The next host, if one waits.
    fn accept(&mut self) -> io::Result<()> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = accept4(self.listener.as_raw_fd(), flags)?;
        // SAFETY: the kernel has just made this descriptor, and nobody else owns it.
        let peer = unsafe { OwnedFd::from_raw_fd(fd) };
        // A process in this machine may try to pass for the host.
        let cid = getpeername::<VsockAddr>(peer.as_raw_fd())?.cid();
        if cid != libc::VMADDR_CID_HOST {
            console::say(&format!("vsock: refused a connection from CID {cid}"));
            return Err(ErrorKind::WouldBlock.into());
        }
        let edges = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
        self.both.add(&peer, EpollEvent::new(edges, 1))?;
        self.peer = Some(File::from(peer));
        Ok(())
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::NotConnected | ErrorKind::TimedOut
    )
}

impl Transport for Vsock {
    fn fd(&self) -> BorrowedFd<'_> {
        self.both.0.as_fd()
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.peer.is_none() {
            self.accept()?;
        }
        let Some(peer) = &mut self.peer else { return Err(ErrorKind::WouldBlock.into()) };
        match peer.read(buffer) {
            Ok(0) => {}
            Err(error) if is_gone(&error) => {}
            other => return other,
        }
        self.peer = None;
        Err(ErrorKind::NotConnected.into())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.peer.as_mut().map(|peer| peer.write(bytes)) {
            // The read side learns of it and puts things in order.
            Some(Err(error)) if is_gone(&error) => Ok(0),
            Some(result) => result,
            None => Ok(0),
        }
    }

    fn reconnect(&mut self) -> io::Result<()> {
        self.peer = None;
        Ok(())
    }

    /// A socket that is closed sends on what it has; but a machine that ends right after that would take it along.
    fn finish(&mut self) {
        if let Some(peer) = self.peer.take() {
            let linger = libc::linger { l_onoff: 1, l_linger: LINGER_SECONDS };
            let _ = setsockopt(&peer, Linger, &linger);
        }
    }
}
