use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

use super::*;
use crate::protocol::frame::{Decoder, Frame, encode};
use crate::session::transport::Transport;
use crate::syscall;

/// Takes everything, and has one HELLO to say.
struct Host {
    null: File,
    input: Vec<u8>,
    output: Rc<RefCell<Vec<u8>>>,
}

impl Transport for Host {
    fn fd(&self) -> BorrowedFd<'_> {
        self.null.as_fd()
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let length = self.input.len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.input[..length]);
        self.input.drain(..length);
        Ok(length)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn reconnect(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A relay between an open link and a socket of packets, which keeps messages apart as /dev/fuse does.
struct Bench {
    relays: Relays,
    link: Link,
    output: Rc<RefCell<Vec<u8>>>,
    decoder: Decoder,
    kernel: File,
}

const REQUESTS: u32 = 7;
const REPLIES: u32 = 8;

impl Bench {
    fn new() -> Self {
        let mut input = Vec::new();
        encode(&mut input, Kind::Hello, 0, b"{\"generation\":1}");
        let output = Rc::new(RefCell::new(Vec::new()));
        let null = File::open("/dev/null").unwrap();
        let mut link = Link::new(Box::new(Host { null, input, output: output.clone() }), "test".to_owned());
        link.receive().unwrap();
        let packets = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC);
        let (ours, theirs): (OwnedFd, OwnedFd) = packets.unwrap();
        for fd in [&ours, &theirs] {
            syscall::set_nonblocking(fd.as_fd()).unwrap();
        }
        let relays = Relays::new(&[(REQUESTS, REPLIES)], vec![File::from(ours)]);
        let mut bench =
            Self { relays, link, output, decoder: Decoder::default(), kernel: File::from(theirs) };
        assert_eq!(bench.frames().len(), 1, "the HELLO");
        bench
    }

    fn frames(&mut self) -> Vec<Frame> {
        self.link.flush().unwrap();
        self.decoder.push(&std::mem::take(&mut *self.output.borrow_mut()));
        std::iter::from_fn(|| self.decoder.next_frame().ok().flatten()).collect()
    }

    fn pump(&mut self) -> Vec<Frame> {
        self.relays.wake();
        self.relays.pump(&mut self.link);
        self.frames()
    }

    fn hear(&mut self, kind: Kind, stream: u32, payload: &[u8]) -> Result<bool, ProtocolError> {
        self.relays.handle(kind, stream, payload, &mut self.link)
    }

    /// What the kernel was given, one packet a reply.
    fn given(&mut self) -> Vec<Vec<u8>> {
        let mut buffer = vec![0; MAX_MESSAGE_BYTES];
        let mut all = Vec::new();
        while let Ok(length) = self.kernel.read(&mut buffer) {
            if length == 0 {
                break;
            }
            all.push(buffer[..length].to_vec());
        }
        all
    }
}

fn reply(length: usize, unique: u64) -> Vec<u8> {
    let mut bytes = vec![unique as u8; length];
    bytes[..4].copy_from_slice(&(length as u32).to_le_bytes());
    bytes[8..16].copy_from_slice(&unique.to_le_bytes());
    bytes
}

fn data_of(frames: &[Frame]) -> Vec<u8> {
    let ours = frames.iter().filter(|frame| frame.kind == Kind::Data && frame.id == REQUESTS);
    ours.flat_map(|frame| frame.payload.clone()).collect()
}

#[test]
fn requests_leave_as_credit_allows() {
    let mut bench = Bench::new();
    let request = vec![5; 150_000];
    let mut sent = 0;
    for _ in 0..2 {
        bench.kernel.write_all(&request).unwrap();
        sent += data_of(&bench.pump()).len();
    }
    assert_eq!(sent, 262_144, "the first window");
    bench.hear(Kind::Credit, REQUESTS, &1_000_u32.to_le_bytes()).unwrap();
    assert_eq!(data_of(&bench.pump()).len(), 1_000);
    bench.hear(Kind::Credit, REQUESTS, &100_000_u32.to_le_bytes()).unwrap();
    bench.kernel.write_all(b"next").unwrap();
    let rest = data_of(&bench.pump());
    assert_eq!(rest.len(), 300_000 - 263_144 + 4);
    assert!(rest.ends_with(b"\x05next"));
}

