//! Where the byte stream comes from: a virtio-serial port, or a vsock port where the machine has none.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::vsock::Vsock;

const PORT_NAME: &str = "dev.flamebox.agent";
const DEVICE_DEADLINE: Duration = Duration::from_secs(10);

/// A stream that outlives the connections made over it.
pub trait Transport {
    /// For edge-triggered waiting: readable, writable, the peer came or went.
    fn fd(&self) -> BorrowedFd<'_>;
    /// As `Read`, without blocking; 0 while no peer seems to be there, `NotConnected` once when a peer has left
    /// for good: what comes afterwards is of another connection.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
    /// As `Write`, without blocking.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;
    /// Ends the connection and waits for the next. The descriptor is another one afterwards.
    fn reconnect(&mut self) -> io::Result<()>;
    /// Ends the connection when the peer has all that was written, or not for a while.
    fn finish(&mut self) {}
}

/// Waits until the kernel has made a device. A machine has one kind or the other, never both.
pub fn open() -> io::Result<Box<dyn Transport>> {
    let deadline = Instant::now() + DEVICE_DEADLINE;
    loop {
        if let Some(path) = find_port() {
            return Ok(Box::new(VirtioPort::open(path)?));
        }
        if Vsock::is_there() {
            return Ok(Box::new(Vsock::listen()?));
        }
        if Instant::now() > deadline {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("no virtio-serial port is named {PORT_NAME}, and there is no vsock device"),
            ));
        }
        sleep(Duration::from_millis(2));
    }
}

pub struct VirtioPort {
    path: PathBuf,
    file: File,
}

impl VirtioPort {
    /// While no host is connected reads give 0 and the descriptor reports a hang-up all the time, which only
    /// edge-triggered waiting can stand.
    fn open(path: PathBuf) -> io::Result<Self> {
        Ok(Self { file: open_port(&path)?, path })
    }
}

fn find_port() -> Option<PathBuf> {
    for port in fs::read_dir("/sys/class/virtio-ports").ok()?.flatten() {
        if let Ok(name) = fs::read_to_string(port.path().join("name"))
            && name.trim_end() == PORT_NAME
        {
            let node = Path::new("/dev").join(port.file_name());
            return node.exists().then_some(node);
        }
    }
    None
}

fn open_port(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path)
}

impl Transport for VirtioPort {
    fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn reconnect(&mut self) -> io::Result<()> {
        // A port can be open only once: the old descriptor has to go before the new one comes.
        self.file = File::open("/dev/null")?;
        self.file = open_port(&self.path)?;
        Ok(())
    }
}
