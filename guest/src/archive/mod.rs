//! Tar archives: POSIX.1-2001 (pax) written, and what is around of it read.
//!
//! ```text
//! 512 bytes: name, mode, owner, size, time, type, …      ustar
//! content, padded to 512
//! ```
//!
//! A member of type `x` in front of another holds what does not fit into that one's header, as lines
//! `length key=value`. <https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html#tag_20_94_13>
//!
//! Parsing never touches a file: what a name may do is for whoever extracts it to say.

mod numbers;
pub mod reader;
pub mod writer;

pub const BLOCK_BYTES: usize = 512;
pub const XATTR_PREFIX: &[u8] = b"SCHILY.xattr.";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    File,
    HardLink,
    Symlink,
    Character,
    Block,
    Directory,
    Fifo,
}

/// Since the epoch; `nanoseconds` count forwards, before it as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Time {
    pub seconds: i64,
    pub nanoseconds: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// As the archive has it. A directory's may end with a slash.
    pub path: Vec<u8>,
    pub kind: Kind,
    /// Permissions, set-id bits and the sticky bit.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: Time,
    /// Of the content that follows: 0 for anything but a file.
    pub size: u64,
    /// Of a hard or symbolic link.
    pub link: Vec<u8>,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Where the fields of a header are: (offset, bytes).
mod field {
    pub const NAME: (usize, usize) = (0, 100);
    pub const MODE: (usize, usize) = (100, 8);
    pub const UID: (usize, usize) = (108, 8);
    pub const GID: (usize, usize) = (116, 8);
    pub const SIZE: (usize, usize) = (124, 12);
    pub const MTIME: (usize, usize) = (136, 12);
    pub const CHECKSUM: (usize, usize) = (148, 8);
    pub const TYPE: usize = 156;
    pub const LINK: (usize, usize) = (157, 100);
    pub const MAGIC: (usize, usize) = (257, 8);
    pub const MAJOR: (usize, usize) = (329, 8);
    pub const MINOR: (usize, usize) = (337, 8);
    pub const PREFIX: (usize, usize) = (345, 155);
}

/// `ustar`, NUL, version 00.
const MAGIC: &[u8; 8] = b"ustar\x0000";

fn padding(size: u64) -> usize {
    (BLOCK_BYTES - (size % BLOCK_BYTES as u64) as usize) % BLOCK_BYTES
}

/// The sum of a header's bytes, its own field taken for spaces.
fn checksum(header: &[u8; BLOCK_BYTES]) -> u64 {
    let (start, length) = field::CHECKSUM;
    let own = start..start + length;
    let bytes = header.iter().enumerate();
    bytes.map(|(at, &byte)| if own.contains(&at) { u64::from(b' ') } else { u64::from(byte) }).sum()
}