#[test]
fn replies_arrive_whole_however_they_are_cut() {
    let whole: Vec<Vec<u8>> =
        [16, 17, 5_000, 16, 60_000].iter().zip(1..).map(|(&length, unique)| reply(length, unique)).collect();
    let bytes = whole.concat();
    for size in [1, 3, 15, 16, 17, 4_096, 65_536] {
        let mut bench = Bench::new();
        let mut given = Vec::new();
        for piece in bytes.chunks(size) {
            assert!(bench.hear(Kind::Data, REPLIES, piece).unwrap());
            given.extend(bench.given());
        }
        assert!(given == whole, "in pieces of {size} bytes");
    }
}

#[test]
fn credit_comes_back_while_a_long_reply_is_not_yet_whole() {
    let mut bench = Bench::new();
    let long = reply(MAX_MESSAGE_BYTES, 9);
    for piece in long.chunks(MAX_DATA_BYTES).take(16) {
        assert!(bench.hear(Kind::Data, REPLIES, piece).unwrap());
    }
    let credit = bench.frames().iter().filter(|frame| frame.kind == Kind::Credit).count();
    assert_eq!(credit, 16);
    assert!(!bench.relays.relays.is_empty());
}

#[test]
fn a_bad_reply_ends_the_share_and_nothing_else() {
    let mut notification = reply(32, 1);
    notification[8..16].fill(0);
    let with_length = |length: u32| {
        let mut bytes = reply(16, 1);
        bytes[..4].copy_from_slice(&length.to_le_bytes());
        bytes
    };
    for (name, bytes) in [
        ("no length", with_length(0)),
        ("shorter than its header", with_length(15)),
        ("longer than a message", with_length(MAX_MESSAGE_BYTES as u32 + 1)),
        ("endless", with_length(u32::MAX)),
        ("a notification", notification),
    ] {
        let mut bench = Bench::new();
        assert_eq!(bench.hear(Kind::Data, REPLIES, &bytes), Ok(true), "{name}");
        let resets = bench.frames().iter().filter(|frame| frame.kind == Kind::Reset).count();
        assert_eq!(resets, 2, "{name}");
        assert!(bench.given().is_empty(), "{name}");
        assert!(!bench.relays.has_stream(REPLIES), "{name}");
        // The kernel's side sees the end.
        assert!(matches!(bench.kernel.read(&mut [0; 8]), Ok(0)), "{name}");
    }
}

#[test]
fn frames_against_the_rules_end_the_connection() {
    for (name, kind, stream, payload) in [
        ("data for the host's stream", Kind::Data, REQUESTS, &b"x"[..]),
        ("credit for the guest's", Kind::Credit, REPLIES, &[1, 0, 0, 0]),
        ("absurd credit", Kind::Credit, REQUESTS, &[0xff; 4]),
    ] {
        assert!(Bench::new().hear(kind, stream, payload).is_err(), "{name}");
    }
    assert_eq!(Bench::new().hear(Kind::Data, 99, b"x"), Ok(false), "another's stream");
}

#[test]
fn the_host_may_end_a_share() {
    for (kind, stream) in [(Kind::Eof, REPLIES), (Kind::Reset, REPLIES), (Kind::Reset, REQUESTS)] {
        let mut bench = Bench::new();
        assert_eq!(bench.hear(kind, stream, &[]), Ok(true));
        assert!(!bench.relays.has_stream(REQUESTS));
    }
}

#[test]
fn an_unmounted_share_ends_with_eof() {
    let mut bench = Bench::new();
    // A closed peer makes reads of packets give 0 bytes, which /dev/fuse does not; an error is what both know.
    bench.relays.relays[0].connection = File::options().write(true).open("/dev/null").unwrap();
    let frames = bench.pump();
    assert!(frames.iter().any(|frame| frame.kind == Kind::Eof && frame.id == REQUESTS));
    assert!(!bench.relays.has_stream(REQUESTS));
}
