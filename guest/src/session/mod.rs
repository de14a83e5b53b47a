//! The agent's one loop: the link to the host, the containers' descriptors, and children that end.
//!
//! ```text
//! epoll ─► what is ready ─► link.receive ─► requests ─► containers ─┐
//!                           link.flush ◄──── frames ◄── pump ◄──────┘    until nothing moves any more
//! ```
//!
//! Everything is waited for edge-triggered, because a port without a host, or a pipe without credit, would
//! otherwise wake the loop for ever.

mod blank;
mod container;
mod credit;
mod exec;
mod execs;
mod jobs;
mod link;
mod requests;
mod share;
mod stdio;
mod stream;
mod transfer;
mod transfers;
mod transport;
mod vsock;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::time::Instant;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use self::blank::Blank;
use self::container::Container;
use self::exec::Exec;
use self::link::{Link, Received};
use self::stdio::{Part, Stdio};
use self::transfer::Transfer;
use crate::init::network;
use crate::protocol::frame::{Frame, Kind, MAX_DATA_BYTES, ProtocolError};
use crate::runtime::Helper;
use crate::syscall::{self, Ending};

const LINK: u64 = 0;
const SIGNALS: u64 = 1;
/// Tokens from here on are a number times `PARTS`, plus the part.
const FIRST: u64 = 16;
const PARTS: u64 = 16;
const HELPER_PART: u64 = 15;
/// All shares of a container: which one it is, reading finds out.
const SHARES_PART: u64 = 14;

/// Endings of processes that nobody knows yet: a container's process may be reaped before its helper's report
/// was read. Older ones are of nobody's.
const MAX_UNCLAIMED: usize = 1_024;

/// Rounds of work, and frames taken in each, before the kernel is asked again what else there is.
const ROUNDS_A_TURN: usize = 16;
const FRAMES_A_ROUND: usize = 256;

/// What a helper does, and for which container or exec.
enum Job {
    /// Of the blank.
    Prepare,
    Ready,
    Create(u32),
    Poststart(u32),
    Remove(u32),
    Join(u32),
    /// Of a blank that is of no use.
    Discard,
}

pub struct Session {
    epoll: Epoll,
    link: Link,
    signals: SignalFd,
    containers: BTreeMap<u32, Container>,
    /// What the machine's interface was given.
    network: Option<network::Plan>,
    /// A container that waits to be one.
    blank: Option<Blank>,
    execs: BTreeMap<u32, Exec>,
    transfers: BTreeMap<u32, Transfer>,
    helpers: BTreeMap<u32, (Helper, Job)>,
    unclaimed: BTreeMap<i32, Ending>,
    /// Numbers of containers, execs and helpers; never used twice, so that a late event finds nobody.
    next: u32,
    shutdown_request: Option<u32>,
    shutting_down: bool,
    scratch: Vec<u8>,
}

/// Serves the host until it shuts the machine down, or the transport breaks.
pub fn run() -> io::Result<()> {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    mask.thread_block()?;
    let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    let kernel = nix::sys::utsname::uname()?.release().to_string_lossy().into_owned();
    let link = Link::new(transport::open()?, kernel);
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(&signals, EpollEvent::new(EpollFlags::EPOLLIN, SIGNALS))?;
    let mut session = Session {
        epoll,
        link,
        signals,
        containers: BTreeMap::new(),
        network: None,
        blank: None,
        execs: BTreeMap::new(),
        transfers: BTreeMap::new(),
        helpers: BTreeMap::new(),
        unclaimed: BTreeMap::new(),
        next: 1,
        shutdown_request: None,
        shutting_down: false,
        scratch: vec![0; MAX_DATA_BYTES],
    };
    session.watch_link()?;
    let mut unfinished = false;
    while !session.is_finished() {
        session.wait(unfinished)?;
        unfinished = session.work()?;
    }
    session.say_goodbye();
    Ok(())
}

fn edges() -> EpollFlags {
    EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET
}

impl Session {
    fn watch_link(&self) -> io::Result<()> {
        Ok(self.epoll.add(self.link.fd(), EpollEvent::new(edges(), LINK))?)
    }

