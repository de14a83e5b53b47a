//! Members out: a header each, with a pax header in front where that does not say everything.

use std::io::{self, Read, Write};

use super::{BLOCK_BYTES, Kind, MAGIC, Member, XATTR_PREFIX, checksum, field, numbers, padding};

const COPY_BYTES: usize = 65_536;
/// Names for people who list an archive with something old.
const PAX_NAME: &[u8] = b"PaxHeaders/";

pub struct Writer<W: Write> {
    to: W,
    buffer: Vec<u8>,
}

impl<W: Write> Writer<W> {
    pub fn new(to: W) -> Self {
        Self { to, buffer: vec![0; COPY_BYTES] }
    }

    /// A member without content.
    pub fn add(&mut self, member: &Member) -> io::Result<()> {
        self.header(member)
    }

    /// A member and its content: as much as its size says, filled up with zeros where there is less.
    pub fn add_file(&mut self, member: &Member, mut content: impl Read) -> io::Result<()> {
        self.header(member)?;
        let mut left = member.size;
        while left > 0 {
            let most = self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let length = match content.read(&mut self.buffer[..most]) {
                Ok(0) => {
                    self.buffer[..most].fill(0);
                    most
                }
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.to.write_all(&self.buffer[..length])?;
            left -= length as u64;
        }
        self.pad(member.size)
    }

    /// The end of the archive.
    pub fn finish(mut self) -> io::Result<()> {
        self.to.write_all(&[0; 2 * BLOCK_BYTES])?;
        self.to.flush()
    }

    fn header(&mut self, member: &Member) -> io::Result<()> {
        let mut header = [0; BLOCK_BYTES];
        let mut records = Vec::new();
        let mut text = |(start, length): (usize, usize), key: &str, value: &[u8]| {
            let fits = value.len().min(length);
            header[start..start + fits].copy_from_slice(&value[..fits]);
            if value.len() > length {
                record(&mut records, key.as_bytes(), value);
            }
        };
        text(field::NAME, "path", &member.path);
        text(field::LINK, "linkpath", &member.link);
        let mut number = |(start, length): (usize, usize), key: &str, value: u64| {
            if !numbers::write_octal(&mut header[start..start + length], value) {
                record(&mut records, key.as_bytes(), value.to_string().as_bytes());
            }
        };
        number(field::MODE, "", u64::from(member.mode & 0o7777));
        number(field::UID, "uid", u64::from(member.uid));
        number(field::GID, "gid", u64::from(member.gid));
        number(field::SIZE, "size", member.size);
        number(field::MAJOR, "SCHILY.devmajor", u64::from(member.device.0));
        number(field::MINOR, "SCHILY.devminor", u64::from(member.device.1));
        let (start, length) = field::MTIME;
        let seconds = u64::try_from(member.mtime.seconds).unwrap_or(0);
        let whole = numbers::write_octal(&mut header[start..start + length], seconds);
        if !whole || member.mtime.seconds < 0 || member.mtime.nanoseconds != 0 {
            record(&mut records, b"mtime", numbers::format_time(member.mtime).as_bytes());
        }
        for (name, value) in &member.xattrs {
            record(&mut records, &[XATTR_PREFIX, name].concat(), value);
        }
        if !records.is_empty() {
            self.pax_header(&member.path, &records)?;
        }
        self.seal(header, type_of(member.kind))
    }

    fn pax_header(&mut self, path: &[u8], records: &[u8]) -> io::Result<()> {
        let mut header = [0; BLOCK_BYTES];
        let path = path.strip_suffix(b"/").unwrap_or(path);
        let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        let name = [PAX_NAME, name].concat();
        let fits = name.len().min(field::NAME.1);
        header[..fits].copy_from_slice(&name[..fits]);
        for ((start, length), number) in [
            (field::MODE, 0o644),
            (field::UID, 0),
            (field::GID, 0),
            (field::MTIME, 0),
            (field::SIZE, records.len() as u64),
        ] {
            numbers::write_octal(&mut header[start..start + length], number);
        }
        self.seal(header, b'x')?;
        self.to.write_all(records)?;
        self.pad(records.len() as u64)
    }

    fn seal(&mut self, mut header: [u8; BLOCK_BYTES], kind: u8) -> io::Result<()> {
        header[field::TYPE] = kind;
        let (start, length) = field::MAGIC;
        header[start..start + length].copy_from_slice(MAGIC);
        let sum = checksum(&header);
        // Six digits, NUL, space, as every other tar has it.
        let (start, _) = field::CHECKSUM;
        numbers::write_octal(&mut header[start..start + 7], sum);
        header[start + 7] = b' ';
        self.to.write_all(&header)
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        self.to.write_all(&[0; BLOCK_BYTES][..padding(size)])
    }
}

fn type_of(kind: Kind) -> u8 {
    match kind {
        Kind::File => b'0',
        Kind::HardLink => b'1',
        Kind::Symlink => b'2',
        Kind::Character => b'3',
        Kind::Block => b'4',
        Kind::Directory => b'5',
        Kind::Fifo => b'6',
    }
}

/// `length key=value\n`, where the length counts its own digits.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = 1 + key.len() + 1 + value.len() + 1;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(length.to_string().as_bytes());
    records.push(b' ');
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}
