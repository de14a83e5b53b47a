use std::cell::RefCell;
use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::rc::Rc;

use super::*;

/// What the next read gives: bytes, or the end of the connection for good.
type Script = Rc<RefCell<VecDeque<Option<Vec<u8>>>>>;

struct Scripted {
    reads: Script,
    written: Rc<RefCell<Vec<u8>>>,
    /// How many bytes each write takes.
    takes: usize,
    stdin: io::Stdin,
}

impl Transport for Scripted {
    fn fd(&self) -> BorrowedFd<'_> {
        self.stdin.as_fd()
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.reads.borrow_mut().pop_front() {
            Some(Some(bytes)) => {
                buffer[..bytes.len()].copy_from_slice(&bytes);
                Ok(bytes.len())
            }
            Some(None) => Err(ErrorKind::NotConnected.into()),
            None => Err(ErrorKind::WouldBlock.into()),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.takes.min(bytes.len());
        self.takes -= taken;
        self.written.borrow_mut().extend_from_slice(&bytes[..taken]);
        if taken == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(taken) }
    }

    fn reconnect(&mut self) -> io::Result<()> {
        self.takes = usize::MAX;
        Ok(())
    }
}

fn hello() -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::encode(&mut bytes, Kind::Hello, 0, br#"{"generation": 2}"#);
    bytes
}

fn link(reads: &Script, written: &Rc<RefCell<Vec<u8>>>, takes: usize) -> Link {
    let (reads, written) = (Rc::clone(reads), Rc::clone(written));
    let transport = Scripted { reads, written, takes, stdin: io::stdin() };
    Link::new(Box::new(transport), "6.12.0".to_owned())
}

#[test]
fn a_connection_after_one_that_ended_for_good_begins_with_a_whole_frame() {
    let reads: Script = Rc::default();
    let written = Rc::default();
    let half_a_frame = hello()[..5].to_vec();
    reads.borrow_mut().extend([Some(hello()), Some(half_a_frame), None, Some(hello())]);
    let mut link = link(&reads, &written, 20);

    assert!(matches!(link.receive().unwrap(), Received::Opened));
    link.flush().unwrap();
    assert_eq!(written.borrow().len(), 20, "the answer has left in part");
    assert!(matches!(link.receive().unwrap(), Received::Closed));
    assert!(!link.is_open() && !link.has_waiting());

    written.borrow_mut().clear();
    link.transport.reconnect().unwrap();
    assert!(matches!(link.receive().unwrap(), Received::Opened), "half a frame was not kept");
    link.flush().unwrap();
    let mut decoder = Decoder::default();
    decoder.push(&written.borrow());
    assert_eq!(decoder.next_frame().unwrap().unwrap().kind, Kind::Hello);
}

#[test]
fn a_peer_that_leaves_before_it_has_said_anything_is_no_end_of_the_link() {
    let reads: Script = Rc::default();
    let written = Rc::default();
    reads.borrow_mut().extend([None, Some(hello())]);
    let mut link = link(&reads, &written, usize::MAX);
    assert!(matches!(link.receive().unwrap(), Received::Closed));
    assert!(matches!(link.receive().unwrap(), Received::Opened));
}