    fn watch(&self, number: u32) -> io::Result<()> {
        let container = self.containers.get(&number).map(|container| &container.stdio);
        let Some(stdio) = container.or_else(|| self.execs.get(&number).map(|exec| &exec.stdio)) else {
            return Ok(());
        };
        for (part, file) in stdio.files() {
            let event = EpollEvent::new(edges(), FIRST + u64::from(number) * PARTS + part.number());
            match self.epoll.add(file.as_fd(), event) {
                Ok(()) | Err(nix::errno::Errno::EEXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn watch_shares(&self, number: u32) -> io::Result<()> {
        let files = self.containers.get(&number).into_iter().flat_map(|container| container.shares.files());
        for file in files {
            let event = EpollEvent::new(edges(), FIRST + u64::from(number) * PARTS + SHARES_PART);
            self.epoll.add(file.as_fd(), event)?;
        }
        Ok(())
    }

    fn stdios(&self) -> impl Iterator<Item = &Stdio> {
        let containers = self.containers.values().map(|container| &container.stdio);
        containers.chain(self.execs.values().map(|exec| &exec.stdio))
    }

    /// With `unfinished` work, only looks at what has happened meanwhile.
    fn wait(&mut self, unfinished: bool) -> io::Result<()> {
        let outputs = self.stdios().filter_map(Stdio::deadline);
        let shares = self.containers.values().filter_map(|container| container.shares.deadline());
        let timeout = match outputs.chain(shares).chain(self.link.deadline()).min() {
            _ if unfinished => EpollTimeout::ZERO,
            Some(deadline) => {
                let rest = deadline.saturating_duration_since(Instant::now()).as_millis() as u16;
                EpollTimeout::from(rest.saturating_add(1))
            }
            None => EpollTimeout::NONE,
        };
        let mut events = [EpollEvent::empty(); 32];
        let count = match self.epoll.wait(&mut events, timeout) {
            Ok(count) => count,
            Err(nix::errno::Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        for event in &events[..count] {
            match event.data() {
                LINK => {}
                SIGNALS => self.reap()?,
                token => self.mark(token - FIRST, event.events()),
            }
        }
        Ok(())
    }

    fn mark(&mut self, token: u64, events: EpollFlags) {
        let (number, part) = ((token / PARTS) as u32, token % PARTS);
        if part == SHARES_PART {
            self.containers.get_mut(&number).into_iter().for_each(|container| container.shares.wake());
            return;
        }
        if let Some(transfer) = self.transfers.get_mut(&number) {
            transfer.wake();
            return;
        }
        let container = self.containers.get_mut(&number).map(|container| &mut container.stdio);
        let Some(stdio) = container.or_else(|| self.execs.get_mut(&number).map(|exec| &mut exec.stdio))
        else {
            return;
        };
        match part {
            HELPER_PART => {}
            0 if events.contains(EpollFlags::EPOLLERR) => stdio.stdin_broken(&mut self.link),
            part => stdio.wake(Part::of(part)),
        }
    }

    /// Goes on until neither side has anything more to do; true when it was broken off before, because children
    /// that end, and descriptors that become ready, are only seen between two calls.
    fn work(&mut self) -> io::Result<bool> {
        for _ in 0..ROUNDS_A_TURN {
            let mut progress = false;
            for _ in 0..FRAMES_A_ROUND {
                match self.link.receive()? {
                    Received::Nothing => break,
                    Received::Opened => self.disconnect(),
                    Received::Closed => {
                        self.disconnect();
                        self.rewatch_link()?;
                    }
                    Received::Frame(frame) => {
                        if let Err(error) = self.handle(frame) {
                            self.link.refuse(&error)?;
                            self.disconnect();
                            self.rewatch_link()?;
                        }
                    }
                }
                progress = true;
            }
            self.poll_helpers()?;
            self.pump();
            self.run_poststart()?;
            self.delete_settled()?;
            progress |= self.link.flush()?;
            progress |= self.stdios().any(|stdio| stdio.is_unfinished(&self.link));
            progress |= self.containers.values().any(|container| container.shares.is_unfinished(&self.link));
            progress |= self.transfers.values().any(|transfer| transfer.is_unfinished(&self.link));
            if !progress {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The processes executed into a container before the container, because its exit is told after theirs.
    fn pump(&mut self) {
        let Self { execs, containers, transfers, link, scratch, .. } = self;
        transfers.retain(|_, transfer| transfer.pump(link, scratch));
        execs.retain(|_, exec| exec.pump(link, scratch));
        for (number, container) in containers {
            let alone = execs.values().all(|exec| exec.container != *number);
            container.pump(link, scratch, alone);
        }
    }

    /// The link may have opened another descriptor; the old one, if closed, has left by itself.
    fn rewatch_link(&self) -> io::Result<()> {
        match self.watch_link() {
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
            other => other,
        }
    }

    fn disconnect(&mut self) {
        self.shutdown_request = None;
        self.forget_preparation();
        self.containers.values_mut().for_each(Container::disconnect);
        self.execs.values_mut().for_each(Exec::disconnect);
        self.transfers.values_mut().for_each(Transfer::disconnect);
    }

    fn handle(&mut self, frame: Frame) -> Result<(), ProtocolError> {
        match frame.kind {
            Kind::Request if frame.id == 0 => Err(ProtocolError::Rule("a request with id 0")),
            Kind::Request => {
                self.handle_request(frame.id, &frame.payload);
                Ok(())
            }
            Kind::Data | Kind::Credit | Kind::Eof | Kind::Reset => {
                for container in self.containers.values_mut() {
                    if container.shares.handle(frame.kind, frame.id, &frame.payload, &mut self.link)? {
                        return Ok(());
                    }
                }
                for transfer in self.transfers.values_mut() {
                    if transfer.handle(frame.kind, frame.id, &frame.payload, &mut self.link)? {
                        return Ok(());
                    }
                }
                let containers = self.containers.values_mut().map(|container| &mut container.stdio);
                for stdio in containers.chain(self.execs.values_mut().map(|exec| &mut exec.stdio)) {
                    if stdio.handle(frame.kind, frame.id, &frame.payload)? {
                        break;
                    }
                }
                // A stream that nobody has, has ended: what is still on its way for it is dropped.
                Ok(())
            }
            Kind::Hello | Kind::Response | Kind::Event => {
                Err(ProtocolError::Rule("a frame that only the guest sends"))
            }
        }
    }

    /// PID 1 reaps everything, whoever it was.
    fn reap(&mut self) -> io::Result<()> {
        while self.signals.read_signal()?.is_some() {}
        while let Some((pid, ending)) = syscall::reap() {
            let known =
                self.container_ended(pid, ending) || self.exec_ended(pid, ending) || self.transfer_ended(pid);
            if !known && !self.helpers.is_empty() {
                if self.unclaimed.len() >= MAX_UNCLAIMED {
                    self.unclaimed.pop_first();
                }
                self.unclaimed.insert(pid, ending);
            }
        }
        Ok(())
    }

    fn container_ended(&mut self, pid: i32, ending: Ending) -> bool {
        let mut containers = self.containers.iter_mut();
        let Some((number, container)) = containers.find(|(_, container)| container.pid == Some(pid)) else {
            return false;
        };
        container.ended(ending, &mut self.link);
        let number = *number;
        self.kill_execs(number);
        true
    }

    fn is_finished(&self) -> bool {
        let discarding = self.helpers.values().any(|(_, job)| matches!(job, Job::Discard));
        self.shutting_down && self.containers.is_empty() && !discarding
    }

    /// The answer to `system.shutdown` has to leave the machine before its power does.
    fn say_goodbye(&mut self) {
        nix::unistd::sync();
        if let Some(request) = self.shutdown_request.take() {
            self.link.respond(request, Ok(serde_json::json!({})));
        }
        for _ in 0..500 {
            if self.link.flush().is_err() || !self.link.has_waiting() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        self.link.finish();
    }
}
